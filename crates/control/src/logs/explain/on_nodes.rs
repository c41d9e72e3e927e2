//! A request that a node of a site answered: its lines are read over SSH, as `portway logs` does.

use jiff::SignedDuration;
use portway_store::NodeFilter;
use portway_telemetry::access::{AccessRecord, ErrorRecord};
use portway_wire::logs::{LogLine, LogProblem, LogQuery};

use super::super::{
    find::{Found, time_of},
    newest,
};
use crate::{ControlError, rights::Sites};

/// So many lines of one request are told.
const MOST_LINES: u32 = 50;
/// A line may tell an earlier time than the id by this much.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// The lines of a request on a node.
pub(super) struct OnNodes {
    pub(super) found: Found,
    /// The node.
    pub(super) node: Option<String>,
}

impl Sites<'_> {
    /// Looks for a request in the logs of a site on its nodes. Where it is on none, returns why some of
    /// them could not be read.
    pub(super) async fn found_on_nodes(
        &self,
        site: &str,
        id: &str,
    ) -> Result<Result<OnNodes, Vec<String>>, ControlError> {
        let (requests, errors) =
            tokio::try_join!(self.on_nodes(site, id, false), self.on_nodes(site, id, true))?;
        let (lines, problems) = requests;
        // What keeps errors from being read keeps nobody from being told of a request.
        let (error_lines, _) = errors;
        let Some(first) = lines.first().or(error_lines.first()) else {
            return Ok(Err(problems.iter().map(told).collect()));
        };
        let found = Found {
            site: Some(first.site.clone()),
            access: lines.iter().find_map(|line| AccessRecord::read(&line.line).ok()),
            errors: error_lines
                .iter()
                .filter_map(|line| ErrorRecord::read(&line.line).ok())
                .collect(),
        };
        Ok(Ok(OnNodes { found, node: first.node.clone() }))
    }

    async fn on_nodes(
        &self,
        site: &str,
        id: &str,
        errors: bool,
    ) -> Result<(Vec<LogLine>, Vec<LogProblem>), ControlError> {
        let since = time_of(id).and_then(|time| time.checked_sub(SLACK).ok());
        let query = LogQuery {
            request_id: Some(id.to_owned()),
            since: since.map(|since| since.to_string()),
            lines: Some(MOST_LINES),
            errors,
            ..LogQuery::default()
        };
        let (mut wanted, on_nodes) = self.wanted(site, query).await?;
        wanted.here = false;
        let (lines, problems, _) = newest(&wanted, on_nodes).await?;
        Ok((lines, problems))
    }

    /// Tells whether there are nodes at all that may have answered a request.
    pub(super) async fn has_nodes(&self) -> Result<bool, ControlError> {
        let all = self.control.all_nodes(&NodeFilter::default()).await?;
        Ok(all.iter().any(|row| row.declared.is_some()))
    }
}

fn told(problem: &LogProblem) -> String {
    format!("the logs on node {} were not read: {}", problem.node, problem.problem)
}
