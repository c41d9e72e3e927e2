//! Operations that are carried out one after the other, in as few round trips as the way to the node
//! allows.

use std::{
    fmt,
    time::{Duration, Instant},
};

use camino::Utf8PathBuf;

use crate::{Argv, Entry, Output, Transport, TransportError, Upload};

/// How long a script may take.
pub(crate) const SCRIPT: Duration = Duration::from_secs(60);

/// One of several operations; each is what the method of its name does.
#[derive(Clone, Debug)]
pub enum Op {
    /// [`Transport::run`].
    Run {
        /// The command.
        argv: Argv,
        /// What it is given.
        stdin: Vec<u8>,
        /// How long it may take.
        deadline: Duration,
    },
    /// [`Transport::run`] of a script that looks or moves files, which is as short as an operation with
    /// files and ends with all of them.
    Script {
        /// The script, its own name, and its arguments.
        argv: Argv,
    },
    /// [`Transport::put`].
    Put(Vec<Upload>),
    /// [`Transport::get`].
    Get(Utf8PathBuf),
    /// [`Transport::list`], of each of some folders.
    List(Vec<Utf8PathBuf>),
    /// [`Transport::remove`].
    Remove(Vec<Utf8PathBuf>),
    /// [`Transport::relink`].
    Relink {
        /// The link.
        link: Utf8PathBuf,
        /// What it is to name.
        target: Utf8PathBuf,
    },
}

/// What came of one of several operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A command ended; perhaps it failed.
    Ran(Output),
    /// It was done, in this time.
    Done(Duration),
    /// A file, or that there is none.
    Got(Option<Vec<u8>>),
    /// What stands in each folder, or that there is none.
    Listed(Vec<Option<Vec<Entry>>>),
}

/// For messages: what is done, in a few words.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |paths: &[Utf8PathBuf]| paths.first().map(ToString::to_string);
        match self {
            Self::Run { argv, .. } | Self::Script { argv } => write!(f, "`{}`", argv.program()),
            Self::Put(files) => {
                let path = files.first().map(|file| file.path().as_str());
                write!(f, "writing {}", path.unwrap_or("nothing"))
            }
            Self::Get(path) => write!(f, "reading {path}"),
            Self::List(paths) => write!(f, "listing {}", first(paths).unwrap_or_default()),
            Self::Remove(paths) => write!(f, "removing {}", first(paths).unwrap_or_default()),
            Self::Relink { link, .. } => write!(f, "linking {link}"),
        }
    }
}

impl Done {
    /// Tells whether the next operation follows: not after a command that failed.
    pub(crate) fn goes_on(&self) -> bool {
        match self {
            Self::Ran(output) => output.is_success(),
            Self::Done(_) | Self::Got(_) | Self::Listed(_) => true,
        }
    }
}

/// Carries operations out by the methods of their names.
pub(crate) async fn one_by_one<T: Transport + ?Sized>(
    transport: &T,
    work: &[Op],
) -> Vec<Result<Done, TransportError>> {
    let mut results = Vec::with_capacity(work.len());
    for op in work {
        let done = one(transport, op).await;
        let goes_on = done.as_ref().is_ok_and(Done::goes_on);
        results.push(done);
        if !goes_on {
            break;
        }
    }
    results
}

/// Carries one operation out.
pub(crate) async fn one<T: Transport + ?Sized>(
    transport: &T,
    op: &Op,
) -> Result<Done, TransportError> {
    let began = Instant::now();
    let done = |()| Done::Done(began.elapsed());
    match op {
        Op::Run { argv, stdin, deadline } => {
            transport.run(argv, stdin, *deadline).await.map(Done::Ran)
        }
        Op::Script { argv } => transport.run(argv, &[], SCRIPT).await.map(Done::Ran),
        Op::Put(files) => transport.put(files).await.map(done),
        Op::Get(path) => transport.get(path).await.map(Done::Got),
        Op::List(folders) => {
            let mut listed = Vec::with_capacity(folders.len());
            for folder in folders {
                listed.push(transport.list(folder).await?);
            }
            Ok(Done::Listed(listed))
        }
        Op::Remove(paths) => transport.remove(paths).await.map(done),
        Op::Relink { link, target } => transport.relink(link, target).await.map(done),
    }
}
