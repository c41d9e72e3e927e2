//! One step on a node: how it is done, noted, and how it fails.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{CandidateError, Command, Rights};
use portway_model::{Finding, Location, Stage};
use portway_policy::Digest;
use portway_transport::{Argv, Entry, Output, Status, Transport, TransportError, Upload};

use crate::{
    Journal, JournalError, StepRecord,
    fence::{self, Turn},
};

/// So much of what a command prints is kept for people.
const MOST_OUTPUT: usize = 16 << 10;
/// How long a removal may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// Why a step on a node failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The node could not be spoken with, or refused the step.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The node is another installation's.
    #[error(
        "the node is managed by another installation of Portway (manager `{manager}`, note in {path}); remove it there, or delete the note if that installation is gone"
    )]
    Foreign {
        /// The manager that wrote the note.
        manager: String,
        /// The note.
        path: Utf8PathBuf,
    },
    /// Another manager of the same installation works on the node.
    #[error("manager `{manager}` has taken the node over (turn {theirs}, ours was {ours})")]
    Fenced {
        /// The manager.
        manager: String,
        /// The number of its turn.
        theirs: u64,
        /// The number of ours.
        ours: u64,
    },
    /// The note of this turn is not there any more.
    #[error(
        "the note of this turn is gone from the node ({path}): somebody took Portway's away there; it is tried again"
    )]
    TurnGone {
        /// The note.
        path: Utf8PathBuf,
    },
    /// The note cannot be read.
    #[error(
        "the note {path} cannot be read: {problem}; an upgrade of this manager, or deleting the note, helps"
    )]
    Note {
        /// The note.
        path: Utf8PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody changed what Portway put there.
    #[error("{what}; `portway node deploy` overwrites that")]
    Changed {
        /// What.
        what: String,
    },
    /// Something that Portway did not put there lies where it must write.
    #[error("{path} is in the way: {what}; move it away, Portway does not overwrite it")]
    InTheWay {
        /// Where.
        path: Utf8PathBuf,
        /// What is there.
        what: String,
    },
    /// The folders of Portway's objects cannot be closed to others.
    #[error("nothing is sent to {home}: {why}; {remedy}")]
    Open {
        /// Portway's folder.
        home: Utf8PathBuf,
        /// Why.
        why: String,
        /// What to do about it on the node.
        remedy: String,
    },
    /// The engine's own configuration does not lead to Portway's.
    #[error(transparent)]
    Candidate(#[from] CandidateError),
    /// What the engine was to test was changed while it did.
    #[error(
        "{path} was changed while the engine tested it: somebody else works on the node; it is tried again"
    )]
    CandidateChanged {
        /// The file.
        path: Utf8PathBuf,
    },
    /// A command ended otherwise than it should.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed last.
        output: String,
    },
    /// The engine was told to read what is linked, and would not.
    #[error("`{command}` failed ({status}): {output}")]
    NotRead {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed last.
        output: String,
    },
    /// The engine's own test refused it.
    #[error("the engine's own test refuses it: {output}")]
    Refused {
        /// What it printed.
        output: String,
    },
    /// The engine does not serve what it should.
    #[error("the engine does not answer with release {wanted} on port {port} within {} s: {got}", .deadline.as_secs())]
    NotServed {
        /// The release.
        wanted: Digest,
        /// Where it was asked.
        port: u16,
        /// How long it was asked.
        deadline: Duration,
        /// What it answered last.
        got: String,
    },
    /// What sites answer is worse than it was.
    #[error("{}", .findings.iter().map(told).collect::<Vec<_>>().join("; "))]
    Worse {
        /// What, probe by probe.
        findings: Vec<Finding>,
    },
    /// The deployment cannot be noted.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn told(finding: &Finding) -> String {
    match &finding.at {
        Location::Field { resource, .. } => format!("site {}: {}", resource.name, finding.text),
        Location::Source(_) | Location::Host(_) | Location::Installation => finding.text.clone(),
    }
}

impl StepError {
    /// Tells whether the engine would not have the release. All else tells of the node, of the way to
    /// it or of this manager, and nothing of the release.
    pub const fn is_verdict(&self) -> bool {
        match self {
            Self::NotRead { .. }
            | Self::Refused { .. }
            | Self::NotServed { .. }
            | Self::Worse { .. } => true,
            Self::Transport(_)
            | Self::Foreign { .. }
            | Self::Fenced { .. }
            | Self::TurnGone { .. }
            | Self::Note { .. }
            | Self::Changed { .. }
            | Self::InTheWay { .. }
            | Self::Open { .. }
            | Self::Candidate(_)
            | Self::CandidateChanged { .. }
            | Self::Command { .. }
            | Self::Journal(_) => false,
        }
    }
}

/// A node as the steps of one stage see it.
pub(crate) struct Node<'a, T, J> {
    pub(crate) transport: &'a T,
    pub(crate) journal: &'a J,
    pub(crate) stage: Stage,
}

