//! Writes heads of requests.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};

use super::RequestHead;
use crate::{
    host::HostPort,
    meaning::{Framing, Version},
    octet,
    target::Target,
    write::{self, Options, Part, WriteError},
};

/// Writes a head at the end of `out`; on an error, nothing.
///
/// Host comes first. Connection, Content-Length, Transfer-Encoding, Expect and Upgrade are written
/// from the typed fields, and Keep-Alive and Proxy-Connection not at all, whatever `headers` hold.
/// Where TE stands among them, Connection names it, as RFC 9110 §10.1.4 asks for.
pub fn write(head: &RequestHead, out: &mut BytesMut) -> Result<(), WriteError> {
    let host = check(head)?;
    let target = target_text(&head.target, &head.method)?;
    let mut text = write::room(&head.headers, head.method.as_str().len() + target.len());
    text.put_slice(head.method.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(target.as_bytes());
    text.put_u8(b' ');
    text.put_slice(head.version.as_str().as_bytes());
    text.put_slice(b"\r\n");
    if let Some(host) = host {
        write::field(&mut text, "host", host.as_bytes());
    }
    write_fields(head, &mut text);
    text.put_slice(b"\r\n");
    out.extend_from_slice(&text);
    Ok(())
}

fn write_fields(head: &RequestHead, out: &mut Vec<u8>) {
    let mut options = Options::new(head.version, head.persistent);
    options.upgrade = head.upgrade;
    for (name, value) in &head.headers {
        match write::part(name) {
            Part::Free => {}
            Part::Te => options.te = true,
            Part::Upgrade if head.upgrade => {}
            Part::Host | Part::Owned | Part::Upgrade => continue,
        }
        write::field(out, name.as_str(), value.as_bytes());
    }
    if head.expect_continue {
        write::field(out, "expect", b"100-continue");
    }
    options.write(out);
    write::framing(out, head.framing);
}

/// Refuses what would not be read back as what it is, and returns the host.
fn check(head: &RequestHead) -> Result<Option<&HeaderValue>, WriteError> {
    match (head.framing, head.version) {
        (Framing::UntilClose, _) => return Err(WriteError::RequestUntilClose),
        (Framing::Chunked, Version::Http10) => return Err(WriteError::ChunkedInHttp10),
        (Framing::Chunked | Framing::Length(1..), Version::Http11 | Version::Http10)
            if head.method == Method::CONNECT =>
        {
            return Err(WriteError::BodyForbidden);
        }
        (Framing::None | Framing::Length(_) | Framing::Chunked, _) => {}
    }
    let names_protocol = head.headers.contains_key(header::UPGRADE);
    if head.upgrade && (head.version == Version::Http10 || !names_protocol) {
        return Err(WriteError::Upgrade);
    }
    check_host(&head.headers, head)
}

fn check_host<'a>(
    headers: &'a HeaderMap,
    head: &RequestHead,
) -> Result<Option<&'a HeaderValue>, WriteError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(value), None) = (hosts.next(), hosts.next()) else {
        let may_lack = head.version == Version::Http10 && !headers.contains_key(header::HOST);
        return if may_lack { Ok(None) } else { Err(WriteError::Host) };
    };
    let host = HostPort::parse(value.as_bytes()).map_err(|_| WriteError::Host)?;
    match head.target.host() {
        Some((own, default)) if !own.agrees(host, default) => Err(WriteError::Host),
        Some(_) | None => Ok(Some(value)),
    }
}

/// Returns a target as it is written. A target may have been made by hand, so it is checked again.
fn target_text<'a>(target: &'a Target, method: &Method) -> Result<Cow<'a, str>, WriteError> {
    let is_connect = *method == Method::CONNECT;
    let (text, fits) = match target {
        Target::Origin(path) => {
            (Cow::Borrowed(path.as_str()), !is_connect && path.as_str().starts_with('/'))
        }
        Target::Absolute(uri) => {
            (Cow::Owned(uri.to_string()), !is_connect && target.host().is_some())
        }
        Target::Authority(authority) => {
            let is_host = target.host().is_some_and(|(host, _)| host.has_port());
            (Cow::Borrowed(authority.as_str()), is_connect && is_host)
        }
        Target::Asterisk => (Cow::Borrowed("*"), *method == Method::OPTIONS),
    };
    let is_written = fits && octet::TARGET.is_word(text.as_bytes());
    if is_written { Ok(text) } else { Err(WriteError::Target) }
}

