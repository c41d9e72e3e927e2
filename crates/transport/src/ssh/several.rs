//! Several operations as one command for the node: what it is given, and what it says.
//!
//! The command runs one operation after the other and says after each, on both of its streams, that it
//! has ended: by a mark that nobody can guess, so that whatever an operation prints is its own. Only one
//! operation of a command has a standard input; where another one needs one, another command begins.

use std::time::Duration;

use bytes::Bytes;

use super::{connection::Wants, files};
use crate::{
    Argv, Op, Output, Privilege, Status, TransportError, Upload,
    argv::{ArgvError, whole_seconds},
    file::{self, MAX_FILE},
    output::MAX_OUTPUT,
    quote,
};

/// `must` ends the command where an operation fails, `may` does not. After each, and before the first,
/// its code is told, and when that was: to a hundredth of a second, by what costs no program.
const DRIVER: &str = r#"mark=$1
told() {
    up=
    read -r up rest 2>/dev/null </proc/uptime
    printf '\n%s %s %s\n' "$mark" "$1" "$up"
    printf '\n%s\n' "$mark" >&2
}
must() { "$@"; code=$?; told "$code"; [ "$code" = 0 ] || exit 0; }
may() { "$@"; told "$?"; }
told 0
"#;
/// How exactly the node tells when something was.
const TICK: Duration = Duration::from_millis(10);
/// Where a command has so many bytes, the next operation begins another one.
const LONGEST: usize = 30_000;
/// Up to how many paths are named to a command that removes them.
const NAMED: usize = 32;
/// How much is printed of each operation beside what it prints itself.
const OF_DRIVER: usize = 128;

/// What one who logs in may do as root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    /// It is root that logs in.
    pub(super) is_root: bool,
    /// Sudo may be asked.
    pub(super) uses_sudo: bool,
}

/// A command that carries out the first of several operations.
pub(super) struct Group {
    pub(super) argv: Argv,
    pub(super) stdin: Vec<Bytes>,
    pub(super) deadline: Duration,
    /// How many operations it carries out.
    pub(super) count: usize,
}

/// One operation as the node is given it.
struct Step {
    words: Vec<String>,
    stdin: Option<Vec<Bytes>>,
    deadline: Duration,
    /// Whether the next one follows even where it fails.
    may_fail: bool,
}

impl Group {
    /// Makes a command of as many operations as one can carry out.
    pub(super) fn first_of(
        work: &[Op],
        rights: Rights,
        mark: &str,
    ) -> Result<Self, TransportError> {
        let mut text = DRIVER.to_owned();
        let (mut stdin, mut deadline, mut count) = (None, Duration::ZERO, 0);
        let (mut reads, mut most_output, mut is_for_readers) = (false, 0, true);
        for op in work {
            // Where a listing must be repeated, or a file cannot be read, nothing was done after it.
            let is_read = matches!(op, Op::Get(_) | Op::List(_));
            if (reads && !is_read) || is_of_several_folders(op) || is_forbidden(op, rights) {
                break;
            }
            let step = step(op, rights)?;
            let is_too_long = text.len() + length(&step.words) > LONGEST && count > 0;
            if (step.stdin.is_some() && stdin.is_some()) || is_too_long {
                break;
            }
            reads = is_read;
            text.push_str(if step.may_fail { "may " } else { "must " });
            text.push_str(&quote::join(&step.words));
            text.push_str(if step.stdin.is_some() { "\n" } else { " </dev/null\n" });
            stdin = stdin.or(step.stdin);
            deadline += Duration::from_secs(whole_seconds(step.deadline));
            most_output += most_output_of(op) + OF_DRIVER;
            is_for_readers &= command_of(op).is_some_and(Argv::is_for_readers);
            count += 1;
            if matches!(op, Op::List(_)) {
                break;
            }
        }
        // One that stands alone is carried out as it is without others.
        count = count.max(1);
        let argv = Argv::new("sh", ["-c", &text, "sh", mark])?.printing_at_most(most_output);
        let argv = if is_for_readers { argv.for_readers() } else { argv };
        Ok(Self { argv, stdin: stdin.unwrap_or_default(), deadline, count })
    }

    /// Returns who wants a place for it: only where nothing in it acts, one who reads.
    pub(super) fn wants(&self) -> Wants {
        if self.argv.is_for_readers() { Wants::ToRead } else { Wants::ToAct }
    }
}

