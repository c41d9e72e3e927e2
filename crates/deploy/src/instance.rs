//! An instance of an engine that lives for a test. It is stopped when the test has its answer, and where
//! a manager ended before that, by the next test; at last the node's own `timeout` ends it.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{CandidateFile, Command, Probe, Rights};
use portway_transport::{Transport, TransportError};

use crate::{
    Journal, StepError,
    probe::{self, Silent},
    step::{Node, argv, printed},
};

/// Writes down which process it is, and becomes the engine.
const START: &str = r#"echo $$ > "$1" && shift && exec "$@""#;
/// Ends the process of a note (`$1`), if it is an instance still: its words name the folder (`$2`).
const STOP: &str = r#"[ -e "$1" ] || exit 0
pid=$(cat "$1")
rm -f "$1"
tr '\0' ' ' < "/proc/$pid/cmdline" 2>/dev/null | grep -q -F -- "$2" || exit 0
kill -KILL "$pid" 2>/dev/null || exit 0
for _ in 1 2 3 4 5; do
  kill -0 "$pid" 2>/dev/null || exit 0
  sleep 1
done"#;
/// How long stopping one may take.
const STOPPING: Duration = Duration::from_secs(15);

/// Runs an instance of the engine until it answers as it should. Returns what is wrong otherwise.
pub(crate) async fn attempt<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    files: &[CandidateFile],
    command: &Command,
    probe: &Probe,
) -> Result<Option<String>, StepError> {
    let folder = files.first().and_then(|file| file.path.parent()).unwrap_or(Utf8Path::new("/"));
    let written = folder.join("instance.pid");
    stop(node, &written, folder).await?;
    let words = ["sh", "-c", START, "portway", written.as_str()].map(str::to_owned).into_iter();
    let start = Command { argv: words.chain(command.argv.iter().cloned()).collect(), ..*command };
    let start_argv = argv(&start)?;
    let mut running = std::pin::pin!(node.transport.run(&start_argv, &[], command.deadline));
    // Both are cancel-safe: a question is asked anew, and what runs is only borrowed.
    let answered = tokio::select! {
        answered = probe::until_right(node.transport, probe, probe::IN_A_ROW) => answered,
        ended = &mut running => {
            stop(node, &written, folder).await?;
            return Ok(Some(printed(&ended?)));
        }
    };
    stop(node, &written, folder).await?;
    running.await.map(drop)?;
    match answered {
        Ok(_) => Ok(None),
        Err(Silent::Engine(problem)) => Ok(Some(problem)),
        Err(Silent::Away(error)) => Err(error.into()),
    }
}

async fn stop<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    written: &Utf8PathBuf,
    folder: &Utf8Path,
) -> Result<(), StepError> {
    let words = ["sh", "-c", STOP, "portway", written.as_str(), folder.as_str()];
    let command = Command {
        argv: words.map(str::to_owned).to_vec(),
        rights: Rights::Login,
        deadline: STOPPING,
    };
    let argv = argv(&command)?;
    let stopped: Result<_, TransportError> = node.transport.run(&argv, &[], command.deadline).await;
    Ok(stopped.map(drop)?)
}
