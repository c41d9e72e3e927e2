//! What is to be done on a node to bring a release to life, in types: nothing here runs anything, and
//! nothing passes through a shell.

use std::{borrow::Cow, time::Duration};

use camino::Utf8PathBuf;

use crate::Secrecy;

/// The steps of a deployment on an engine, in this order. Objects and the release's entry must lie on
/// the node before the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// How the release is tried without touching what runs.
    pub test: Test,
    /// The one link that makes it the release that counts; its former target is the way back.
    pub activate: Link,
    /// Makes the engine read it; nothing where the engine notices by itself.
    pub reload: Option<Command>,
    /// What proves that it is served.
    pub probe: Probe,
}

/// How a release is tried without touching what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The engine's own test of a configuration.
    Command {
        /// Files that are needed for the test and removed after it.
        files: Vec<CandidateFile>,
        /// The test; success is its exit code 0.
        command: Command,
    },
    /// An instance of the engine on loopback that lives for the test, since the engine has no test.
    Instance {
        /// Files that are needed for the test and removed after it.
        files: Vec<CandidateFile>,
        /// Starts the instance, which stays until it is stopped.
        command: Command,
        /// What is asked until it answers as it should.
        probe: Probe,
    },
}

impl Test {
    /// Returns the files that are needed for the test.
    pub fn files(&self) -> &[CandidateFile] {
        match self {
            Self::Command { files, .. } | Self::Instance { files, .. } => files,
        }
    }
}

/// A candidate for the engine's test: what makes it read the release without reaching what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The files.
    pub files: Vec<CandidateFile>,
}

/// A file that lives for a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateFile {
    /// Where it lies.
    pub path: Utf8PathBuf,
    /// What stands in it.
    pub text: String,
    /// Who may read it.
    pub secrecy: Secrecy,
}

/// Why there is no candidate for a release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// The top-level configuration does not reach Portway's.
    #[error("{top_level} does not read {reached_by}; {remedy}")]
    NotReached {
        /// The engine's own configuration.
        top_level: Utf8PathBuf,
        /// What it should read.
        reached_by: Utf8PathBuf,
        /// What to do about it.
        remedy: Cow<'static, str>,
    },
    /// The top-level configuration cannot be read.
    #[error("{top_level}, line {line}: {problem}")]
    Syntax {
        /// The engine's own configuration.
        top_level: Utf8PathBuf,
        /// The line.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
}

/// A command with its arguments, as the program gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it needs.
    pub rights: Rights,
    /// How long it may take.
    pub deadline: Duration,
}

/// The rights that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Those of whoever logs in.
    Login,
    /// Those of the superuser.
    Superuser,
}

/// A symbolic link that is replaced in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link.
    pub link: Utf8PathBuf,
    /// What it is to lead to.
    pub target: Utf8PathBuf,
}

/// A request over plain HTTP to the node's loopback, asked until it answers as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The port.
    pub port: u16,
    /// The path.
    pub path: String,
    /// The status that it must have.
    pub status: u16,
    /// The answer: the whole body without white space at its ends, unless `header` is named.
    pub answer: String,
    /// The header whose value is the answer.
    pub header: Option<String>,
    /// How it is seen that the engine's workers of before take no more connections; nothing where it
    /// has none, or changes what it serves in one step.
    pub workers: Option<Workers>,
    /// How long the engine has to answer so.
    pub deadline: Duration,
}

/// How the workers of an engine are told apart that live on beside new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// The header of the probe's answer with the number of the process that answers.
    pub header: &'static str,
    /// What the title of a worker begins with, as a basic regular expression that does not match
    /// itself: the words of whoever looks for it are titles too.
    pub title: &'static str,
    /// What is in the title of one that takes no more connections, likewise.
    pub leaving: &'static str,
}