fn command_of(op: &Op) -> Option<&Argv> {
    match op {
        Op::Run { argv, .. } | Op::Script { argv } => Some(argv),
        Op::Put(_) | Op::Get(_) | Op::List(_) | Op::Remove(_) | Op::Relink { .. } => None,
    }
}

/// Returns how much an operation may print on either stream, as it does when it is alone.
fn most_output_of(op: &Op) -> usize {
    match op {
        Op::Run { argv, .. } | Op::Script { argv } => argv.most_output(),
        Op::Get(_) => MAX_FILE,
        Op::Put(_) | Op::List(_) | Op::Remove(_) | Op::Relink { .. } => MAX_OUTPUT,
    }
}

/// Tells whether an operation needs what may not be asked for. It is refused where it stands alone.
fn is_forbidden(op: &Op, rights: Rights) -> bool {
    let as_root = command_of(op).is_some_and(|argv| argv.privilege() == Privilege::Root);
    as_root && !rights.is_root && !rights.uses_sudo
}

/// Makes sure that an operation printed no more than it may; what the others printed does not count.
pub(super) fn within_bounds(op: &Op, said: Output) -> Result<Output, TransportError> {
    let limit = most_output_of(op);
    if said.stdout.len() <= limit && said.stderr.len() <= limit {
        return Ok(said);
    }
    Err(TransportError::TooLong { what: format!("what {op} prints"), limit })
}

/// Tells whether files are written that one command cannot write.
fn is_of_several_folders(op: &Op) -> bool {
    let Op::Put(files) = op else { return false };
    files.iter().any(|file| Some(file.folder()) != files.first().map(Upload::folder))
}

fn length(words: &[String]) -> usize {
    words.iter().map(|word| word.len() + 3).sum()
}

fn step(op: &Op, rights: Rights) -> Result<Step, TransportError> {
    let scripted = |argv: Result<Argv, ArgvError>, stdin: Option<Vec<Bytes>>| {
        let deadline = files::put_patience(stdin.as_deref().unwrap_or_default());
        Ok::<_, TransportError>(Step { words: words(&argv?), stdin, deadline, may_fail: false })
    };
    match op {
        Op::Run { argv, stdin, deadline } => {
            let sudo = argv.privilege() == Privilege::Root && !rights.is_root;
            let sudo: &[&str] = if sudo { &["sudo", "-n", "--"] } else { &[] };
            let words = sudo.iter().map(|word| (*word).to_owned()).chain(argv.bounded(*deadline));
            let stdin = (!stdin.is_empty()).then(|| vec![Bytes::copy_from_slice(stdin)]);
            Ok(Step { words: words.collect(), stdin, deadline: *deadline, may_fail: false })
        }
        Op::Script { argv } => scripted(Ok(argv.clone()), None),
        Op::Put(uploads) => {
            let groups = file::by_folder(uploads)?;
            let Some((folder, group)) = groups.first() else {
                return scripted(Argv::new("true", [""; 0]), None);
            };
            scripted(files::put_command(folder, group), Some(files::put_input(group)))
        }
        Op::Get(path) => {
            file::check_file(path)?;
            let step = scripted(files::get_command(path), None)?;
            Ok(Step { may_fail: true, ..step })
        }
        Op::List(folders) => {
            folders.iter().try_for_each(|folder| file::check(folder))?;
            let folders: Vec<_> = folders.iter().map(AsRef::as_ref).collect();
            scripted(files::list_command(&folders), None)
        }
        Op::Remove(paths) => {
            paths.iter().try_for_each(|path| file::check_file(path))?;
            if paths.len() > NAMED {
                return scripted(files::remove_command(), Some(vec![files::remove_input(paths)]));
            }
            let paths = paths.iter().map(|path| path.as_str());
            scripted(Argv::new("rm", ["-f", "--"].into_iter().chain(paths)), None)
        }
        Op::Relink { link, target } => {
            file::check_file(link)?;
            file::check_link_target(target)?;
            scripted(files::relink_command(link, target), None)
        }
    }
}

fn words(argv: &Argv) -> Vec<String> {
    [argv.program()]
        .into_iter()
        .chain(argv.arguments().iter().map(String::as_str))
        .map(str::to_owned)
        .collect()
}

