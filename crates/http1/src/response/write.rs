//! Writes heads of responses.

use bytes::{BufMut, BytesMut};
use http::{StatusCode, header};

use super::{AnswerKind, Asked, ResponseHead};
use crate::{
    meaning::{Framing, Version},
    write::{self, Options, Part, WriteError},
};

/// Writes a head at the end of `out`, as the answer to what was `asked`; on an error, nothing.
///
/// Connection, Content-Length and Transfer-Encoding are written from the typed fields, and
/// Keep-Alive and Proxy-Connection not at all, whatever `headers` hold. Upgrade is written only
/// with 101 and 426, where it belongs. Date is the caller's to add.
pub fn write(head: &ResponseHead, asked: &Asked, out: &mut BytesMut) -> Result<(), WriteError> {
    let kind = asked.kind_of(head.status);
    check(head, kind, asked)?;
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut text = write::room(&head.headers, reason.len());
    text.put_slice(head.version.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(head.status.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(reason.as_bytes());
    text.put_slice(b"\r\n");
    write_fields(head, kind, &mut text);
    text.put_slice(b"\r\n");
    out.extend_from_slice(&text);
    Ok(())
}

fn write_fields(head: &ResponseHead, kind: AnswerKind, out: &mut Vec<u8>) {
    let persistent = head.persistent && head.framing != Framing::UntilClose;
    let mut options = match kind {
        // Neither speaks of the connection's end.
        AnswerKind::Interim | AnswerKind::Tunnel => Options::default(),
        AnswerKind::Empty | AnswerKind::HeadOnly | AnswerKind::Whole => {
            Options::new(head.version, persistent)
        }
    };
    let names_protocol = names_protocol(head.status);
    for (name, value) in &head.headers {
        match write::part(name) {
            Part::Free | Part::Host | Part::Te => {}
            Part::Upgrade if names_protocol => options.upgrade = true,
            Part::Upgrade | Part::Owned => continue,
        }
        write::field(out, name.as_str(), value.as_bytes());
    }
    options.write(out);
    match (kind, head.content_length) {
        (AnswerKind::HeadOnly, Some(length)) => write::framing(out, Framing::Length(length)),
        _ => write::framing(out, head.framing),
    }
}

/// Whether answers of this status name protocols in Upgrade.
fn names_protocol(status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::UPGRADE_REQUIRED
}

/// Refuses what would not be read back as what it is.
fn check(head: &ResponseHead, kind: AnswerKind, asked: &Asked) -> Result<(), WriteError> {
    if head.status.as_u16() > 599 {
        return Err(WriteError::Status);
    }
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let can_switch = asked.upgrade
        && head.version == Version::Http11
        && head.headers.contains_key(header::UPGRADE);
    if switches && !can_switch {
        return Err(WriteError::Upgrade);
    }
    match (kind, head.framing) {
        (AnswerKind::Whole, Framing::None) => Err(WriteError::BodyMissing),
        (AnswerKind::Whole, Framing::Chunked) if head.version == Version::Http10 => {
            Err(WriteError::ChunkedInHttp10)
        }
        (AnswerKind::Whole, _) | (_, Framing::None) => Ok(()),
        (_, Framing::Length(_) | Framing::Chunked | Framing::UntilClose) => {
            Err(WriteError::BodyForbidden)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    fn head(status: u16, framing: Framing) -> ResponseHead {
        let mut headers = HeaderMap::new();
        headers.insert(header::SERVER, HeaderValue::from_static("x"));
        ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            version: Version::Http11,
            headers,
            framing,
            content_length: None,
            persistent: true,
        }
    }

    fn text(head: &ResponseHead, asked: &Asked) -> Result<String, WriteError> {
        let mut out = BytesMut::new();
        let result = write(head, asked, &mut out);
        assert!(result.is_ok() || out.is_empty());
        result.map(|()| String::from_utf8(out.to_vec()).unwrap())
    }

    fn to(method: Method) -> Asked {
        Asked::plain(method)
    }

    #[test]
    fn framing_and_connection_come_from_the_typed_fields_alone() {
        let mut head = head(200, Framing::Length(3));
        for (name, value) in [
            ("connection", "close"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
        ] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        let expected = "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 3\r\n\r\n";
        assert_eq!(text(&head, &to(Method::GET)).as_deref(), Ok(expected));
    }

    #[test]
    fn an_answer_that_ends_with_its_connection_says_so() {
        let text = text(&head(200, Framing::UntilClose), &to(Method::GET)).unwrap();
        assert_eq!(text, "HTTP/1.1 200 OK\r\nserver: x\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn an_answer_to_head_tells_the_length_without_a_body() {
        let mut head = head(200, Framing::None);
        head.content_length = Some(12);
        let text = text(&head, &to(Method::HEAD)).unwrap();
        assert_eq!(text, "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 12\r\n\r\n");
    }

    #[test]
    fn a_body_stands_where_one_can_and_only_there() {
        let result = |status, framing, method| text(&head(status, framing), &to(method)).map(drop);
        for framing in [Framing::Length(0), Framing::Chunked, Framing::UntilClose] {
            assert_eq!(result(200, framing, Method::GET), Ok(()));
            for (status, method) in [
                (200, Method::HEAD),
                (200, Method::CONNECT),
                (103, Method::GET),
                (204, Method::GET),
                (304, Method::GET),
            ] {
                assert_eq!(result(status, framing, method.clone()), Err(WriteError::BodyForbidden));
                assert_eq!(result(status, Framing::None, method), Ok(()));
            }
        }
        assert_eq!(result(200, Framing::None, Method::GET), Err(WriteError::BodyMissing));
    }

    #[test]
    fn http_1_0_gets_no_chunks() {
        let mut head = head(200, Framing::Chunked);
        head.version = Version::Http10;
        assert_eq!(text(&head, &to(Method::GET)), Err(WriteError::ChunkedInHttp10));
    }

    #[test]
    fn protocols_are_switched_only_when_offered_and_named() {
        let offered = Asked { method: Method::GET, upgrade: true };
        let mut head = head(101, Framing::None);
        assert_eq!(text(&head, &offered), Err(WriteError::Upgrade));
        head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert_eq!(text(&head, &to(Method::GET)), Err(WriteError::Upgrade));
        let expected = "HTTP/1.1 101 Switching Protocols\r\nserver: x\r\n\
                        upgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        assert_eq!(text(&head, &offered).as_deref(), Ok(expected));
    }

    #[test]
    fn a_status_that_would_be_refused_is_not_written() {
        let head = head(600, Framing::Length(0));
        assert_eq!(text(&head, &to(Method::GET)), Err(WriteError::Status));
    }
}
