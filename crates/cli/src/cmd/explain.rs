//! `explain`

use portway_wire::explain::{ExplainQuery, Explanation};

use crate::{
    args::Explain,
    exit::{Exit, Outcome},
    out::{Paint, clean_line, time},
    session::Session,
};

/// `portway explain`
pub(super) async fn explain(session: &Session, args: Explain) -> Outcome {
    let client = session.client().await?;
    let query = ExplainQuery { site: args.site };
    let explanation = client.explain(&args.id, &query).await?;
    session.out.show(&explanation, |paint| story(&explanation, paint))?;
    Ok(Exit::Ok)
}

/// Steps hold what strangers sent; it must not command the terminal.
fn story(explanation: &Explanation, paint: Paint) -> String {
    let begun = explanation.time.map(time);
    let head = explanation.request_id.as_deref().zip(begun).map(|(id, begun)| {
        let text = format!("request {} of {begun}", clean_line(id));
        paint.dim(&text)
    });
    let steps = explanation.steps.iter().zip(1..);
    let steps = steps.map(|(step, number)| format!("{number}. {}", clean_line(&step.text)));
    head.into_iter().chain(steps).collect::<Vec<_>>().join("\n")
}
