//! Whether the engine's own configuration leads to Portway's part, and which line it lacks.

use portway_engine::CandidateError;
use portway_model::{FieldPath, Finding, FindingCode, Findings, Node, ResourceKind, Stage};
use portway_transport::Transport;

use crate::{Deployment, StepError, Unwritten, stage, step::Node as Steps};

/// Returns what keeps the engine from reading Portway's part; nothing where it would be read. Changes
/// nothing on the node.
pub async fn way_in<T: Transport>(it: &Deployment<'_, T>, node: &Node) -> Option<Finding> {
    let steps = Steps { transport: it.transport, journal: &Unwritten, stage: Stage::Queued };
    let error = stage::trial::candidate(it, &steps).await.err()?;
    Some(told(node, &error))
}

fn told(node: &Node, error: &StepError) -> Finding {
    let StepError::Candidate(error) = error else {
        let text = format!(
            "whether the engine's own configuration reads Portway's part is not known: {error}"
        );
        let remedy = "let whoever logs in read it, and the folder from which it includes";
        return finding(node, text, remedy.to_owned());
    };
    match error {
        CandidateError::NotReached { top_level, reached_by, remedy } => {
            let text = format!("{top_level} lacks what has it read {reached_by}");
            finding(node, text, format!("in {top_level}, {remedy}"))
        }
        CandidateError::Syntax { .. } => {
            finding(node, error.to_string(), "mend it before Portway adds to it".to_owned())
        }
    }
}

fn finding(node: &Node, text: String, remedy: String) -> Finding {
    let mut findings = Findings::about(ResourceKind::Node, node.name.as_str());
    let path = FieldPath::root().key("paths").key("config");
    let finding = findings.error(FindingCode::NodeUnfit, &path, text);
    finding.remedy(remedy);
    finding.clone()
}
