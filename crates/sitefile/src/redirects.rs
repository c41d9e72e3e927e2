//! Files of redirects: CSV (RFC 4180) with lines `from,to` or `from,to,status`, an optional line of
//! headings, comments that begin with `#`, empty lines.

use portway_model::site::spec::RedirectRuleSpec;

use crate::source::{lines, without_mark};

/// Why a line is no redirect.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLine {
    /// Too few or too many fields.
    #[error("this line is not `from,to` or `from,to,status`")]
    Fields,
    /// A quote without its end.
    #[error("a quote is not closed")]
    Quote,
    /// The status is no number.
    #[error("`{0}` is not a status")]
    Status(String),
}

/// Returns the redirects with the numbers of their lines. What they are worth is judged elsewhere.
pub(crate) fn read(
    text: &str,
) -> impl Iterator<Item = (usize, Result<RedirectRuleSpec, BadLine>)> + '_ {
    let lines = (1..).zip(lines(without_mark(text)).map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut is_first = true;
    lines.filter_map(move |(number, line)| {
        let is_heading = std::mem::replace(&mut is_first, false)
            && line.to_ascii_lowercase().starts_with("from,");
        (!is_heading).then(|| (number, rule(line)))
    })
}

fn rule(line: &str) -> Result<RedirectRuleSpec, BadLine> {
    let mut fields = fields(line)?.into_iter();
    let (Some(from), Some(to)) = (fields.next(), fields.next()) else {
        return Err(BadLine::Fields);
    };
    let status = match (fields.next(), fields.next()) {
        (None, None) => None,
        (Some(status), None) if status.is_empty() => None,
        (Some(status), None) => Some(status.parse().map_err(|_| BadLine::Status(status))?),
        (None | Some(_), _) => return Err(BadLine::Fields),
    };
    Ok(RedirectRuleSpec { from, to, status })
}

fn fields(line: &str) -> Result<Vec<String>, BadLine> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, tail) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => match rest.split_once(',') {
                Some((field, tail)) => (field.trim().to_owned(), Some(tail)),
                None => (rest.trim().to_owned(), None),
            },
        };
        fields.push(field);
        match tail {
            Some(tail) => rest = tail,
            None => return Ok(fields),
        }
    }
}

/// Two quotes within a field stand for one.
fn unquote(text: &str) -> Result<(String, Option<&str>), BadLine> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, tail) = rest.split_once('"').ok_or(BadLine::Quote)?;
        field.push_str(part);
        match tail.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => {
                let tail = tail.trim_start();
                if tail.is_empty() {
                    return Ok((field, None));
                }
                return tail
                    .strip_prefix(',')
                    .map(|tail| (field, Some(tail)))
                    .ok_or(BadLine::Quote);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_redirects() {
        let text = "\u{feff}From,To,Status\r\n# moved\n\n/a,/b\n\"/c,d\" , \"https://x.example/?q=\"\"1\"\"\",308\n\
                    /e,/f,\n/g\n/h,/i,often\n/j,/k,301,x\n\"/l,/m\n";
        let rule = |from: &str, to: &str, status| {
            Ok(RedirectRuleSpec { from: from.to_owned(), to: to.to_owned(), status })
        };
        let read: Vec<_> = read(text).collect();
        assert_eq!(
            read,
            [
                (4, rule("/a", "/b", None)),
                (5, rule("/c,d", "https://x.example/?q=\"1\"", Some(308))),
                (6, rule("/e", "/f", None)),
                (7, Err(BadLine::Fields)),
                (8, Err(BadLine::Status("often".to_owned()))),
                (9, Err(BadLine::Fields)),
                (10, Err(BadLine::Quote)),
            ]
        );
    }
}
