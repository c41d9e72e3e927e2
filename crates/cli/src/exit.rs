//! The exit codes, in one table, and which fault leads to which.

use std::{fmt, io, process::ExitCode};

use portway_wire::{Problem, ProblemCode, client::ClientError};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// Failed.
    Failed,
    /// Called wrongly.
    Usage,
    /// What was written has errors.
    Findings,
    /// There is no such thing.
    NotFound,
    /// Not logged in, or not allowed.
    NotAllowed,
    /// Someone else was faster, or it contradicts what is there.
    Conflict,
    /// Nobody answers.
    Unreachable,
    /// Written, and held by a node.
    Held,
    /// Ended by the user.
    Interrupted,
    /// With the code of the command that was run for the user.
    Passed(u8),
}

/// Why a command failed, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What failed.
    pub(crate) text: String,
    /// Why, from the nearest cause to the farthest.
    pub(crate) causes: Vec<String>,
    /// What to do next.
    pub(crate) help: Option<String>,
    /// As the manager said it.
    pub(crate) problem: Option<Box<Problem>>,
}

/// What a command ends with.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Exit {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::Findings,
        Self::NotFound,
        Self::NotAllowed,
        Self::Conflict,
        Self::Unreachable,
        Self::Held,
        Self::Interrupted,
    ];

    /// Returns the number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::NotFound => 4,
            Self::NotAllowed => 5,
            Self::Conflict => 6,
            Self::Unreachable => 7,
            Self::Held => 8,
            Self::Interrupted => 130,
            Self::Passed(code) => code,
        }
    }

    /// Returns the name, for programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Findings => "findings",
            Self::NotFound => "not_found",
            Self::NotAllowed => "not_allowed",
            Self::Conflict => "conflict",
            Self::Unreachable => "unreachable",
            Self::Held => "held",
            Self::Interrupted => "interrupted",
            Self::Passed(_) => "passed",
        }
    }

    /// Returns what it means.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => "failed, for a reason that stands in the error",
            Self::Usage => "called wrongly",
            Self::Findings => "what was written has errors; nothing was changed",
            Self::NotFound => "there is no such thing, or it is not yours to see",
            Self::NotAllowed => "not logged in, or not allowed",
            Self::Conflict => {
                "changed by someone else, taken, or in contradiction to what is there"
            }
            Self::Unreachable => "the manager does not answer",
            Self::Held => "the change is written, but a node keeps serving the version before",
            Self::Interrupted => "interrupted (Ctrl-C); what was written stays written",
            Self::Passed(_) => "the code of the command that was run on a node",
        }
    }

    const fn of_problem(code: ProblemCode) -> Self {
        match code {
            ProblemCode::Invalid => Self::Findings,
            ProblemCode::NotFound => Self::NotFound,
            ProblemCode::Unauthenticated | ProblemCode::Forbidden => Self::NotAllowed,
            ProblemCode::Stale | ProblemCode::Taken | ProblemCode::Conflict => Self::Conflict,
            ProblemCode::BadRequest => Self::Usage,
            ProblemCode::PreconditionRequired
            | ProblemCode::TooManyAttempts
            | ProblemCode::Setup
            | ProblemCode::Unavailable
            | ProblemCode::Internal => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Returns the table as `portway help exit-codes` shows it.
pub(crate) fn help() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning()));
    format!(
        "List the exit codes\n\nEvery command ends with one of these codes; `portway node exec` with that of its command:\n\n{}",
        lines.join("\n")
    )
}

impl Failure {
    /// Returns a failure of a kind.
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), causes: Vec::new(), help: None, problem: None }
    }

    /// Returns a failure of the world.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Exit::Failed, text)
    }

    /// Returns a failure of the caller.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// Adds what to do next.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds why it failed.
    pub(crate) fn because(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        self.causes.extend(chain(Some(cause)));
        self
    }

    /// Tells whether a reader that went away is all that happened (`portway … | head`).
    pub(crate) fn is_silent(&self) -> bool {
        self.exit == Exit::Ok
    }
}

