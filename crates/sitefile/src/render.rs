//! Findings for people: what is wrong, where it stands, and how to mend it. Plain text; colour is
//! the terminal's business.

use portway_model::{FieldPath, Finding, Location, Severity, SourcePos, Step};

use crate::source::{SourceText, lines, without_mark};

/// Longer lines are not shown; they are data, not something to read.
const LONGEST_LINE: usize = 200;

/// Prints a finding, with the line of the source where it stands in one of `sources`.
///
/// A line that holds a password is not shown: what is printed ends in the logs of build machines.
pub fn render(finding: &Finding, sources: &[SourceText]) -> String {
    let mut out = String::new();
    let severity = match finding.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    push(&mut out, &format!("{severity}[{}]: {}", code(finding), visible(&finding.text)));
    match &finding.at {
        Location::Field { resource, path, source } => {
            let field = field(path);
            let subject = format!("{} {}{field}", resource.kind, visible(&resource.name));
            match source {
                Some(pos) => {
                    push_place(&mut out, pos, sources, is_secret(path));
                    push(&mut out, &format!("{} = {subject}", gutter(pos)));
                }
                None => push(&mut out, &format!(" --> {subject}")),
            }
        }
        Location::Source(pos) => push_place(&mut out, pos, sources, false),
        Location::Host(host) => push(&mut out, &format!(" --> host {host}")),
        Location::Installation => {}
    }
    if let Some(remedy) = &finding.remedy {
        push(&mut out, &format!("help: {}", visible(&remedy.text)));
    }
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn code(finding: &Finding) -> String {
    // The code's name is its name in JSON; there is no second list of names to keep.
    let json = serde_json::to_value(finding.code).ok();
    json.as_ref().and_then(serde_json::Value::as_str).unwrap_or("finding").to_owned()
}

fn field(path: &FieldPath) -> String {
    if path.steps().is_empty() {
        String::new()
    } else {
        format!(", field {}", visible(&path.to_string()))
    }
}

fn is_secret(path: &FieldPath) -> bool {
    path.steps().iter().any(|step| matches!(step, Step::Key(key) if key == "users"))
}

fn push_place(out: &mut String, pos: &SourcePos, sources: &[SourceText], is_secret: bool) {
    push(out, &format!(" --> {}", visible(&pos.to_string())));
    let source = sources.iter().find(|source| source.name == pos.file).filter(|_| !is_secret);
    let line = source
        .and_then(|source| lines(without_mark(&source.text)).nth(pos.line.checked_sub(1)?))
        .filter(|line| line.chars().count() <= LONGEST_LINE && !has_credentials(line));
    let Some(line) = line else {
        return;
    };
    let gutter = gutter(pos);
    let line = visible(line);
    let indent = " ".repeat(pos.column.saturating_sub(1));
    let mark = "^".repeat(width_of_word(&line, pos.column));
    push(out, &format!("{gutter} |"));
    push(out, &format!("{} | {line}", pos.line));
    push(out, &format!("{gutter} | {indent}{mark}"));
}

/// Returns blanks as wide as the number of the line.
fn gutter(pos: &SourcePos) -> String {
    " ".repeat(pos.line.to_string().len())
}

/// Tells whether a line holds a URL with a user name and perhaps a password.
fn has_credentials(line: &str) -> bool {
    line.split("://").skip(1).any(|rest| rest.contains('@'))
}

/// Returns how many characters belong to the word or quoted text that begins at a column.
fn width_of_word(line: &str, column: usize) -> usize {
    let mut chars = line.chars().skip(column.saturating_sub(1)).peekable();
    let Some(first) = chars.next() else {
        return 1;
    };
    if matches!(first, '"' | '\'') {
        let inner = chars.by_ref().take_while(|c| *c != first).count();
        return inner + 2;
    }
    let mut width = 1;
    while let Some(c) = chars.next() {
        let next_is_blank = chars.peek().is_none_or(|next| *next == ' ');
        if matches!(c, ' ' | ',' | ']' | '}') || (c == ':' && next_is_blank) {
            break;
        }
        width += 1;
    }
    width
}

/// Replaces what would move the cursor or hide text in a terminal. One character stays one, so that
/// columns hold.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let is_hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        match c {
            '\t' => shown.push(' '),
            _ if is_hidden => shown.push('\u{fffd}'),
            _ => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use portway_model::{FindingCode, Findings, ResourceKind};

    use super::*;

    fn finding(path: &FieldPath, line: usize, column: usize) -> Finding {
        let mut findings = Findings::about(ResourceKind::Site, "blog");
        findings
            .error(FindingCode::UnknownField, path, "no \u{1b}[31m")
            .remedy("did you mean `x`?");
        let mut finding = findings.into_vec().remove(0);
        let Location::Field { source, .. } = &mut finding.at else { panic!("a field") };
        *source = Some(SourcePos { file: "a.yaml".to_owned(), line, column });
        finding
    }

    fn sources(text: &str) -> [SourceText; 1] {
        [SourceText { name: "a.yaml".to_owned(), folder: "/".into(), text: text.to_owned() }]
    }

    #[test]
    fn a_finding_points_at_its_place() {
        let path = FieldPath::root().key("hots");
        let shown = render(&finding(&path, 2, 3), &sources("a:\n  hots: [x]\n"));
        assert_eq!(
            shown,
            "error[unknown-field]: no \u{fffd}[31m\n --> a.yaml:2:3\n  |\n2 |   hots: [x]\n  |   \
             ^^^^\n  = site blog, field hots\nhelp: did you mean `x`?\n"
        );
    }

    #[test]
    fn a_line_with_a_password_is_not_shown() {
        let path = FieldPath::root().key("access").key("basic").key("users").key("ada");
        let shown = render(&finding(&path, 1, 1), &sources("ada: hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_mark_is_as_wide_as_the_word() {
        assert_eq!(width_of_word("a: \"x y\" # z", 4), 5);
        assert_eq!(width_of_word("[a, http://b:80]", 5), 11);
        assert_eq!(width_of_word("abc", 9), 1);
    }
}