#[cfg(test)]
mod tests {
    use http::{
        Uri,
        uri::{Authority, PathAndQuery},
    };

    use super::*;

    fn head(method: Method, target: Target) -> RequestHead {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::HOST, HeaderValue::from_static("a.org"));
        RequestHead {
            method,
            target,
            version: Version::Http11,
            headers,
            framing: Framing::None,
            persistent: true,
            expect_continue: false,
            upgrade: false,
        }
    }

    fn get() -> RequestHead {
        head(Method::GET, Target::Origin(PathAndQuery::from_static("/a?b")))
    }

    fn text(head: &RequestHead) -> Result<String, WriteError> {
        let mut out = BytesMut::new();
        let result = write(head, &mut out);
        assert!(result.is_ok() || out.is_empty());
        result.map(|()| String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn host_comes_first_and_the_rest_in_order() {
        let expected = "GET /a?b HTTP/1.1\r\nhost: a.org\r\naccept: */*\r\n\r\n";
        assert_eq!(text(&get()).as_deref(), Ok(expected));
    }

    #[test]
    fn framing_and_connection_come_from_the_typed_fields_alone() {
        let mut head = get();
        for (name, value) in [
            ("connection", "x-secret, close"),
            ("content-length", "7"),
            ("transfer-encoding", "gzip"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("upgrade", "h2c"),
            ("expect", "200-ok"),
            ("te", "trailers"),
        ] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        head.framing = Framing::Length(5);
        head.expect_continue = true;
        let expected = "GET /a?b HTTP/1.1\r\nhost: a.org\r\naccept: */*\r\nte: trailers\r\n\
                        expect: 100-continue\r\nconnection: te\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(text(&head).as_deref(), Ok(expected));
    }

    #[test]
    fn an_upgrade_is_offered_with_its_protocol() {
        let mut head = get();
        head.upgrade = true;
        assert_eq!(text(&head), Err(WriteError::Upgrade));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert!(
            text(&head).unwrap().ends_with("upgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        );
        head.version = Version::Http10;
        assert_eq!(text(&head), Err(WriteError::Upgrade));
    }

    #[test]
    fn a_request_without_one_good_host_is_not_written() {
        let mut none = get();
        none.headers.remove(header::HOST);
        assert_eq!(text(&none), Err(WriteError::Host));
        none.version = Version::Http10;
        assert!(text(&none).is_ok());
        let mut two = get();
        two.headers.append(header::HOST, HeaderValue::from_static("a.org"));
        assert_eq!(text(&two), Err(WriteError::Host));
        let mut bad = get();
        bad.headers.insert(header::HOST, HeaderValue::from_static("a b"));
        assert_eq!(text(&bad), Err(WriteError::Host));
        let uri = Uri::from_static("http://b.org/");
        assert_eq!(text(&head(Method::GET, Target::Absolute(uri))), Err(WriteError::Host));
    }

    #[test]
    fn a_target_that_would_not_be_read_back_is_not_written() {
        let origin = |text: &str| Target::Origin(PathAndQuery::try_from(text).unwrap());
        for (method, target) in [
            (Method::GET, origin("/\u{e4}")),
            (Method::GET, origin("?x")),
            (Method::GET, Target::Asterisk),
            (Method::CONNECT, origin("/")),
            (Method::GET, Target::Authority(Authority::from_static("a.org:80"))),
            (Method::CONNECT, Target::Authority(Authority::from_static("a.org"))),
            (Method::GET, Target::Absolute(Uri::from_static("ftp://a.org/"))),
            (Method::GET, Target::Absolute(Uri::from_static("http://u@a.org/"))),
        ] {
            assert_eq!(text(&head(method, target.clone())), Err(WriteError::Target), "{target:?}");
        }
    }

    #[test]
    fn a_framing_that_a_request_cannot_have_is_not_written() {
        let mut head = get();
        head.framing = Framing::UntilClose;
        assert_eq!(text(&head), Err(WriteError::RequestUntilClose));
        head.framing = Framing::Chunked;
        head.version = Version::Http10;
        assert_eq!(text(&head), Err(WriteError::ChunkedInHttp10));
        let authority = Target::Authority(Authority::from_static("a.org:80"));
        let connect =
            RequestHead { framing: Framing::Length(1), ..self::head(Method::CONNECT, authority) };
        assert_eq!(text(&connect), Err(WriteError::BodyForbidden));
    }
}