/// Returns what each operation said that ended.
pub(super) fn read(output: &Output, mark: &str) -> Vec<Output> {
    let out = sections(&output.stdout, mark);
    let err = sections(&output.stderr, mark);
    let mut before = None;
    let mut read = Vec::new();
    // The first mark says that the command began.
    for (at, (section, told)) in out.iter().enumerate() {
        let mut words = told.split(' ');
        let code = words.next().and_then(|code| code.parse().ok());
        let up = words.next().and_then(|up| up.parse::<f64>().ok());
        if let (Some(code), true) = (code, at > 0) {
            let took = before
                .zip(up)
                .and_then(|(before, up): (f64, f64)| Duration::try_from_secs_f64(up - before).ok());
            read.push(Output {
                status: Status::Exited(code),
                stdout: section.to_vec(),
                stderr: err.get(at).map(|(section, _)| section.to_vec()).unwrap_or_default(),
                duration: took.map_or(output.duration, |took| took + TICK),
            });
        }
        before = up;
    }
    read
}

/// Splits what was printed at the marks. Returns what stood before each, and what the mark's line says.
fn sections<'a>(printed: &'a [u8], mark: &str) -> Vec<(&'a [u8], &'a str)> {
    let line = [b"\n", mark.as_bytes()].concat();
    let mut sections = Vec::new();
    let mut rest = printed;
    while let Some(at) = find(rest, &line) {
        let (before, after) = rest.split_at(at);
        let after = after.get(line.len()..).unwrap_or_default();
        let end = after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len());
        let (told, after) = after.split_at(end);
        sections.push((before, std::str::from_utf8(told).unwrap_or_default().trim()));
        rest = after.get(1..).unwrap_or_default();
    }
    sections
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_operation_said_is_its_own() {
        let output = Output {
            status: Status::Exited(0),
            stdout: b"motd\nM 0 10.00\none\n\nM 0 10.25\nM\n\nM 3 10.25\n".to_vec(),
            stderr: b"\nM\n\nM\nwrong\nM\n".to_vec(),
            duration: Duration::from_secs(9),
        };

        let read = read(&output, "M");

        let texts: Vec<_> = read.iter().map(Output::stdout_text).collect();
        assert_eq!(texts, ["one\n", "M\n"]);
        assert_eq!(read[0].duration, Duration::from_millis(260));
        assert_eq!((read[1].status.clone(), &*read[1].stderr_text()), (Status::Exited(3), "wrong"));
    }

    #[test]
    fn a_command_carries_one_standard_input() {
        let run = |stdin: &[u8]| Op::Run {
            argv: Argv::new("cat", [""; 0]).unwrap(),
            stdin: stdin.to_vec(),
            deadline: Duration::from_millis(1500),
        };
        let work = [run(b""), run(b"a"), run(b""), run(b"b")];

        let group = Group::first_of(&work, ROOT, "M").unwrap();

        assert_eq!((group.count, group.deadline), (3, Duration::from_secs(6)));
        assert_eq!(group.stdin, [Bytes::from_static(b"a")]);
    }

    #[test]
    fn what_may_not_be_done_as_root_is_no_part_of_a_command() {
        let work = [id(id_argv()), id(id_argv().as_root()), id(id_argv())];

        let count = |rights| Group::first_of(&work, rights, "M").unwrap().count;

        assert_eq!(count(ROOT), 3);
        assert_eq!(count(Rights { is_root: false, uses_sudo: true }), 3);
        assert_eq!(count(Rights { is_root: false, uses_sudo: false }), 1);
    }

    #[test]
    fn a_command_prints_what_its_parts_may_and_reads_where_all_of_them_do() {
        let reads = || id(id_argv().printing_at_most(10).for_readers());
        let group = |work: &[Op]| Group::first_of(work, ROOT, "M").unwrap();

        let both = group(&[reads(), reads()]);
        let mixed = group(&[reads(), id(id_argv())]);

        assert_eq!(both.argv.most_output(), 2 * (10 + OF_DRIVER));
        assert_eq!((both.wants(), mixed.wants()), (Wants::ToRead, Wants::ToAct));
    }

    const ROOT: Rights = Rights { is_root: true, uses_sudo: true };

    fn id_argv() -> Argv {
        Argv::new("id", [""; 0]).unwrap()
    }

    fn id(argv: Argv) -> Op {
        Op::Run { argv, stdin: Vec::new(), deadline: Duration::from_secs(1) }
    }
}
