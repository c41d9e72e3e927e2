//! What programs said, read for the errors that have a remedy. All run with `LC_ALL=C`.

use std::time::Duration;

use crate::{
    Argv, Output, Privilege, Status, SudoRefusal, TransportError, argv::whole_seconds, quote,
};

/// What `timeout` returns when it ended its command; the signals are what its kin leave behind.
const CODES_OF_TIMEOUT: [u32; 3] = [124, 137, 143];
/// What `env`, shells and `timeout` return for a program that is missing, or is none.
const CODES_OF_MISSING: [u32; 2] = [126, 127];

/// Who said it, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker<'a> {
    pub(crate) address: &'a str,
    pub(crate) user: &'a str,
}

impl Speaker<'_> {
    /// Tells a command that ran from one that did not: it was out of time, refused, or is missing.
    pub(crate) fn judge(
        self,
        argv: &Argv,
        deadline: Duration,
        output: Output,
    ) -> Result<Output, TransportError> {
        if is_out_of_time(&output, deadline) {
            return Err(TransportError::TimedOut { what: format!("`{argv}`"), deadline });
        }
        let said = output.stderr_text();
        if argv.privilege() == Privilege::Root
            && let Some(refusal) = refusal_of_sudo(&output.status, &said)
        {
            return Err(TransportError::Sudo {
                command: quote::join(argv.bounded(deadline)),
                user: self.user.to_owned(),
                refusal,
            });
        }
        if is_missing(&output.status, &said, argv.program()) {
            return Err(TransportError::NoProgram {
                address: self.address.to_owned(),
                program: argv.program().to_owned(),
            });
        }
        if is_missing(&output.status, &said, "timeout") {
            return Err(TransportError::NoProgram {
                address: self.address.to_owned(),
                program: "timeout".to_owned(),
            });
        }
        Ok(output)
    }

    /// Returns why something with files failed, by what was said of it.
    pub(crate) fn failure(self, doing: &'static str, path: &str, said: &str) -> TransportError {
        let path = path.to_owned();
        let has = |text| said.contains(text);
        if has("No space left on device") || has("Disk quota exceeded") {
            TransportError::DiskFull { path }
        } else if has("Read-only file system") {
            TransportError::ReadOnly { path }
        } else if has("Permission denied") || has("Operation not permitted") {
            TransportError::Permission { user: self.user.to_owned(), path }
        } else {
            TransportError::File { doing, path, said: brief(said) }
        }
    }
}

