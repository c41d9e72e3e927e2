//! Processes on this machine.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::geteuid;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    time::{Instant, timeout},
};

use crate::{
    Argv, Output, Privilege, Status, TransportError,
    argv::{AFTER_THE_END, whole_seconds},
};

/// How long its output is read after a command has ended.
const LINGERING: Duration = Duration::from_secs(10);

/// Runs a command to its end.
pub(super) async fn run(
    argv: &Argv,
    stdin: &[u8],
    deadline: Duration,
    search_path: &str,
) -> Result<Output, TransportError> {
    let began = Instant::now();
    let patience = Duration::from_secs(whole_seconds(deadline)) + AFTER_THE_END;
    let mut child = spawn(argv, deadline, search_path)?;
    match timeout(patience, attend(&mut child, argv, stdin)).await {
        Ok(attended) => {
            let (status, stdout, stderr) = attended?;
            Ok(Output { status, stdout, stderr, duration: began.elapsed() })
        }
        Err(_) => Err(TransportError::TimedOut { what: format!("`{argv}`"), deadline }),
    }
}

pub(super) fn here(doing: impl Into<String>, source: io::Error) -> TransportError {
    TransportError::Here { doing: doing.into(), source: Arc::new(source) }
}

fn spawn(argv: &Argv, deadline: Duration, search_path: &str) -> Result<Child, TransportError> {
    let bounded = argv.bounded(deadline);
    let sudo: &[&str] = match argv.privilege() {
        Privilege::Root if !geteuid().is_root() => &["sudo", "-n", "--"],
        Privilege::Root | Privilege::User => &[],
    };
    let mut words = sudo.iter().copied().chain(bounded.iter().map(String::as_str));
    // `env` says in one way which program is missing, and what the manager has in its environment
    // is not for others.
    Command::new("/usr/bin/env")
        .args(["LC_ALL=C", &format!("PATH={search_path}")])
        .args(&mut words)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| here(format!("start `{argv}`"), error))
}

type Attended = (Status, Vec<u8>, Vec<u8>);

async fn attend(child: &mut Child, argv: &Argv, stdin: &[u8]) -> Result<Attended, TransportError> {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let most = argv.most_output();
    let passing = async {
        let (fed, read, said) = tokio::join!(
            feed(input, stdin),
            read(output, &mut stdout, most),
            read(errors, &mut stderr, most)
        );
        fed.and(read).and(said)
    };
    let status = end(child, passing, argv).await;
    let status = status.map_err(|error| here(format!("follow `{argv}`"), error))?;
    if stdout.len() > most || stderr.len() > most {
        let what = format!("what `{argv}` prints");
        return Err(TransportError::TooLong { what, limit: most });
    }
    Ok((status_of(status), stdout, stderr))
}

/// Waits for the end of a command and of what it prints.
async fn end(
    child: &mut Child,
    passing: impl Future<Output = io::Result<()>>,
    argv: &Argv,
) -> io::Result<ExitStatus> {
    tokio::pin!(passing);
    // Both are safe to be cancelled: one is not dropped, the other waits for a process.
    tokio::select! {
        passed = &mut passing => {
            passed?;
            child.wait().await
        }
        status = child.wait() => {
            // What the command left behind may hold its output open.
            match timeout(LINGERING, passing).await {
                Ok(passed) => passed?,
                Err(_) => tracing::debug!("`{argv}` has ended, and its output is still open"),
            }
            status
        }
    }
}

/// A command need not read what it is given.
async fn feed(pipe: Option<ChildStdin>, stdin: &[u8]) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    match pipe.write_all(stdin).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads to the end, and drops what is too much: a command that cannot print would wait for ever.
async fn read(
    pipe: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
    most: usize,
) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    (&mut pipe).take(most as u64 + 1).read_to_end(kept).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(())
}

fn status_of(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Exited(code.unsigned_abs()),
        (None, Some(signal)) => Status::Signalled(signal_name(signal)),
        (None, None) => Status::Signalled("unknown".to_owned()),
    }
}

/// The names that SSH has for signals; others are numbers.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        other => return other.to_string(),
    };
    name.to_owned()
}
