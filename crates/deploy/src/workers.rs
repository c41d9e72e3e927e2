//! Workers of before: an engine that starts new workers lets its old ones take connections for a moment
//! longer, and who comes in that moment gets what was served before.
//!
//! What they do is seen from outside: the machine's list of processes has the title of each, and an
//! engine changes it when a worker stops taking connections. That one goes on for as long as it has old
//! ones, which is nobody's concern here. Where the list cannot be seen, nothing is said.

use std::time::{Duration, Instant};

use portway_engine::{Probe, Workers};
use portway_transport::{Argv, Output, Status, Transport};

use crate::{
    Journal, StepError,
    step::{Act, Node},
};

/// How long old workers may go on to take connections. They are told to stop within a moment.
const LEAVING: Duration = Duration::from_secs(20);
/// The script's own end, so that it says how far it came.
const TURNS: &str = "300";

/// Prints the files of the processes with a title (`$1`) that lacks words (`$2`).
const SEEN: &str = r#"files=$(grep -l -s -e "$1" /proc/[0-9]*/cmdline)
[ -z "$files" ] || grep -L -s -e "$2" $files
exit 0"#;

/// Waits until none of some processes (from `$5` on), if they have the same parent as one (`$1`), has a
/// title (`$2`) that lacks words (`$3`); `$4` is how often it looks. Ends with 3 where it cannot see, and
/// prints what is left where it gives up.
const GONE: &str = r#"parent() {
  parent=
  [ -r "/proc/$1/status" ] || return 0
  while read -r name value rest; do
    [ "$name" = PPid: ] && parent=$value && return
  done 2>/dev/null < "/proc/$1/status"
}
parent "$1"
master=$parent title=$2 leaving=$3 turns=$4
[ -n "$master" ] || exit 3
shift 4
files=
for one; do
  parent "$one"
  [ "$parent" = "$master" ] && files="$files /proc/$one/cmdline"
done
while [ -n "$files" ]; do
  files=$(grep -l -s -e "$title" $files)
  [ -n "$files" ] && files=$(grep -L -s -e "$leaving" $files)
  [ -n "$files" ] || exit 0
  turns=$((turns - 1))
  [ "$turns" -gt 0 ] || { echo $files; exit 1; }
  sleep 0.05 2>/dev/null || { sleep 1; turns=$((turns - 19)); }
done
exit 0"#;
/// What the script ends with where it cannot see.
const UNSEEN: u32 = 3;

/// What is said where it cannot be seen.
const HIDDEN: &str =
    "this login cannot see the engine's processes; its answers are counted instead";

/// The processes that took connections before an engine was told to read anew.
#[derive(Debug, Default)]
pub(crate) struct Before(Vec<String>);

/// How it went with the workers of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// None of them takes connections any more.
    Done,
    /// It cannot be seen, or they go on for too long.
    Unknown,
}

/// Returns what looks which workers there are. Whose they are is seen later, when one of the new ones is
/// known.
pub(crate) fn look(probe: &Probe) -> Result<Option<Act>, StepError> {
    let act = |workers: &Workers| {
        Act::look("looked which workers there are", SEEN, &[workers.title, workers.leaving])
    };
    probe.workers.as_ref().map(act).transpose()
}

impl Before {
    /// Reads what was printed.
    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |line: &str| {
            let number = line.strip_prefix("/proc/")?.strip_suffix("/cmdline")?;
            is_number(number).then(|| number.to_owned())
        };
        Self(text.lines().filter_map(number).collect())
    }
}

/// Waits until none of the workers of before takes connections. `process` is a worker that answers for
/// the engine.
pub(crate) async fn gone<T: Transport, J: Journal>(
    node: &Node<'_, T, J>,
    workers: &Workers,
    before: &Before,
    process: &str,
) -> Leaving {
    let began = Instant::now();
    let action = "waited until no worker of before takes connections".to_owned();
    if !is_number(process) || before.0.is_empty() {
        node.note(action, HIDDEN.to_owned(), true, began);
        return Leaving::Unknown;
    }
    let words = ["-c", GONE, "portway", process, workers.title, workers.leaving, TURNS];
    let words = words.into_iter().chain(before.0.iter().map(String::as_str));
    let Ok(argv) = Argv::new("sh", words) else { return Leaving::Unknown };
    let (leaving, said) = match node.transport.run(&argv, &[], LEAVING).await {
        Ok(output) => match output.status {
            Status::Exited(0) => (Leaving::Done, String::new()),
            Status::Exited(UNSEEN) => (Leaving::Unknown, HIDDEN.to_owned()),
            Status::Exited(_) | Status::Signalled(_) => {
                let left = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                (Leaving::Unknown, format!("these still do: {left}"))
            }
        },
        Err(error) => (Leaving::Unknown, error.to_string()),
    };
    let is_well = leaving == Leaving::Done || said == HIDDEN;
    node.note(action, said, is_well, began);
    leaving
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_processes() {
        assert!(is_number("4711"));
        for text in ["", "-1", "1 2", "12345678901", "self"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
