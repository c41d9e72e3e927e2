//! One form for every host and path, before anything is decided on them: whoever is let in by one
//! spelling must not get elsewhere by another. What has no safe single form is refused.
//!
//! The query is left as it came; nothing is routed by its spelling.

mod host;
pub(crate) mod path;
mod readings;
mod request_path;

pub(crate) use host::{HostName, RequestHost, host};
pub(crate) use path::{Spellings, decode, path};
pub(crate) use readings::readings;
pub(crate) use request_path::RequestPath;

/// Why a request is refused before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestFault {
    /// HTTP/1.1 requires a Host header.
    #[error("the request has no Host header")]
    NoHost,
    /// More than one Host header.
    #[error("the request has more than one Host header")]
    SeveralHosts,
    /// Host and the authority of the target name different hosts.
    #[error("the Host header differs from the host of the request's address")]
    HostMismatch,
    /// Not a host name, address or port.
    #[error("the host is neither a name nor an address")]
    BadHost,
    /// The path does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A percent sign without two hexadecimal digits.
    #[error("the path has a percent sign without two hexadecimal digits")]
    BadEscape,
    /// `%2f`, which some read as a separator and some do not.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// A backslash, plain or encoded, which some read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A control byte, plain or encoded.
    #[error("the path has a control character")]
    Control,
    /// `%25` followed by two hexadecimal digits, which decodes to another escape.
    #[error("the path is encoded twice")]
    DoubleEncoding,
    /// More than any program undoes.
    #[error("the path is encoded more than three times")]
    ManyEncodings,
    /// A spelling that is allowed, but leads to one route as some programs read it and to another as
    /// others do.
    #[error("the path leads to different routes, depending on who reads it")]
    TwoRoutes,
    /// Escapes that are not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// `..;`, which some servers read as `..`.
    #[error("the path has a dot segment with parameters")]
    DotParameters,
}
