//! What can go wrong between a client and its manager.

use std::{io, path::PathBuf};

use http::StatusCode;

use crate::Problem;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("cannot reach the manager at {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manager took the request and did not answer in time.
    #[error("the manager at {endpoint} did not answer within {seconds} s")]
    Slow {
        /// Where.
        endpoint: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The connection broke before the answer, or what answered does not speak HTTP.
    #[error("the connection to {endpoint} broke before the answer")]
    Broken {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The connection broke within the answer.
    #[error("the connection broke in the middle of the answer")]
    Interrupted {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The manager says no, and why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// An answer that Portway does not give.
    #[error("what answers is not Portway's API (status {status}): {text}")]
    NotPortway {
        /// The status.
        status: u16,
        /// The beginning of the body.
        text: String,
    },
    /// An answer that this version cannot read.
    #[error("the answer to {path} cannot be read; manager and client may differ in version")]
    Decode {
        /// What was asked for.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An answer that should be text and is not.
    #[error("the answer to {path} is not text")]
    NotText {
        /// What was asked for.
        path: String,
    },
    /// An answer beyond every measure.
    #[error("the answer is longer than 512 MiB")]
    TooLong,
    /// An address that is no address of a manager.
    #[error("`{url}` is not the address of a manager; write https://HOST or https://HOST:PORT")]
    Url {
        /// As it was written.
        url: String,
    },
    /// A token would travel in clear text.
    #[error("{url} is not encrypted; beyond this machine only https:// is used")]
    Insecure {
        /// As it was written.
        url: String,
    },
    /// The path of a socket that the system cannot hold.
    #[error("{path} is too long for a socket; the system allows 107 bytes", path = path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
    },
    /// Authorities that cannot be read.
    #[error("the certificate authorities cannot be read: {reason}")]
    Authorities {
        /// Why.
        reason: String,
    },
    /// A path that is no path.
    #[error("`{path}` is not a path of the API")]
    Path {
        /// The path.
        path: String,
    },
    /// A value that cannot stand in a header.
    #[error("a value for the header {name} has characters that cannot stand there")]
    Header {
        /// The header.
        name: &'static str,
    },
    /// Something that cannot be written as JSON.
    #[error("the request to {path} cannot be written")]
    Encode {
        /// Where it was to be sent.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Returns the problem, when the manager gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::Broken { .. }
            | Self::Interrupted { .. }
            | Self::NotPortway { .. }
            | Self::Decode { .. }
            | Self::NotText { .. }
            | Self::TooLong
            | Self::Url { .. }
            | Self::Insecure { .. }
            | Self::SocketPath { .. }
            | Self::Authorities { .. }
            | Self::Path { .. }
            | Self::Header { .. }
            | Self::Encode { .. } => None,
        }
    }
}

/// Reads an answer that is not a success.
pub(super) fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => ClientError::NotPortway { status: status.as_u16(), text: beginning(body) },
    }
}

fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
