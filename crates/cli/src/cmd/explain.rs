//! `explain`

use portway_wire::explain::{ExplainQuery, Explanation, HeaderOf, TryOut};

use crate::{
    args::Explain,
    exit::{Exit, Failure, Outcome},
    out::{Paint, clean_line, time},
    session::Session,
};

/// `portway explain`
pub(super) async fn explain(session: &Session, args: Explain) -> Outcome {
    let asked = Asked::read(args)?;
    let client = session.client().await?;
    let explanation = match asked {
        Asked::Sent(id, query) => client.explain(&id, &query).await?,
        Asked::NotSent(request) => client.try_out(&request).await?,
    };
    session.out.show(&explanation, |paint| story(&explanation, paint))?;
    Ok(Exit::Ok)
}

/// What is to be explained.
#[derive(Debug, PartialEq)]
enum Asked {
    Sent(String, ExplainQuery),
    NotSent(TryOut),
}

impl Asked {
    fn read(args: Explain) -> Result<Self, Failure> {
        let Explain { request, site, node, from, headers } = args;
        let (method, url) = match <[String; 2]>::try_from(request) {
            Ok([method, url]) => (method, url),
            Err(one) => match one.into_iter().next().unwrap_or_default() {
                url if url.contains("://") => ("GET".to_owned(), url),
                _ if node.is_some() => {
                    return Err(Failure::usage("a node is asked about a URL, not about an id")
                        .help("`portway explain ID --site SITE` looks through the logs on nodes"));
                }
                id => return Ok(Self::Sent(id, ExplainQuery { site })),
            },
        };
        let headers = headers.iter().map(|text| header(text)).collect::<Result<_, _>>()?;
        let method = method.to_uppercase();
        Ok(Self::NotSent(TryOut { from, method, url, headers, node }))
    }
}

fn header(text: &str) -> Result<HeaderOf, Failure> {
    let Some((name, value)) = text.split_once(':') else {
        return Err(Failure::usage(format!("`{text}` is not a header"))
            .help("write name and value, as in --header 'X-Canary: 1'"));
    };
    Ok(HeaderOf { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

/// Steps hold what strangers sent; it must not command the terminal.
fn story(explanation: &Explanation, paint: Paint) -> String {
    let begun = explanation.time.map(time);
    let head = explanation.request_id.as_deref().zip(begun).map(|(id, begun)| {
        let node = explanation.node.as_deref();
        let node = node.map(|node| format!(", on node {}", clean_line(node))).unwrap_or_default();
        let text = format!("request {} of {begun}{node}", clean_line(id));
        paint.dim(&text)
    });
    let steps = explanation.steps.iter().zip(1..);
    let steps = steps.map(|(step, number)| format!("{number}. {}", clean_line(&step.text)));
    head.into_iter().chain(steps).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], headers: &[&str]) -> Result<Asked, Failure> {
        Asked::read(Explain {
            request: words.iter().map(|word| (*word).to_owned()).collect(),
            site: None,
            node: None,
            from: [192, 0, 2, 7].into(),
            headers: headers.iter().map(|header| (*header).to_owned()).collect(),
        })
    }

    #[test]
    fn one_word_is_an_id_and_an_address_is_a_request_that_is_not_sent() {
        let sent = read(&["0190c2c4d1f27c3e8a5b6d7e8f901234"], &[]).unwrap();
        assert!(matches!(sent, Asked::Sent(..)));
        for (words, method) in
            [(&["https://a.example/"][..], "GET"), (&["post", "https://a.example/"], "POST")]
        {
            let Asked::NotSent(request) = read(words, &["X-A: b:c"]).unwrap() else {
                panic!("{words:?} is no id")
            };
            assert_eq!(
                (request.method.as_str(), request.url.as_str()),
                (method, "https://a.example/")
            );
            assert_eq!(request.headers[0].value, "b:c");
        }
        assert!(read(&["GET", "https://a.example/"], &["no colon"]).is_err());
    }
}
