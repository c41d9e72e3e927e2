//! A transport on which things go wrong at a chosen operation, also in the middle of several that are one
//! command for the node: what those before it came to is then lost with the command.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_transport::{
    Argv, BoxStream, Done, Entry, Local, Op, Output, Status, Target, Transport, TransportError,
    Upload,
};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The node cannot be reached, from this operation on.
    Unreachable,
    /// The node hangs: the operation and all after it end by their deadlines.
    Hung,
    /// Nobody is let in, from this operation on.
    LoginRefused,
    /// The link is cut: the operation is done, and nobody hears of it or of anything after it.
    Cut,
    /// The link is cut and there again: the operation is done, and nobody hears of it.
    Blinks,
    /// Nothing can be written, from this operation on.
    DiskFull,
    /// A command fails, this one only.
    CommandFails,
    /// The manager is frozen before the operation, until it is thawed.
    Frozen,
    /// The manager is killed before the operation.
    KilledBefore,
    /// The manager is killed after the operation.
    KilledAfter,
}

/// This machine, with a fault.
pub(crate) struct Faulty {
    local: Local,
    fault: Option<Fault>,
    at: usize,
    done: AtomicUsize,
    dead: AtomicBool,
    frozen: AtomicBool,
    thaw: Notify,
}

/// What becomes of an operation.
enum Fate {
    Fine,
    Fails(TransportError),
    /// It is done, but its outcome is lost.
    Lost,
    /// The manager does not live to see more.
    Dies {
        done: bool,
    },
    /// It waits.
    Freezes,
    /// Only a command is hurt.
    ExitsWithFailure,
}

impl Faulty {
    /// Makes the fault begin with operation `at`, counted from 0. Where nothing goes wrong, or the
    /// manager is frozen, streams are no operations.
    pub(crate) fn new(fault: Option<Fault>, at: usize) -> Self {
        let (done, dead) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (frozen, thaw) = (AtomicBool::new(false), Notify::new());
        Self { local: Local::new(), fault, at, done, dead, frozen, thaw }
    }

