//! Static files: found below their root and nowhere else, with the conditions and ranges of RFC
//! 9110, streamed without ever holding more than a chunk. Nothing is cached, so an edit shows at
//! once. Whether something is missing, hidden or forbidden cannot be told from outside.

mod answer;
mod conditions;
mod find;
mod ranges;

use std::io;

use camino::Utf8PathBuf;
use http::{Method, Response, request::Parts};
use portway_model::site::FileRoot;

use self::{
    conditions::Conditions,
    find::{Found, find},
};
use crate::{
    body::{self, Body},
    pages::Fault,
};

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
    root: &FileRoot,
    rest: &str,
    public_path: &str,
    parts: &Parts,
) -> Result<Response<Body>, FileFault> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(FileFault::Method);
    }
    let conditions = Conditions::of(parts);
    let wanted = Wanted {
        root: root.clone(),
        rest: rest.to_owned(),
        as_folder: public_path.ends_with('/'),
        conditions,
    };
    let failed = |source| FileFault::Read { root: root.root.clone(), source };
    let looked = tokio::task::spawn_blocking(move || wanted.look());
    match looked.await.map_err(|error| failed(io::Error::other(error)))?? {
        Looked::Folder => Ok(answer::to_folder(public_path, parts.uri.query())),
        Looked::File(file) => Ok(answer::of(*file, root, parts)),
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

/// What a request wants, apart from its connection: opening and reading blocks.
struct Wanted {
    root: FileRoot,
    rest: String,
    as_folder: bool,
    conditions: Conditions,
}

/// What was found.
enum Looked {
    /// A folder with an index, asked for without its slash.
    Folder,
    File(Box<Selected>),
}

/// A file and what of it is to be sent.
struct Selected {
    file: find::OpenFile,
    tag: String,
    part: conditions::Part,
    /// All of the file, when it is small and wholly wanted.
    content: Option<bytes::Bytes>,
}

/// A file that is replaced while it is read is looked at afresh, this often.
const TRIES: usize = 3;

impl Wanted {
    fn look(&self) -> Result<Looked, FileFault> {
        let mut last = io::ErrorKind::UnexpectedEof.into();
        for _ in 0..TRIES {
            let file = match find(&self.root, &self.rest, self.as_folder)? {
                Found::Folder => return Ok(Looked::Folder),
                Found::File(file) => file,
            };
            match self.select(file) {
                Ok(selected) => return Ok(Looked::File(Box::new(selected))),
                Err(error) => last = error,
            }
        }
        Err(FileFault::Read { root: self.root.root.clone(), source: last })
    }

    fn select(&self, file: find::OpenFile) -> io::Result<Selected> {
        let tag = conditions::tag(&file);
        let part = self.conditions.judge(&tag, file.modified, file.length);
        let whole = matches!(part, conditions::Part::Whole);
        let content = if whole && self.conditions.wants_body() && file.length <= SMALL {
            Some(body::read(&file.file, 0, file.length)?)
        } else {
            None
        };
        Ok(Selected { file, tag, part, content })
    }
}

#[cfg(test)]
mod tests;
