//! Static files: found below their root and nowhere else, with the conditions and ranges of RFC
//! 9110, compressed forms that lie beside them, listings of folders, and the fallback of applications.
//! Whether something is missing, hidden or forbidden cannot be told from outside.
//!
//! What lies in memory is answered by the worker itself: small files from its [`Shelf`], others from
//! the system's caches. Only what a disk or a network has to be waited for goes to the threads that
//! may block.

mod answer;
pub(crate) mod conditions;
mod find;
mod known;
mod listing;
mod media;
pub(crate) mod ranges;
mod shelf;
mod wanted;

use std::{io, sync::Arc};

use camino::Utf8PathBuf;
use http::{Method, Response, request::Parts};
use portway_model::site::FileRoot;
use tokio::task::spawn_blocking;

pub(crate) use self::{conditions::Part, ranges::parse as ranges, shelf::Shelf};
use self::{
    find::Halt,
    shelf::Noted,
    wanted::{Found, Wanted},
};
use crate::{body::Body, pages::Fault};

/// Files up to this size are read in one go.
const SMALL: u64 = 64 * 1024;

/// Why there is no file to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileFault {
    /// Nothing that may be seen is there.
    #[error("there is no such file")]
    NotFound,
    /// Files are only read.
    #[error("files answer GET and HEAD only")]
    Method,
    /// The root itself cannot be opened; the operator must act.
    #[error("cannot open the folder {path}")]
    Root {
        /// The root.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The machine fails.
    #[error("cannot read a file below {root}")]
    Read {
        /// The root.
        root: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Answers a request from the files below a root. `rest` is the decoded path below the route's
/// prefix, `public_path` the path as the client sees it.
pub(crate) async fn serve(
    shelf: &Shelf,
    root: &Arc<FileRoot>,
    rest: &str,
    public_path: &str,
    parts: &Parts,
) -> Result<Response<Body>, FileFault> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(FileFault::Method);
    }
    let path = find::relative(rest).ok_or(FileFault::NotFound)?;
    let wanted = Wanted::of(root, path, public_path, parts);
    let found = match wanted.find(&mut shelf.at(root)) {
        Ok(found) => found,
        Err(Halt::Fault(fault)) => return Err(fault),
        Err(Halt::WouldWait) => find_elsewhere(shelf, &wanted).await?,
    };
    match found {
        Found::Nothing => Err(FileFault::NotFound),
        Found::Folder => Ok(answer::to_folder(public_path, parts.uri.query())),
        Found::Listing => list(wanted, public_path, parts).await,
        Found::File(choice) => Ok(answer::of(*choice, root, parts)),
    }
}

impl FileFault {
    /// Returns what visitors are told.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NotFound | Self::Root { .. } => Fault::NoFile,
            Self::Method => Fault::MethodNotAllowed { allow: "GET, HEAD" },
            Self::Read { .. } => Fault::Internal,
        }
    }
}

/// Finds on a thread that may wait, and lets the shelf know.
async fn find_elsewhere(shelf: &Shelf, wanted: &Wanted) -> Result<Found, FileFault> {
    let elsewhere = wanted.clone();
    let finding = spawn_blocking(move || {
        let mut disk = Noted::waiting(elsewhere.root());
        (elsewhere.find(&mut disk), disk.into_notes())
    });
    let (found, notes) = finding.await.map_err(|error| unread(wanted, io::Error::other(error)))?;
    shelf.take_notes(wanted.root(), notes);
    found.map_err(|halt| match halt {
        Halt::Fault(fault) => fault,
        Halt::WouldWait => unread(wanted, io::ErrorKind::WouldBlock.into()),
    })
}

async fn list(
    wanted: Wanted,
    public_path: &str,
    parts: &Parts,
) -> Result<Response<Body>, FileFault> {
    let path = crate::canonical::decode(public_path).map_err(|_| FileFault::NotFound)?.into_owned();
    let query = parts.uri.query().map(str::to_owned);
    let (view, root) = (wanted.view(), wanted.root().root.clone());
    let listing = spawn_blocking(move || {
        let listing = listing::read(wanted.root(), wanted.path(), path, query.as_deref())?;
        Ok(listing.render(view))
    });
    let failed = |error| FileFault::Read { root, source: io::Error::other(error) };
    listing.await.map_err(failed)?.map(listing::answer)
}

fn unread(wanted: &Wanted, source: io::Error) -> FileFault {
    FileFault::Read { root: wanted.root().root.clone(), source }
}

#[cfg(test)]
mod tests;