/// Returns the first line of what was said, short enough for a message. Engines name long paths before
/// they come to the reason.
pub(crate) fn brief(said: &str) -> String {
    const LONGEST: usize = 1000;
    let line =
        said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    line.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

fn is_out_of_time(output: &Output, deadline: Duration) -> bool {
    let ended = match &output.status {
        Status::Exited(code) => CODES_OF_TIMEOUT.contains(code),
        Status::Signalled(name) => name == "TERM" || name == "KILL",
    };
    ended && output.duration >= Duration::from_secs(whole_seconds(deadline))
}

/// Only what sudo says of itself counts, and only where it ran nothing.
fn refusal_of_sudo(status: &Status, said: &str) -> Option<SudoRefusal> {
    if is_missing(status, said, "sudo") {
        return Some(SudoRefusal::Missing);
    }
    if *status != Status::Exited(1) {
        return None;
    }
    said.lines().find_map(|line| {
        if line.starts_with("sudo: a password is required")
            || line.starts_with("sudo: a terminal is required")
            || line.starts_with("sudo: interactive authentication is required")
        {
            Some(SudoRefusal::PasswordWanted)
        } else if line.contains(" is not in the sudoers file")
            || line.contains(" may not run sudo on ")
        {
            Some(SudoRefusal::NoRules)
        } else if line.starts_with("Sorry, user ") && line.contains(" is not allowed to execute ") {
            Some(SudoRefusal::NotAllowed)
        } else {
            None
        }
    })
}

/// Whether a program was not found: said by `timeout` or `env` of GNU and busybox, a shell, or sudo.
fn is_missing(status: &Status, said: &str, program: &str) -> bool {
    let Status::Exited(code) = status else { return false };
    let of_starters = CODES_OF_MISSING.contains(code)
        && said.lines().any(|line| {
            let is_about = line.contains(program)
                && (line.starts_with("timeout: ")
                    || line.starts_with("env: ")
                    || line.contains("sh: "));
            is_about && (line.contains("No such file") || line.ends_with("not found"))
        });
    let of_sudo = *code == 1
        && said.lines().any(|line| line == format!("sudo: {program}: command not found"));
    of_starters || of_sudo
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEAKER: Speaker<'static> = Speaker { address: "web1:22", user: "deploy" };

    #[test]
    fn refusals_of_sudo_are_told_apart() {
        let cases = [
            ("sudo: a password is required\n", SudoRefusal::PasswordWanted),
            ("sudo: interactive authentication is required\n", SudoRefusal::PasswordWanted),
            ("deploy is not in the sudoers file.\n", SudoRefusal::NoRules),
            (
                "sudo: unable to resolve host x: y\nsudo: a password is required\n",
                SudoRefusal::PasswordWanted,
            ),
            (
                "Sorry, user deploy is not allowed to execute '/usr/bin/id' as root on web1.\n",
                SudoRefusal::NotAllowed,
            ),
        ];
        for (said, expected) in cases {
            let judged = judge(&argv().as_root(), Status::Exited(1), said);

            let Err(TransportError::Sudo { refusal, user, .. }) = judged else {
                panic!("{said}: {judged:?}")
            };
            assert_eq!((refusal, user.as_str()), (expected, "deploy"));
        }
    }

    #[test]
    fn a_missing_sudo_is_a_refusal() {
        for said in ["env: 'sudo': No such file or directory\n", "sh: 1: sudo: not found\n"] {
            let judged = judge(&argv().as_root(), Status::Exited(127), said);

            let missing =
                matches!(judged, Err(TransportError::Sudo { refusal: SudoRefusal::Missing, .. }));
            assert!(missing, "{said}: {judged:?}");
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let cases = [
            (127, "timeout: failed to run command 'nginx': No such file or directory"),
            (127, "timeout: can't execute 'nginx': No such file or directory"),
            (1, "sudo: nginx: command not found"),
        ];
        for (code, said) in cases {
            let judged = judge(&argv(), Status::Exited(code), said);

            let Err(TransportError::NoProgram { program, .. }) = judged else {
                panic!("{said}: {judged:?}")
            };
            assert_eq!(program, "nginx");
        }
    }

    #[test]
    fn what_a_command_says_itself_is_its_output() {
        let plain = judge(&argv(), Status::Exited(1), "sudo: a password is required\n");
        let other = judge(&argv().as_root(), Status::Exited(2), "sudo: a password is required\n");
        let found = judge(&argv(), Status::Exited(127), "x: not found\n");

        assert!(plain.is_ok() && other.is_ok() && found.is_ok(), "{plain:?} {other:?} {found:?}");
    }

    #[test]
    fn only_what_took_its_time_was_ended_by_it() {
        let late = Output { duration: Duration::from_secs(10), ..output(Status::Exited(124), "") };
        let killed = Status::Signalled("KILL".to_owned());
        let killed = Output { duration: Duration::from_secs(15), ..output(killed, "") };
        let deadline = Duration::from_secs(10);

        for ended in [late, killed] {
            let judged = SPEAKER.judge(&argv(), deadline, ended);
            assert!(matches!(judged, Err(TransportError::TimedOut { .. })), "{judged:?}");
        }
        assert!(judge(&argv(), Status::Exited(124), "").is_ok());
    }

    #[test]
    fn failures_with_files_have_their_remedies() {
        let failure = |said| SPEAKER.failure("write", "/a", said);

        assert!(matches!(
            failure("tar: a: Cannot write: No space left on device"),
            TransportError::DiskFull { .. }
        ));
        assert!(matches!(
            failure("mktemp: failed to create directory: Permission denied"),
            TransportError::Permission { .. }
        ));
        assert!(matches!(failure("x: Read-only file system"), TransportError::ReadOnly { .. }));
        assert_eq!(failure("odd\nmore").to_string(), "cannot write /a: odd");
    }

    fn judge(argv: &Argv, status: Status, said: &str) -> Result<Output, TransportError> {
        SPEAKER.judge(argv, Duration::from_secs(10), output(status, said))
    }

    fn output(status: Status, said: &str) -> Output {
        let stderr = said.as_bytes().to_vec();
        Output { status, stdout: Vec::new(), stderr, duration: Duration::ZERO }
    }

    fn argv() -> Argv {
        Argv::new("nginx", ["-t"]).unwrap()
    }
}
