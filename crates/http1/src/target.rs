//! The four forms of a request's target (RFC 9112 §3.2).

use bytes::Bytes;
use http::{
    Method, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::{host::HostPort, octet, reject::Kind};

/// What a request is for.
///
/// A target that was parsed has visible ASCII only, no fragment, no user, and the form its method
/// asks for. One that was made by hand is checked when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path with or without a query; what nearly all requests have.
    Origin(PathAndQuery),
    /// A whole address, as a proxy is sent; always `http` or `https`, with a host.
    Absolute(Uri),
    /// A host with its port; CONNECT only.
    Authority(Authority),
    /// The server itself; OPTIONS only.
    Asterisk,
}

impl Target {
    /// Returns the target in the form in which [`http::Request`] holds it.
    pub fn into_uri(self) -> Uri {
        match self {
            Self::Origin(path) => Uri::from(path),
            Self::Absolute(uri) => uri,
            Self::Authority(authority) => Uri::from(authority),
            Self::Asterisk => Uri::from(PathAndQuery::from_static("*")),
        }
    }

    /// Reads a target, which is part of `head`. A fault is the rule and the place of the byte.
    pub(crate) fn parse(head: &Bytes, text: &[u8], method: &Method) -> Result<Self, (Kind, usize)> {
        if let Some(at) = octet::TARGET.first_outside(text) {
            return Err((Self::fault_of_byte(text, at), at));
        }
        let target = match text {
            [b'*'] if *method == Method::OPTIONS => Ok(Self::Asterisk),
            [b'*'] => Err(Kind::UnexpectedAsterisk),
            _ if *method == Method::CONNECT => parse_authority(head, text),
            [b'/', ..] => return parse_origin(head, text),
            _ => parse_absolute(head, text),
        };
        target.map_err(|kind| (kind, 0))
    }

    /// Says what is wrong with the byte at `place`, which no target has.
    #[cold]
    pub(crate) fn fault_of_byte(text: &[u8], place: usize) -> Kind {
        let byte = text.get(place).copied().unwrap_or_default();
        octet::fault_of(byte, fault_of_visible(byte))
    }

    /// Returns the host that the target itself names, and the port where none is written.
    pub(crate) fn host(&self) -> Option<(HostPort<'_>, Option<u16>)> {
        let (authority, default) = match self {
            Self::Origin(_) | Self::Asterisk => return None,
            Self::Authority(authority) => (authority, authority.port_u16()),
            Self::Absolute(uri) => (uri.authority()?, Some(default_port(uri.scheme())?)),
        };
        let host = HostPort::parse(authority.as_str().as_bytes()).ok()?;
        Some((host, default))
    }
}

fn fault_of_visible(byte: u8) -> Kind {
    match byte {
        b'#' => Kind::Fragment,
        0x80.. => Kind::NonAsciiTarget,
        _ => Kind::BadTargetByte,
    }
}

/// Reads a path and a query. [`http`] takes no backtick in a path and no quote in a query, which
/// browsers encode there and only there.
fn parse_origin(head: &Bytes, text: &[u8]) -> Result<Target, (Kind, usize)> {
    PathAndQuery::from_maybe_shared(head.slice_ref(text)).map(Target::Origin).map_err(|_| {
        let query = memchr::memchr(b'?', text).unwrap_or(text.len());
        let wrong = |(at, byte): (usize, &u8)| match byte {
            b'`' => at < query,
            b'"' => at > query,
            _ => false,
        };
        (Kind::BadTargetByte, text.iter().enumerate().position(wrong).unwrap_or(0))
    })
}

fn parse_authority(head: &Bytes, text: &[u8]) -> Result<Target, Kind> {
    let host = HostPort::parse(text).map_err(|_| Kind::BadConnectTarget)?;
    if !host.has_port() {
        return Err(Kind::BadConnectTarget);
    }
    let authority = Authority::from_maybe_shared(head.slice_ref(text));
    authority.map(Target::Authority).map_err(|_| Kind::BadConnectTarget)
}

