//! The log of a node's engine itself: from its file, or from the journal of the node. Only
//! administrators read it.

use std::{sync::Arc, time::Duration};

use camino::Utf8Path;
use futures_util::Stream;
use portway_deploy::layout;
use portway_engine::{OwnLog, own_log};
use portway_model::{EngineKind, Node, Role, node::Connection};
use portway_observe::{JournalError, journal};
use portway_store::NodeRow;
use portway_transport::{Transport as _, TransportError};
use portway_wire::logs::{EngineLogQuery, LogLine, LogLines, LogProblem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{DEFAULT_LINES, MAX_LINES, Wanted, nodes::OnNode};
use crate::{Control, ControlError, actor::Actor, fleet::Reach, nodes, rights::Operator};

/// How often a followed journal is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked whether the reader may still read.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Where the log of an engine is read.
enum Source {
    File(Box<OnNode>),
    Journal { reach: Arc<Reach>, unit: &'static str, node: String },
}

impl Operator<'_> {
    /// Returns the last lines of the log of a node's engine.
    pub async fn engine_log(
        &self,
        node: &str,
        query: EngineLogQuery,
    ) -> Result<LogLines, ControlError> {
        let lines = count(&query)?;
        let unread = |problem| LogLines { lines: Vec::new(), problems: vec![problem] };
        let source = match self.source(node).await? {
            Ok(source) => source,
            Err(problem) => return Ok(unread(problem)),
        };
        let lines = match source {
            Source::File(file) => match file.newest(&Wanted::of_engine(lines)).await {
                Ok((found, _)) => found.into_iter().rev().map(|(_, line)| line).collect(),
                Err(problem) => return Ok(unread(problem)),
            },
            Source::Journal { reach, unit, node } => {
                match journal(&*reach, unit, None, lines).await {
                    Ok((lines, _)) => lines.into_iter().map(|text| told(&node, text)).collect(),
                    Err(error) => {
                        return Ok(unread(LogProblem { node, problem: error.to_string() }));
                    }
                }
            }
        };
        Ok(LogLines { lines, problems: Vec::new() })
    }

    /// Returns the last lines of the log of a node's engine and then each one that is written, for as
    /// long as the actor is an administrator.
    pub async fn follow_engine_log(
        &self,
        node: &str,
        query: EngineLogQuery,
    ) -> Result<impl Stream<Item = LogLine> + Send + use<>, ControlError> {
        let lines = count(&query)?;
        let source = self.source(node).await?;
        let seat = self.control.inner.seats.take(self.actor)?;
        let (sender, mut receiver) = mpsc::channel(256);
        let stop = CancellationToken::new();
        tokio::spawn(guard(self.control.clone(), self.actor.clone(), stop.clone(), sender.clone()));
        // It ends when nobody listens any more, or when the right has ended.
        tokio::spawn(async move {
            follow(source, lines, sender, stop).await;
            drop(seat);
        });
        Ok(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)))
    }

    async fn source(&self, node: &str) -> Result<Result<Source, LogProblem>, ControlError> {
        let control = self.control;
        let row = control.node_named(node).await?;
        let Some(declared) = nodes::declared(&row)? else {
            let text = "the edge of a manager logs where the manager does: `journalctl -u portway-edge`, or `edge/edge.log` in the data folder";
            return Err(ControlError::BadRequest(text.to_owned()));
        };
        let problem = |problem| LogProblem { node: row.name.to_string(), problem };
        if let Connection::Ssh(ssh) = &declared.connection
            && !nodes::is_confirmed(ssh)
        {
            let text = "a key of its host is not confirmed; `portway node confirm` does";
            return Ok(Err(problem(text.to_owned())));
        }
        Ok(source_of(control, &row, declared).await.map_err(problem))
    }
}

/// Returns where the log of a node's engine is read, or why it cannot be.
async fn source_of(control: &Control, row: &NodeRow, node: Node) -> Result<Source, String> {
    let reach = control.reach(row, &node).await.map_err(|error| error.to_string())?;
    let config = layout(&node, None, None).top_level;
    let text = config_text(&reach, &config).await?;
    Ok(match own_log(node.engine, &text) {
        OwnLog::File(path) => Source::File(Box::new(OnNode::of_engine(control, row, node, path))),
        OwnLog::Journal => {
            let unit = match node.engine {
                EngineKind::Edge => "portway-edge",
                EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik => node.engine.as_str(),
            };
            Source::Journal { reach, unit, node: row.name.to_string() }
        }
    })
}

async fn config_text(reach: &Reach, config: &Utf8Path) -> Result<String, String> {
    let bytes = reach.get(config).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

/// Ends following when the reader is no administrator any more.
async fn guard(
    control: Control,
    actor: Actor,
    stop: CancellationToken,
    sender: mpsc::Sender<LogLine>,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sender.closed() => break,
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
        let may = match control.renewed(&actor).await {
            Ok(actor) => actor.role() == Role::Admin,
            // A database that does not answer takes nobody's right away.
            Err(error) => matches!(error, ControlError::Unavailable { .. }),
        };
        if !may {
            break;
        }
    }
    stop.cancel();
}

async fn follow(
    source: Result<Source, LogProblem>,
    lines: usize,
    sender: mpsc::Sender<LogLine>,
    stop: CancellationToken,
) {
    let ended = stop.clone().drop_guard();
    let source = match source {
        Ok(source) => source,
        Err(problem) => {
            // Nobody is left to be told when this cannot be sent.
            return drop(sender.send(super::problem(problem)).await);
        }
    };
    match source {
        Source::File(file) => {
            let wanted = Arc::new(Wanted::of_engine(lines));
            let (found, places) = match file.newest(&wanted).await {
                Ok((found, places)) => {
                    (found.into_iter().rev().map(|(_, line)| line).collect(), Some(places))
                }
                Err(problem) => (vec![super::problem(problem)], None),
            };
            for line in found {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
            file.follow(wanted, places, sender, stop).await;
        }
        Source::Journal { reach, unit, node } => {
            follow_journal(&reach, unit, &node, lines, &sender, &stop).await;
        }
    }
    drop(ended);
}

async fn follow_journal(
    reach: &Reach,
    unit: &str,
    node: &str,
    lines: usize,
    sender: &mpsc::Sender<LogLine>,
    stop: &CancellationToken,
) {
    let mut cursor: Option<String> = None;
    let mut was_told = false;
    loop {
        let found: Result<_, JournalError> = journal(reach, unit, cursor.as_deref(), lines).await;
        let told_now = match found {
            Ok((lines, next)) => {
                cursor = next.or(cursor);
                was_told = false;
                lines.into_iter().map(|text| told(node, text)).collect()
            }
            Err(error) => {
                if matches!(&error, JournalError::Transport(TransportError::TooLong { .. })) {
                    // It is followed on from its end.
                    cursor = None;
                }
                if std::mem::replace(&mut was_told, true) {
                    Vec::new()
                } else {
                    vec![LogLine { problem: Some(error.to_string()), ..told(node, String::new()) }]
                }
            }
        };
        for line in told_now {
            if sender.send(line).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sender.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn told(node: &str, line: String) -> LogLine {
    LogLine {
        site: String::new(),
        log: "engine".to_owned(),
        line,
        node: Some(node.to_owned()),
        problem: None,
    }
}

fn count(query: &EngineLogQuery) -> Result<usize, ControlError> {
    let lines = query.lines.unwrap_or(DEFAULT_LINES);
    if (1..=MAX_LINES).contains(&lines) {
        return Ok(lines as usize);
    }
    Err(ControlError::BadRequest(format!("`lines` is 1 to {MAX_LINES}, not {lines}")))
}