impl<T: Transport, J: Journal> Node<'_, T, J> {
    /// Runs a command, whatever it ends with.
    pub(crate) async fn run(&self, command: &Command) -> Result<Output, StepError> {
        let argv = argv(command)?;
        let began = Instant::now();
        let result = self.transport.run(&argv, &[], command.deadline).await;
        let (ok, output) = match &result {
            Ok(output) => (output.is_success(), printed(output)),
            Err(error) => (false, error.to_string()),
        };
        self.note(argv.to_string(), output, ok, began);
        Ok(result?)
    }

    /// Runs a command that must succeed.
    pub(crate) async fn must(&self, command: &Command) -> Result<Output, StepError> {
        let output = self.run(command).await?;
        if output.is_success() {
            return Ok(output);
        }
        Err(StepError::Command {
            command: command.argv.join(" "),
            status: output.status.to_string(),
            output: essence(&printed(&output)),
        })
    }

    /// Has the engine read what is linked.
    pub(crate) async fn reload(&self, command: Option<&Command>) -> Result<(), StepError> {
        let Some(command) = command else { return Ok(()) };
        match self.must(command).await {
            Err(StepError::Command { command, status, output }) => {
                Err(StepError::NotRead { command, status, output })
            }
            done => done.map(drop),
        }
    }

    pub(crate) async fn put(&self, files: &[Upload]) -> Result<(), StepError> {
        if files.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let result = self.transport.put(files).await;
        let bytes: usize = files.iter().map(|file| file.bytes().len()).sum();
        let action = format!("sent {} ({bytes} bytes)", counted(files.len(), "file"));
        self.note_result(action, &result, began);
        Ok(result?)
    }

    pub(crate) async fn remove(&self, paths: &[Utf8PathBuf]) -> Result<(), StepError> {
        if paths.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let result = self.transport.remove(paths).await;
        self.note_result(format!("removed {}", counted(paths.len(), "file")), &result, began);
        Ok(result?)
    }

    /// Removes files where it still is the turn. Returns whether it was.
    pub(crate) async fn remove_in_turn(
        &self,
        notes: &Utf8Path,
        turn: Turn,
        paths: &[Utf8PathBuf],
    ) -> Result<bool, StepError> {
        if paths.is_empty() {
            return Ok(true);
        }
        let began = Instant::now();
        let (number, name) = (turn.fence.to_string(), turn.file_name());
        let words = ["-c", fence::REMOVE, "portway", notes.as_str(), &number, &name];
        let argv = Argv::new("sh", words).map_err(TransportError::from)?;
        let names: Vec<u8> =
            paths.iter().flat_map(|path| [path.as_str(), "\0"].concat().into_bytes()).collect();
        let result = self.transport.run(&argv, &names, REMOVAL).await;
        let (ok, output) = match &result {
            Ok(output) => (output.is_success(), printed(output)),
            Err(error) => (false, error.to_string()),
        };
        self.note(format!("removed {}", counted(paths.len(), "file")), output, ok, began);
        let output = result?;
        match output.status {
            Status::Exited(0) => Ok(true),
            Status::Exited(fence::TURN_OVER) => Ok(false),
            Status::Exited(_) | Status::Signalled(_) => Err(StepError::Command {
                command: format!("rm -f -- ({})", counted(paths.len(), "file")),
                status: output.status.to_string(),
                output: printed(&output),
            }),
        }
    }

    pub(crate) async fn relink(&self, link: &Utf8Path, target: &Utf8Path) -> Result<(), StepError> {
        let began = Instant::now();
        let result = self.transport.relink(link, target).await;
        self.note_result(format!("linked {link} to {target}"), &result, began);
        Ok(result?)
    }

    pub(crate) async fn get(&self, path: &Utf8Path) -> Result<Option<Vec<u8>>, StepError> {
        Ok(self.transport.get(path).await?)
    }

    /// Lists a folder; one that is not there is empty.
    pub(crate) async fn list(&self, folder: &Utf8Path) -> Result<Vec<Entry>, StepError> {
        Ok(self.transport.list(folder).await?.unwrap_or_default())
    }

    fn note_result(&self, action: String, result: &Result<(), TransportError>, began: Instant) {
        let output = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        self.note(action, output, result.is_ok(), began);
    }

    pub(crate) fn note(&self, action: String, output: String, ok: bool, began: Instant) {
        self.journal.step(StepRecord {
            stage: self.stage,
            action,
            output,
            ok,
            took: began.elapsed(),
        });
    }
}

pub(crate) fn argv(command: &Command) -> Result<Argv, StepError> {
    let mut words = command.argv.iter().cloned();
    let program = words.next().unwrap_or_default();
    let argv = Argv::new(program, words).map_err(TransportError::from)?;
    Ok(match command.rights {
        Rights::Login => argv,
        Rights::Superuser => argv.as_root(),
    })
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Returns what a command printed, both ways, as far as people read it: its end, which tells why.
pub(crate) fn printed(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&both);
    let text = text.trim();
    let from = text.len().saturating_sub(MOST_OUTPUT);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(from..).unwrap_or_default().to_owned()
}

/// Returns of what a command printed what tells why it failed: of lines that are records of a log in
/// JSON, as those of Caddy and Traefik are, the words of its errors alone; of other text all of it.
fn essence(text: &str) -> String {
    let errors: Vec<String> = text.lines().filter_map(error_of_record).collect();
    if errors.is_empty() { text.to_owned() } else { errors.join("; ") }
}

fn error_of_record(line: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| record.get(name).and_then(serde_json::Value::as_str);
    if !matches!(field("level"), Some("error" | "fatal" | "panic")) {
        return None;
    }
    let words: Vec<&str> =
        [field("msg").or(field("message")), field("error")].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_in_json_its_errors_are_told() {
        let text = concat!(
            r#"{"level":"info","msg":"using config from file"}"#,
            "\n",
            r#"{"level":"error","msg":"sending configuration","error":"connection refused"}"#,
        );
        assert_eq!(essence(text), "sending configuration: connection refused");
        let plain = "nginx: [emerg] unknown directive\nnginx: test failed";
        assert_eq!(essence(plain), plain);
        let quiet = r#"{"level":"info","msg":"using config from file"}"#;
        assert_eq!(essence(quiet), quiet, "better too much than nothing");
    }
}
