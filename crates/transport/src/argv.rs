//! Commands as lists of words.

use std::{fmt, time::Duration};

use crate::{output::MAX_OUTPUT, quote};

/// How long a command that was asked to end may take before it is killed.
const GRACE: &str = "5";
/// How long the manager waits for word from the node after a command's time is over: until it was
/// killed, and for the way.
pub(crate) const AFTER_THE_END: Duration = Duration::from_secs(15);
/// The length of a command that every node takes: Linux allows 128 KiB for one word, and over SSH the
/// whole command is one.
const MAX_LENGTH: usize = 100_000;

/// A command: a program and its arguments, never a line for a shell.
///
/// Secrets do not belong here: every user of a machine can read the arguments of every process. They
/// go through standard input or files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argv {
    program: String,
    arguments: Vec<String>,
    privilege: Privilege,
    most_output: usize,
    is_for_readers: bool,
}

/// With whose rights a command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privilege {
    /// The rights of the one who logs in.
    #[default]
    User,
    /// The rights of root; by `sudo -n` where another user logs in.
    Root,
}

/// Why words are no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgvError {
    /// The first word is neither an absolute path nor a plain name.
    #[error(
        "`{0}` is no program: give an absolute path, or a name of letters, digits, `.`, `_`, `+` and `-`"
    )]
    Program(String),
    /// A word holds a NUL byte.
    #[error("a word of the command `{0}` holds a NUL byte, which no program can be given")]
    Nul(String),
    /// All words together are too long.
    #[error(
        "the command `{program}` is {length} bytes long, of at most {MAX_LENGTH}; give it what is long \
         through its standard input or a file"
    )]
    TooLong {
        /// The program.
        program: String,
        /// The length of all words.
        length: usize,
    },
}

impl Argv {
    /// Makes a command that runs with the rights of the one who logs in.
    pub fn new<A: Into<String>>(
        program: impl Into<String>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, ArgvError> {
        let program = program.into();
        let arguments = arguments.into_iter().map(Into::into).collect::<Vec<String>>();
        if program.contains('\0') || arguments.iter().any(|argument| argument.contains('\0')) {
            return Err(ArgvError::Nul(program.replace('\0', "")));
        }
        if !is_program(&program) {
            return Err(ArgvError::Program(program));
        }
        let privilege = Privilege::User;
        let argv =
            Self { program, arguments, privilege, most_output: MAX_OUTPUT, is_for_readers: false };
        let length = argv.to_string().len();
        if length > MAX_LENGTH {
            return Err(ArgvError::TooLong { program: argv.program, length });
        }
        Ok(argv)
    }

    /// Lets the command run with the rights of root.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.privilege = Privilege::Root;
        self
    }

    /// Lets the command print at most so many bytes on either of its streams, instead of 64 MiB. One that
    /// prints more is an error, and what it printed is dropped: a node must not fill the manager's
    /// memory.
    #[must_use]
    pub fn printing_at_most(mut self, bytes: usize) -> Self {
        self.most_output = bytes.min(MAX_OUTPUT);
        self
    }

    /// Says that the command only reads something for people who look at it. However many such commands
    /// there are, they leave room on a connection for what changes the node.
    #[must_use]
    pub fn for_readers(mut self) -> Self {
        self.is_for_readers = true;
        self
    }

    /// Returns the program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Returns the arguments.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Returns with whose rights the command runs.
    pub const fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// Returns how many bytes the command may print on either of its streams.
    pub const fn most_output(&self) -> usize {
        self.most_output
    }

    /// Returns whether the command only reads something for people who look at it.
    pub const fn is_for_readers(&self) -> bool {
        self.is_for_readers
    }

    /// Returns the words that end by themselves when their time is over: `timeout -k 5 30 nginx -t`.
    ///
    /// The node's own `timeout` watches, so that a link that is cut, or a manager that is killed,
    /// leaves no command without an owner. GNU's also ends what the command started; busybox's only
    /// the command itself. These words stand behind `sudo -n --`, for only root may
    /// end what root runs: **a line of sudoers must permit exactly these words**.
    pub fn bounded(&self, deadline: Duration) -> Vec<String> {
        let seconds = whole_seconds(deadline).to_string();
        let mut words =
            ["timeout", "-k", GRACE, &seconds, &self.program].map(str::to_owned).to_vec();
        words.extend(self.arguments.iter().cloned());
        words
    }
}

/// Returns a deadline in whole seconds, rounded up: all that every `timeout` understands.
pub(crate) fn whole_seconds(deadline: Duration) -> u64 {
    let part = u64::from(deadline.subsec_nanos() > 0);
    deadline.as_secs().saturating_add(part).max(1)
}

/// A name that begins with `-` would be read as an option by what starts it.
fn is_program(program: &str) -> bool {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    let is_name = program.starts_with(|c: char| c.is_ascii_alphanumeric())
        && program.chars().all(is_of_a_name);
    is_name || (program.starts_with('/') && !program.ends_with('/'))
}

/// For logs: as one would type it, without the deadline.
impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sudo: &[&str] = match self.privilege {
            Privilege::User => &[],
            Privilege::Root => &["sudo", "-n", "--"],
        };
        let arguments = self.arguments.iter().map(String::as_str);
        let words = sudo.iter().copied().chain([self.program.as_str()]).chain(arguments);
        f.write_str(&quote::join(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let argv = Argv::new("nginx", ["-t", "-c", "/etc/a b"]).unwrap();

        assert_eq!(argv.to_string(), "nginx -t -c '/etc/a b'");
        assert_eq!(argv.as_root().to_string(), "sudo -n -- nginx -t -c '/etc/a b'");
    }

    #[test]
    fn what_could_be_read_as_an_option_or_an_assignment_is_no_program() {
        for program in
            ["", "-x", "./nginx", "a/b", "A=b", "a b", "$(id)", "/", "/usr/bin/", "é", ".."]
        {
            let refused = Argv::new(program, ["x"]);

            assert_eq!(refused, Err(ArgvError::Program(program.to_owned())));
        }
    }

    #[test]
    fn paths_and_plain_names_are_programs() {
        for program in ["nginx", "/usr/sbin/nginx", "g++", "php8.2-fpm", "/opt/a b/c", "["] {
            let expected = program != "[";
            assert_eq!(Argv::new(program, ["x"]).is_ok(), expected, "{program}");
        }
    }

    #[test]
    fn a_nul_byte_is_refused_wherever_it_stands() {
        assert_eq!(Argv::new("a", ["b\0c"]), Err(ArgvError::Nul("a".to_owned())));
        assert_eq!(Argv::new("a\0", ["b"]), Err(ArgvError::Nul("a".to_owned())));
    }

    #[test]
    fn a_command_that_no_node_would_take_is_refused() {
        let long = Argv::new("a", ["'".repeat(MAX_LENGTH / 4)]);

        assert!(matches!(long, Err(ArgvError::TooLong { .. })), "quotes count as they are sent");
    }

    #[test]
    fn a_deadline_is_rounded_up_to_seconds_that_are_never_zero() {
        let argv = Argv::new("nginx", ["-t"]).unwrap();
        let seconds = |deadline| argv.bounded(deadline).get(3).cloned().unwrap();

        assert_eq!(argv.bounded(Duration::from_secs(30)).join(" "), "timeout -k 5 30 nginx -t");
        assert_eq!(seconds(Duration::ZERO), "1");
        assert_eq!(seconds(Duration::from_millis(1001)), "2");
    }
}
