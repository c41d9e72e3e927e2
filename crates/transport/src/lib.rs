//! Commands and files on a node: words in, output out, wherever the node is.
//!
//! [`Transport`] is what the rest of Portway knows of a machine. [`Local`] is the machine on which
//! the manager runs; no shell is involved there. SSH knows only lines for a shell, so there is one
//! place that quotes (`quote`).
//!
//! Three promises hold for every implementation, and one suite of tests proves them for each:
//!
//! * What a command is given is what it gets: its words, its standard input, byte for byte.
//! * A file is never seen half. Its path shows what was there before or all of what was sent.
//! * Nothing is left without an owner. Every command carries its deadline to the node itself
//!   ([`Argv::bounded`]), which ends it there though link or manager are gone. A caller that stops
//!   waiting stops no command.
//!
//! This crate knows nothing of engines, releases or deployments, and repeats nothing by itself:
//! whether a step may be done twice, only its caller knows.

mod argv;
mod dial;
mod error;
mod file;
mod host_key;
mod local;
mod output;
mod quote;
mod said;
mod several;
mod ssh;

use std::{future::Future, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};

pub use crate::{
    argv::{Argv, ArgvError, Privilege},
    dial::{BoxStream, Stream, Target},
    error::{SudoRefusal, TransportError},
    file::{Content, Entry, Mode, Upload},
    host_key::HostKey,
    local::Local,
    output::{Output, Status},
    several::{Done, Op},
    ssh::{Credential, Hop, KeyError, PrivateKey, Ssh, Timing},
};

/// The folders in which programs are looked for. Fixed, for what a login finds depends on its files.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A machine on which commands are run and files are written.
///
/// All of it may be used at once from many tasks. Files are touched with the rights of the one who
/// logs in.
pub trait Transport: Send + Sync {
    /// Runs a command and waits for its end. It is given `stdin`, and then the end of input; its
    /// environment is `LC_ALL=C`, a fixed `PATH`, and what the login brings.
    ///
    /// After `deadline`, rounded up to seconds, the node ends it; five seconds later it kills it.
    fn run(
        &self,
        argv: &Argv,
        stdin: &[u8],
        deadline: Duration,
    ) -> impl Future<Output = Result<Output, TransportError>> + Send;

    /// Writes files, folder by folder. All files of a folder are on disk before the first of them
    /// takes its place; if one of them cannot be written, none of that folder appears.
    fn put(&self, files: &[Upload]) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Returns the content of a file, or nothing if there is none.
    fn get(
        &self,
        path: &Utf8Path,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>> + Send;

    /// Returns what stands in a folder, by name, with the digests of its files as they are read
    /// there; nothing if there is no such folder. A name with control characters or backslashes is
    /// an error.
    fn list(
        &self,
        folder: &Utf8Path,
    ) -> impl Future<Output = Result<Option<Vec<Entry>>, TransportError>> + Send;

    /// Removes files and links; those that are not there are no error. Folders are.
    fn remove(
        &self,
        paths: &[Utf8PathBuf],
    ) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Makes a symbolic link name something, in one step: it names the old target or the new one.
    /// What stood at its place, link or file, is replaced.
    fn relink(
        &self,
        link: &Utf8Path,
        target: &Utf8Path,
    ) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Carries out several operations in this order, in as few round trips as it can. One that fails, a
    /// command that fails included, is the last that is done and told of.
    ///
    /// Where nobody hears of the end, or one prints more than is taken, any number of them may have been
    /// done.
    fn several(
        &self,
        work: &[Op],
    ) -> impl Future<Output = Vec<Result<Done, TransportError>>> + Send {
        several::one_by_one(self, work)
    }

    /// Opens a stream to what listens on the node.
    fn dial(
        &self,
        target: &Target,
    ) -> impl Future<Output = Result<BoxStream, TransportError>> + Send;
}
