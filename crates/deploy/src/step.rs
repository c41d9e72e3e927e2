//! One step on a node: how it is done, noted, and how it fails.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{CandidateError, Command, Rights};
use portway_model::{Finding, Location, Stage};
use portway_policy::Digest;
use portway_transport::{Argv, Done, Entry, Op, Output, Transport, TransportError, Upload};

use crate::{Journal, JournalError, StepRecord};

/// So much of what a command prints is kept for people.
const MOST_OUTPUT: usize = 16 << 10;
/// How long a script of ours may take; one that removes many files is the longest.
const SCRIPT: Duration = Duration::from_secs(60);

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

    /// Does several things in this order, the first that fails last, and notes each. What a command
    /// ended with is for the caller to judge.
    pub(crate) async fn several(&self, acts: &[Act]) -> Vec<Result<Done, StepError>> {
        let ops: Vec<_> = acts.iter().map(|act| act.op.clone()).collect();
        let began = Instant::now();
        let results = self.transport.several(&ops).await;
        for (act, result) in acts.iter().zip(&results) {
            let (ok, output, took) = match result {
                Ok(Done::Ran(output)) => (output.is_success(), printed(output), output.duration),
                Ok(Done::Done(took)) => (true, String::new(), *took),
                Ok(Done::Got(_) | Done::Listed(_)) => (true, String::new(), Duration::ZERO),
                Err(error) => (false, error.to_string(), began.elapsed()),
            };
            // What only looks is told of where it fails.
            if let Some(action) = act.told.as_ref().or((!ok).then_some(&act.what)) {
                self.record(action.clone(), output, ok, took);
            }
        }
        results.into_iter().map(|result| result.map_err(StepError::from)).collect()
    }

    /// Does several things that must all go well, and returns what came of them.
    pub(crate) async fn all(&self, acts: &[Act]) -> Result<Vec<Done>, StepError> {
        let mut all = Vec::with_capacity(acts.len());
        for (act, result) in acts.iter().zip(self.several(acts).await) {
            all.push(act.succeeded(result?)?);
        }
        Ok(all)
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
        self.record(action, output, ok, began.elapsed());
    }

    fn record(&self, action: String, output: String, ok: bool, took: Duration) {
        self.journal.step(StepRecord { stage: self.stage, action, output, ok, took });
    }
}

/// One of several things that are done on a node.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    op: Op,
    /// What it is called where it fails.
    what: String,
    /// How it is told of; nothing of what only looks.
    told: Option<String>,
    /// Whether it looks whose turn it is, and does nothing in another one's.
    is_fenced: bool,
}

impl Act {
    /// Runs a command.
    pub(crate) fn run(command: &Command) -> Result<Self, StepError> {
        let (argv, deadline) = (argv(command)?, command.deadline);
        let what = argv.to_string();
        let told = Some(what.clone());
        let op = Op::Run { argv, stdin: Vec::new(), deadline };
        Ok(Self { op, what, told, is_fenced: false })
    }

    /// Runs a script of ours that looks.
    pub(crate) fn look(what: &str, script: &str, words: &[&str]) -> Result<Self, StepError> {
        Ok(Self { told: None, ..Self::script(what.to_owned(), script, words)? })
    }

    /// Runs a script of ours, which is told of in words.
    pub(crate) fn script(what: String, script: &str, words: &[&str]) -> Result<Self, StepError> {
        Ok(Self::told(Op::Script { argv: shell(script, words)? }, what))
    }

    /// Runs a script of ours that is given something.
    pub(crate) fn fed(
        what: String,
        script: &str,
        words: &[&str],
        stdin: Vec<u8>,
    ) -> Result<Self, StepError> {
        let argv = shell(script, words)?;
        Ok(Self::told(Op::Run { argv, stdin, deadline: SCRIPT }, what))
    }

    /// Has it known as one that looks whose turn it is.
    pub(crate) fn fenced(self) -> Self {
        Self { is_fenced: true, ..self }
    }

    /// Tells whether it looks whose turn it is.
    pub(crate) const fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// Writes files, folder by folder.
    pub(crate) fn put(files: &[Upload]) -> Vec<Self> {
        let mut folders: Vec<(Option<&Utf8Path>, Vec<Upload>)> = Vec::new();
        for file in files {
            let folder = file.path().parent();
            match folders.iter_mut().find(|(known, _)| *known == folder) {
                Some((_, files)) => files.push(file.clone()),
                None => folders.push((folder, vec![file.clone()])),
            }
        }
        let act = |files: Vec<Upload>| {
            let bytes: usize = files.iter().map(|file| file.bytes().len()).sum();
            let what = format!("sent {} ({bytes} bytes)", counted(files.len(), "file"));
            Self::told(Op::Put(files), what)
        };
        folders.into_iter().map(|(_, files)| act(files)).collect()
    }

    /// Removes files, where there are any.
    pub(crate) fn remove(paths: Vec<Utf8PathBuf>) -> Option<Self> {
        let what = format!("removed {}", counted(paths.len(), "file"));
        (!paths.is_empty()).then(|| Self::told(Op::Remove(paths), what))
    }

    /// Reads a file.
    pub(crate) fn get(path: &Utf8Path) -> Self {
        Self { told: None, ..Self::told(Op::Get(path.to_owned()), format!("read {path}")) }
    }

    /// Lists folders.
    pub(crate) fn list(folders: Vec<Utf8PathBuf>) -> Self {
        let what = format!("listed {}", counted(folders.len(), "folder"));
        Self { told: None, ..Self::told(Op::List(folders), what) }
    }

    fn told(op: Op, what: String) -> Self {
        Self { op, told: Some(what.clone()), what, is_fenced: false }
    }

    /// Returns what came of it, unless it is a command that failed.
    pub(crate) fn succeeded(&self, done: Done) -> Result<Done, StepError> {
        match &done {
            Done::Ran(output) if !output.is_success() => Err(StepError::Command {
                command: self.what.clone(),
                status: output.status.to_string(),
                output: essence(&printed(output)),
            }),
            Done::Ran(_) | Done::Done(_) | Done::Got(_) | Done::Listed(_) => Ok(done),
        }
    }
}

fn shell(script: &str, words: &[&str]) -> Result<Argv, StepError> {
    let words = ["-c", script, "portway"].into_iter().chain(words.iter().copied());
    Ok(Argv::new("sh", words).map_err(TransportError::from)?)
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

pub(crate) fn counted(number: usize, what: &str) -> String {
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