/// Returns the texts of an error and its causes; a cause that repeats the one before is left out.
fn chain(error: Option<&(dyn std::error::Error + 'static)>) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut next = error;
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let causes = chain(std::error::Error::source(&error));
        let text = error.to_string();
        let (exit, help) = match &error {
            ClientError::Problem(problem) => return Self::from(problem.as_ref().clone()),
            ClientError::Unreachable { .. } | ClientError::Slow { .. } => (Exit::Unreachable, None),
            ClientError::Broken { .. } | ClientError::Interrupted { .. } => {
                (Exit::Unreachable, Some("try again; `portway status` shows how the manager is"))
            }
            ClientError::NotPortway { .. } => (
                Exit::Failed,
                Some(
                    "check the address; Portway's API is at http://localhost:8900 unless told otherwise",
                ),
            ),
            ClientError::Url { .. }
            | ClientError::Insecure { .. }
            | ClientError::SocketPath { .. }
            | ClientError::Header { .. } => (Exit::Usage, None),
            ClientError::Authorities { .. } => {
                (Exit::Failed, Some("name a file with the right authority by --ca-file"))
            }
            ClientError::Decode { .. }
            | ClientError::NotText { .. }
            | ClientError::TooLong
            | ClientError::Path { .. }
            | ClientError::Encode { .. } => (Exit::Failed, None),
        };
        Self { exit, text, causes, help: help.map(str::to_owned), problem: None }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = Exit::of_problem(problem.code);
        let help = match problem.code {
            ProblemCode::Unauthenticated => {
                Some("log in with `portway login URL`, or give a token in PORTWAY_TOKEN")
            }
            ProblemCode::Stale => Some("read it again, and make the change anew"),
            ProblemCode::Forbidden
            | ProblemCode::BadRequest
            | ProblemCode::Invalid
            | ProblemCode::NotFound
            | ProblemCode::PreconditionRequired
            | ProblemCode::Taken
            | ProblemCode::Conflict
            | ProblemCode::TooManyAttempts
            | ProblemCode::Setup
            | ProblemCode::Unavailable
            | ProblemCode::Internal => None,
        };
        let text = problem.detail.clone();
        let help = help.map(str::to_owned);
        Self { exit, text, causes: Vec::new(), help, problem: Some(Box::new(problem)) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "the reader went away");
        }
        Self::failed("cannot read or write").because(&error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told_once_in_the_help() {
        let mut codes: Vec<u8> = Exit::ALL.map(Exit::code).to_vec();
        assert!(codes.is_sorted());
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
        let help = help();
        for exit in Exit::ALL {
            assert!(help.contains(&format!("{:>3}  {}", exit.code(), exit.meaning())), "{exit:?}");
        }
    }

    #[test]
    fn what_the_manager_says_decides_the_code() {
        let exit = |code| Failure::from(Problem::new(code, "x")).exit.code();
        assert_eq!(exit(ProblemCode::Invalid), 3);
        assert_eq!(exit(ProblemCode::NotFound), 4);
        assert_eq!(exit(ProblemCode::Unauthenticated), 5);
        assert_eq!(exit(ProblemCode::Forbidden), 5);
        assert_eq!(exit(ProblemCode::Stale), 6);
        assert_eq!(exit(ProblemCode::Taken), 6);
        assert_eq!(exit(ProblemCode::Internal), 1);
    }

    #[test]
    fn nobody_there_is_told_with_its_cause() {
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = ClientError::Unreachable { endpoint: "/run/x.sock".to_owned(), source };
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Unreachable);
        assert_eq!(failure.causes, ["connection refused"]);
    }

    #[test]
    fn a_reader_that_went_away_is_no_fault() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_silent());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::NotFound)).is_silent());
    }
}
