//! The nodes that serve a site. Whether there are such nodes is judged where nodes are known.

use std::collections::BTreeSet;

use super::{Checked, Faulty, each};
use crate::{
    FieldPath, FindingCode, Findings, Name, NodeSelector, RemedyAction, did_you_mean,
    node::{NodeSelectorError, OWN_EDGES},
};

const REMEDY: &str = "write the name of a node, `group:NAME`, `label:KEY=VALUE` or `zone:NAME`";

/// Reads the choices; none means the managers' own edges.
pub(super) fn read(
    written: Option<&[String]>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<NodeSelector>> {
    let Some(written) = written else { return Ok(Vec::new()) };
    if written.is_empty() {
        findings
            .error(FindingCode::MissingField, path, "an empty `nodes` would serve the site nowhere")
            .remedy(format!("name a node, or write `{OWN_EDGES}` or nothing for this manager"));
        return Err(Faulty);
    }
    let mut seen = BTreeSet::new();
    each(written, path, |text, path| {
        let selector: NodeSelector =
            text.parse().map_err(|error| refuse(text, &error, path, findings))?;
        if !seen.insert(selector.clone()) {
            findings
                .error(FindingCode::DuplicateField, path, format!("`{text}` stands here twice"))
                .remedy("remove one of them");
            return Err(Faulty);
        }
        Ok(selector)
    })
}

fn refuse(
    text: &str,
    error: &NodeSelectorError,
    path: &FieldPath,
    findings: &mut Findings,
) -> Faulty {
    let finding = findings.error(FindingCode::InvalidValue, path, error.to_string());
    let meant = match error {
        NodeSelectorError::Name { .. } | NodeSelectorError::Kind(_) => nearest(text),
        NodeSelectorError::Label(_) => {
            finding.remedy("write for example `label:tier=front`");
            return Faulty;
        }
    };
    let Some(meant) = meant else {
        finding.remedy(REMEDY);
        return Faulty;
    };
    finding.remedy_action(format!("write `{meant}`"), RemedyAction::ReplaceValue(meant));
    Faulty
}

/// Returns what was probably meant, where that is a choice of nodes.
fn nearest(text: &str) -> Option<String> {
    let meant = match text.split_once(':') {
        None => Name::suggest(text)?.to_string(),
        Some((kind, rest)) => {
            let kind = did_you_mean(&kind.to_lowercase(), ["group", "label", "zone"])?.to_owned();
            format!("{kind}:{}", rest.trim().to_lowercase())
        }
    };
    meant.parse::<NodeSelector>().is_ok().then_some(meant)
}
