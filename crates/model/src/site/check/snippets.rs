//! Texts in the languages of engines, as far as they can be judged without the engine.

use super::{Checked, Faulty};
use crate::{
    FieldPath, FindingCode, Findings,
    site::{Snippets, spec::SnippetsSpec},
};

/// The longest text, in bytes.
const LONGEST: usize = 16_384;

/// Reads texts in the languages of engines.
pub(super) fn read(
    spec: Option<&SnippetsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Snippets> {
    let Some(SnippetsSpec { nginx, caddy }) = spec else { return Ok(Snippets::default()) };
    let mut one = |text: &Option<String>, engine: &str| {
        let Some(text) = text else { return Ok(None) };
        snippet(text, &path.key(engine), findings).map(Some)
    };
    let (nginx, caddy) = (one(nginx, "nginx"), one(caddy, "caddy"));
    Ok(Snippets { nginx: nginx?, caddy: caddy? })
}

fn snippet(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let is_odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    let problem = if text.trim().is_empty() {
        "nothing stands there"
    } else if text.len() > LONGEST {
        "a snippet has at most 16 KiB"
    } else if text.contains(is_odd) {
        "there are control characters in it"
    } else {
        let warning = "Portway does not understand these directives: what they do may go around the \
                       site's access rules";
        findings
            .warning(FindingCode::Advice, path, warning)
            .remedy("try requests that the access rules refuse, or remove the snippet");
        // What follows stands on a line of its own.
        return Ok(format!("{}\n", text.trim_end()));
    };
    findings
        .error(FindingCode::InvalidValue, path, problem)
        .remedy("write directives, each on its line, or remove the field");
    Err(Faulty)
}