fn parse_absolute(head: &Bytes, text: &[u8]) -> Result<Target, Kind> {
    let uri = Uri::from_maybe_shared(head.slice_ref(text)).map_err(|_| Kind::BadTargetForm)?;
    let (Some(_), Some(authority)) = (default_port(uri.scheme()), uri.authority()) else {
        return Err(Kind::BadTargetForm);
    };
    HostPort::parse(authority.as_str().as_bytes())?;
    Ok(Target::Absolute(uri))
}

/// Returns the port of a scheme that is spoken here.
fn default_port(scheme: Option<&Scheme>) -> Option<u16> {
    let scheme = scheme?;
    if *scheme == Scheme::HTTP {
        Some(80)
    } else if *scheme == Scheme::HTTPS {
        Some(443)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, text: &str) -> Result<Target, (Kind, usize)> {
        let head = Bytes::copy_from_slice(text.as_bytes());
        Target::parse(&head, &head, method)
    }

    #[test]
    fn each_form_is_read_for_its_methods() {
        let form =
            |method: Method, text: &str| parse(&method, text).map(|it| it.into_uri().to_string());
        for (method, text) in [
            (Method::GET, "/"),
            (Method::GET, "/{\"a\"}|^[b]\\?c=`d`|{e}^[f]\\"),
            (Method::GET, "//a//b"),
            (Method::GET, "/*"),
            (Method::GET, "http://a.org/x?y"),
            (Method::GET, "https://[::1]:8443/"),
            (Method::OPTIONS, "*"),
            (Method::CONNECT, "a.org:443"),
        ] {
            assert_eq!(form(method, text), Ok(text.to_owned()));
        }
    }

    #[test]
    fn schemes_are_known_in_any_case() {
        assert!(matches!(parse(&Method::GET, "HTTP://a.org/"), Ok(Target::Absolute(_))));
    }

    #[test]
    fn other_targets_are_refused() {
        for (method, text, kind, place) in [
            (Method::GET, "*", Kind::UnexpectedAsterisk, 0),
            (Method::OPTIONS, "**", Kind::BadTargetForm, 0),
            (Method::GET, "a.org:443", Kind::BadTargetForm, 0),
            (Method::GET, "a.org", Kind::BadTargetForm, 0),
            (Method::GET, "?x", Kind::BadTargetForm, 0),
            (Method::GET, "ftp://a.org/", Kind::BadTargetForm, 0),
            (Method::GET, "http:/a.org", Kind::BadTargetForm, 0),
            (Method::GET, "http://", Kind::BadTargetForm, 0),
            (Method::GET, "http:///x", Kind::BadTargetForm, 0),
            (Method::GET, "http://u@a.org/", Kind::BadHost, 0),
            (Method::GET, "http://a.org:x/", Kind::BadHost, 0),
            (Method::GET, "/a#b", Kind::Fragment, 2),
            (Method::GET, "/a<b", Kind::BadTargetByte, 2),
            (Method::GET, "/a`b", Kind::BadTargetByte, 2),
            (Method::GET, "/\"a`?\"", Kind::BadTargetByte, 3),
            (Method::GET, "/\"a\"?b\"", Kind::BadTargetByte, 6),
            (Method::GET, "/\u{e4}", Kind::NonAsciiTarget, 1),
            (Method::GET, "/a\tb", Kind::Control, 2),
            (Method::CONNECT, "a.org", Kind::BadConnectTarget, 0),
            (Method::CONNECT, "/", Kind::BadConnectTarget, 0),
            (Method::CONNECT, "http://a.org:443/", Kind::BadConnectTarget, 0),
            (Method::CONNECT, "u@a.org:443", Kind::BadConnectTarget, 0),
            (Method::CONNECT, "a.org:0", Kind::BadConnectTarget, 0),
        ] {
            assert_eq!(parse(&method, text), Err((kind, place)), "{method} {text}");
        }
    }
}