    pub(crate) fn operations(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Tells whether the manager was killed.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Tells whether the manager was frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Lets the manager go on.
    pub(crate) fn thaw(&self) {
        self.thaw.notify_one();
    }

    async fn die<R>(&self) -> R {
        self.dead.store(true, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
        self.thaw.notified().await;
    }

    fn fate(&self, what: &str, writes: bool) -> Fate {
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        let Some(fault) = self.fault.filter(|_| number >= self.at) else { return Fate::Fine };
        let address = || "node".to_owned();
        match fault {
            Fault::Unreachable => Fate::Fails(TransportError::Unreachable {
                address: address(),
                reason: "no route to host".to_owned(),
            }),
            Fault::Hung => Fate::Fails(TransportError::TimedOut {
                what: what.to_owned(),
                deadline: Duration::from_secs(1),
            }),
            Fault::LoginRefused => Fate::Fails(TransportError::LoginRefused {
                address: address(),
                user: "root".to_owned(),
                tried: Vec::new(),
                takes: Vec::new(),
            }),
            Fault::Cut | Fault::Blinks if number == self.at => Fate::Lost,
            Fault::Cut => Fate::Fails(lost(what)),
            Fault::DiskFull if writes => {
                Fate::Fails(TransportError::DiskFull { path: "/var".to_owned() })
            }
            Fault::CommandFails if number == self.at => Fate::ExitsWithFailure,
            Fault::Frozen if number == self.at => Fate::Freezes,
            Fault::Blinks | Fault::DiskFull | Fault::CommandFails | Fault::Frozen => Fate::Fine,
            Fault::KilledBefore => Fate::Dies { done: false },
            Fault::KilledAfter => Fate::Dies { done: true },
        }
    }

    /// Carries out one of several operations. Returns nothing where its fault takes with it what those
    /// before it came to: over SSH the outcome of a command is heard whole or not at all.
    async fn in_command(
        &self,
        op: &Op,
        is_first: bool,
    ) -> Result<Result<Done, TransportError>, TransportError> {
        let what = op.to_string();
        match self.fate(&what, writes(op)) {
            Fate::Fine => Ok(one(&self.local, op).await),
            Fate::Freezes => {
                self.freeze().await;
                Ok(one(&self.local, op).await)
            }
            Fate::ExitsWithFailure => Ok(match op {
                Op::Run { .. } | Op::Script { .. } => Ok(Done::Ran(failure())),
                Op::Put(_) | Op::Get(_) | Op::List(_) | Op::Remove(_) | Op::Relink { .. } => {
                    one(&self.local, op).await
                }
            }),
            // The node says so itself, and what went before it, too.
            Fate::Fails(error @ TransportError::DiskFull { .. }) => Ok(Err(error)),
            // Who is in the middle of a command was let in, and had reached the node.
            Fate::Fails(
                TransportError::Unreachable { .. } | TransportError::LoginRefused { .. },
            ) if !is_first => Err(lost(&what)),
            Fate::Fails(error) => Err(error),
            Fate::Lost => {
                let _unheard = one(&self.local, op).await;
                Err(lost(&what))
            }
            Fate::Dies { done } => {
                if done {
                    let _unheard = one(&self.local, op).await;
                }
                self.die().await
            }
        }
    }

    async fn through<R>(
        &self,
        what: String,
        writes: bool,
        work: impl Future<Output = Result<R, TransportError>>,
    ) -> Result<R, TransportError> {
        match self.fate(&what, writes) {
            Fate::Fine | Fate::ExitsWithFailure => work.await,
            Fate::Freezes => {
                self.freeze().await;
                work.await
            }
            Fate::Fails(error) => Err(error),
            Fate::Lost => {
                let _unheard = work.await;
                Err(lost(&what))
            }
            Fate::Dies { done } => {
                if done {
                    let _unheard = work.await;
                }
                self.die().await
            }
        }
    }
}

fn lost(what: &str) -> TransportError {
    TransportError::Lost {
        address: "node".to_owned(),
        what: what.to_owned(),
        reason: "the cable is cut".to_owned(),
    }
}

fn failure() -> Output {
    Output {
        status: Status::Exited(1),
        stdout: Vec::new(),
        stderr: b"it does not work".to_vec(),
        duration: Duration::ZERO,
    }
}

/// Tells whether an operation needs room on the disk.
fn writes(op: &Op) -> bool {
    match op {
        Op::Run { argv, .. } | Op::Script { argv } => makes_files(argv),
        Op::Put(_) | Op::Relink { .. } => true,
        Op::Get(_) | Op::List(_) | Op::Remove(_) => false,
    }
}

fn makes_files(argv: &Argv) -> bool {
    let what = argv.to_string();
    what.contains("mv -f") || what.contains("exec mkdir")
}

/// Carries out one operation, with no other one.
async fn one(local: &Local, op: &Op) -> Result<Done, TransportError> {
    local.several(std::slice::from_ref(op)).await.pop().unwrap()
}

impl Transport for Faulty {
    async fn several(&self, work: &[Op]) -> Vec<Result<Done, TransportError>> {
        let mut results = Vec::with_capacity(work.len());
        for op in work {
            let done = match self.in_command(op, results.is_empty()).await {
                Ok(done) => done,
                Err(unheard) => return vec![Err(unheard)],
            };
            let goes_on = match &done {
                Ok(Done::Ran(output)) => output.is_success(),
                Ok(Done::Done(_) | Done::Got(_) | Done::Listed(_)) => true,
                Err(_) => false,
            };
            results.push(done);
            if !goes_on {
                break;
            }
        }
        results
    }

    async fn run(
        &self,
        argv: &Argv,
        stdin: &[u8],
        deadline: Duration,
    ) -> Result<Output, TransportError> {
        let what = argv.to_string();
        match self.fate(&what, makes_files(argv)) {
            Fate::Fine => self.local.run(argv, stdin, deadline).await,
            Fate::Freezes => {
                self.freeze().await;
                self.local.run(argv, stdin, deadline).await
            }
            Fate::ExitsWithFailure => Ok(failure()),
            Fate::Fails(error) => Err(error),
            Fate::Lost => {
                let _unheard = self.local.run(argv, stdin, deadline).await;
                Err(lost(&argv.to_string()))
            }
            Fate::Dies { done } => {
                if done {
                    let _unheard = self.local.run(argv, stdin, deadline).await;
                }
                self.die().await
            }
        }
    }

    async fn put(&self, files: &[Upload]) -> Result<(), TransportError> {
        self.through(format!("put {files:?}"), true, self.local.put(files)).await
    }

    async fn get(&self, path: &Utf8Path) -> Result<Option<Vec<u8>>, TransportError> {
        self.through(format!("get {path}"), false, self.local.get(path)).await
    }

    async fn list(&self, folder: &Utf8Path) -> Result<Option<Vec<Entry>>, TransportError> {
        self.through(format!("list {folder}"), false, self.local.list(folder)).await
    }

    async fn remove(&self, paths: &[Utf8PathBuf]) -> Result<(), TransportError> {
        self.through(format!("remove {paths:?}"), false, self.local.remove(paths)).await
    }

    async fn relink(&self, link: &Utf8Path, target: &Utf8Path) -> Result<(), TransportError> {
        self.through(format!("relink {link}"), true, self.local.relink(link, target)).await
    }

    async fn dial(&self, target: &Target) -> Result<BoxStream, TransportError> {
        if matches!(self.fault, None | Some(Fault::Frozen)) {
            // How often an engine is asked is a matter of luck, and who asks changes nothing.
            return self.local.dial(target).await;
        }
        self.through(format!("dial {target}"), false, self.local.dial(target)).await
    }
}
