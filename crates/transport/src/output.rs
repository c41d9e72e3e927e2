//! What became of a command.

use std::{borrow::Cow, fmt, time::Duration};

/// The most bytes that a command may print on either of its streams.
pub(crate) const MAX_OUTPUT: usize = 64 << 20;

/// How a command ended, and what it printed. A command that failed has an output like any other.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// What it printed; any bytes.
    pub stdout: Vec<u8>,
    /// What it said beside that; any bytes.
    pub stderr: Vec<u8>,
    /// How long it took, the way there and back included.
    pub duration: Duration,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this code.
    Exited(u32),
    /// By a signal of this name, without `SIG`: `TERM`.
    Signalled(String),
}

impl Output {
    /// Whether the command succeeded.
    pub fn is_success(&self) -> bool {
        self.status == Status::Exited(0)
    }

    /// Returns what it printed as text; what is no UTF-8 is replaced.
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Returns what it said beside that as text; what is no UTF-8 is replaced.
    pub fn stderr_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(name) => write!(f, "signal {name}"),
        }
    }
}

/// What was printed may be long, and may be a file's secret content.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("status", &self.status)
            .field("stdout", &format_args!("{} bytes", self.stdout.len()))
            .field("stderr", &format_args!("{} bytes", self.stderr.len()))
            .field("duration", &self.duration)
            .finish()
    }
}
