//! A command on a node that an administrator types: words, bounded in time and in what is kept of its
//! output, written down before it runs and after it has ended.

use std::time::{Duration, Instant};

use portway_model::ResourceKind;
use portway_store::AuditOutcome;
use portway_transport::{Argv, Output, Status, Transport as _, TransportError};
use portway_wire::manage::{ExecNode, NodeExecuted};

use super::hands::{Hands, unreached};
use crate::{Control, ControlError, actor::Actor, audit::Record, rights::Commander};

/// The longest that a command may run.
const LONGEST: u32 = 600;
const USUAL: u32 = 30;
/// The node ends a command by itself; what watches over that waits for so much longer.
const BEYOND: Duration = Duration::from_secs(15);
/// As much of each stream is kept.
const KEPT: usize = 1 << 20;
/// What `timeout` ends with when it ended its command, or had to kill it.
const CODES_OF_TIMEOUT: [u32; 2] = [124, 137];

impl Commander<'_> {
    /// Runs a command on a node with the rights of whoever logs in there.
    pub async fn exec(&self, node: &str, exec: &ExecNode) -> Result<NodeExecuted, ControlError> {
        let seconds = exec.deadline_seconds.unwrap_or(USUAL);
        if !(1..=LONGEST).contains(&seconds) {
            let text = format!("`deadline_seconds` is 1 to {LONGEST}, not {seconds}");
            return Err(ControlError::BadRequest(text));
        }
        let command = Command::read(&exec.argv, seconds)?;
        let hands = self.control.hands(node).await?;
        let (control, actor) = (self.control.clone(), self.actor.clone());
        // Whoever asked may go away; what was begun is ended, and written down.
        let work = async move { control.exec_on(&actor, &hands, command).await };
        tokio::spawn(work)
            .await
            .map_err(|error| ControlError::internal("running a command on a node", error))?
    }
}

/// A command with its deadline.
struct Command {
    /// What was typed, for people.
    typed: String,
    program: String,
    argv: Argv,
    deadline: Duration,
}

impl Command {
    /// The command runs under a `timeout` of its own, so that what it printed until then is kept when
    /// its time is over.
    fn read(words: &[String], seconds: u32) -> Result<Self, ControlError> {
        let (program, arguments) = words.split_first().ok_or_else(|| {
            ControlError::BadRequest("give a program, and its arguments as words".to_owned())
        })?;
        let wrong =
            |error: portway_transport::ArgvError| ControlError::BadRequest(error.to_string());
        let typed = Argv::new(program, arguments.iter().cloned()).map_err(wrong)?.to_string();
        let deadline = Duration::from_secs(seconds.into());
        let seconds = seconds.to_string();
        let bounds = ["-k", "5", &seconds, program].map(str::to_owned);
        let argv = Argv::new("timeout", bounds.into_iter().chain(arguments.iter().cloned()));
        Ok(Self { typed, program: program.clone(), argv: argv.map_err(wrong)?, deadline })
    }
}

impl Control {
    async fn exec_on(
        &self,
        actor: &Actor,
        hands: &Hands,
        command: Command,
    ) -> Result<NodeExecuted, ControlError> {
        let name = hands.row.name.as_str();
        let record = |action| Record::of(actor, action).resource(ResourceKind::Node, name);
        // What is not written down is not run.
        self.write_audit(record("node.exec").detail(&command.typed)).await?;
        let began = Instant::now();
        let ran = hands.reach.run(&command.argv, &[], command.deadline + BEYOND).await;
        let took = began.elapsed().as_secs_f32();
        let (outcome, how) = match &ran {
            Ok(output) => (AuditOutcome::Done, output.status.to_string()),
            Err(error) => (AuditOutcome::Failed, error.to_string()),
        };
        let detail = format!("{}: {how} after {took:.1} s", command.typed);
        self.write_audit(record("node.exec.end").outcome(outcome).detail(detail)).await?;
        match ran {
            Ok(output) => Ok(executed(name, &output, command.deadline)),
            Err(TransportError::NoProgram { address, .. }) => {
                let program = command.program;
                Err(unreached(TransportError::NoProgram { address, program }))
            }
            Err(error) => Err(unreached(error)),
        }
    }
}

fn executed(node: &str, output: &Output, deadline: Duration) -> NodeExecuted {
    let (exit_code, signal) = match &output.status {
        Status::Exited(code) => (Some(*code), None),
        Status::Signalled(name) => (None, Some(name.clone())),
    };
    let ended = exit_code.is_none_or(|code| CODES_OF_TIMEOUT.contains(&code));
    let (stdout, stdout_cut) = kept(&output.stdout);
    let (stderr, stderr_cut) = kept(&output.stderr);
    NodeExecuted {
        node: node.to_owned(),
        exit_code,
        signal,
        timed_out: ended && output.duration >= deadline,
        stdout,
        stdout_cut,
        stderr,
        stderr_cut,
        duration_ms: u64::try_from(output.duration.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Returns the beginning of a stream as text, and how many bytes are left out.
fn kept(stream: &[u8]) -> (String, u64) {
    let beginning = stream.get(..KEPT).unwrap_or(stream);
    let text = String::from_utf8_lossy(beginning).into_owned();
    (text, u64::try_from(stream.len() - beginning.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(status: Status, seconds: u64) -> Output {
        let duration = Duration::from_secs(seconds);
        Output { status, stdout: vec![b'x'; KEPT + 3], stderr: vec![0xff], duration }
    }

    #[test]
    fn what_is_cut_is_counted() {
        let told = executed("web-1", &output(Status::Exited(0), 1), Duration::from_secs(30));

        assert_eq!((told.stdout.len(), told.stdout_cut, told.timed_out), (KEPT, 3, false));
        assert_eq!((told.stderr.as_str(), told.stderr_cut), ("\u{fffd}", 0));
    }

    #[test]
    fn a_code_of_timeout_counts_when_the_time_was_over() {
        let deadline = Duration::from_secs(5);
        let told = |code, seconds| {
            executed("web-1", &output(Status::Exited(code), seconds), deadline).timed_out
        };

        assert!(told(124, 5) && told(137, 10));
        assert!(!told(124, 1) && !told(1, 6));
    }

    #[test]
    fn a_command_is_words_and_has_a_program() {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let command = Command::read(&words(&["ls", "-l", "a b"]), 7).unwrap();

        assert_eq!(command.typed, "ls -l 'a b'");
        assert_eq!(command.argv.to_string(), "timeout -k 5 7 ls -l 'a b'");
        for wrong in [&[][..], &["-x"], &["a b"], &["ls", "\0"]] {
            assert!(Command::read(&words(wrong), 7).is_err(), "{wrong:?}");
        }
    }
}
