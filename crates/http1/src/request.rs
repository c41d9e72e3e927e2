//! Heads of requests: their typed form, read from bytes and written to them.

mod line;
mod write;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method};

pub use crate::request::write::write;
use crate::{
    Limits,
    fields::{self, Field},
    host::HostPort,
    meaning::{Framing, Meaning, Version},
    names::Role,
    reject::{Kind, Reject},
    scan::{Line, Scanner, Section},
    spare,
    target::Target,
};

/// The head of a request.
///
/// `headers` are all that were sent, for routing, rules and logs. What they say of framing and
/// connection is in the other fields, and only those count when the head is written.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// What the request is for.
    pub target: Target,
    /// The version.
    pub version: Version,
    /// The headers, as they were sent.
    pub headers: HeaderMap,
    /// How the body is framed; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client lets the connection carry another request after this one.
    pub persistent: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body. False when there is no
    /// body to wait for.
    pub expect_continue: bool,
    /// Whether the client offers another protocol, named in `headers` under Upgrade. False when the
    /// request has a body, as the offer may be ignored (RFC 9110 §7.8) and bytes of a body have been
    /// mistaken for the other protocol before.
    pub upgrade: bool,
}

/// Reads heads of requests, one after the other, from one connection.
#[derive(Debug, Default)]
pub struct Parser {
    scanner: Scanner,
    /// Bytes of an empty line in front of the request that was passed over.
    skipped: u64,
    refused: Option<Reject>,
}

impl Parser {
    /// Returns a parser at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next head from the front of `input`; `None` if it is not complete yet.
    ///
    /// Until it is, `input` may only grow. A complete head is taken out of `input`, and whatever
    /// follows it (its body, the next request) is left there. After a refusal the connection can
    /// only be answered and closed; every further call refuses again.
    ///
    /// One empty line in front of the request is passed over, as RFC 9112 §2.2 asks for; a second
    /// one is refused.
    pub fn parse(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<RequestHead>, Reject> {
        if let Some(reject) = self.refused {
            return Err(reject);
        }
        self.skip_empty_line(input);
        let parsed = self.parse_head(input, limits).map_err(|reject| reject.after(self.skipped));
        match &parsed {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.scanner.clear();
                self.skipped = 0;
            }
            Err(reject) => self.refused = Some(*reject),
        }
        parsed
    }

    fn skip_empty_line(&mut self, input: &mut BytesMut) {
        if self.skipped == 0 && input.starts_with(b"\r\n") {
            input.advance(2);
            self.scanner.clear();
            self.skipped = 2;
        }
    }

    fn parse_head(
        &mut self,
        input: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<RequestHead>, Reject> {
        let section =
            Section { max: limits.head, too_large: Kind::HeadTooLarge, may_be_empty: false };
        let end = match self.scanner.scan(input, section) {
            Ok(Some(end)) => end,
            Ok(None) => return line::judge_unfinished(input, limits).map(|()| None),
            Err(reject) => return Err(self.first_fault(input, limits).unwrap_or(reject)),
        };
        let head = input.split_to(end).freeze();
        let headers = spare::take();
        self.read_lines(&head, headers, limits)?.finish(end)
    }

    /// Returns the first fault in reading order of a head that has a fault, so that it is the same
    /// one however the bytes came.
    #[cold]
    fn first_fault(&self, input: &[u8], limits: &Limits) -> Option<Reject> {
        let complete = Bytes::copy_from_slice(input.get(..self.scanner.complete())?);
        if complete.is_empty() {
            let most = input.get(..limits.head).unwrap_or(input);
            return line::judge_unfinished(most, limits).err();
        }
        self.read_lines(&complete, HeaderMap::new(), limits).err()
    }

    #[inline]
    fn read_lines(
        &self,
        head: &Bytes,
        mut headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Draft, Reject> {
        let mut lines = self.scanner.lines(head);
        let first = lines.next().unwrap_or(Line { start: 0, text: &[] });
        let (method, target, version) = line::parse(head, first, limits)?;
        headers.reserve(self.scanner.count() + fields::MORE);
        let mut draft = Draft { method, target, headers, meaning: Meaning::new(version) };
        for (count, line) in lines.enumerate() {
            if count == limits.fields {
                return Err(line.reject(Kind::TooManyFields, 0));
            }
            let field = fields::parse(head, line)?;
            draft.add(field, line)?;
        }
        Ok(draft)
    }
}

/// A head whose lines are being read.
struct Draft {
    method: Method,
    target: Target,
    headers: HeaderMap,
    meaning: Meaning,
}

impl Draft {
    #[inline]
    fn add(&mut self, field: Field, line: Line<'_>) -> Result<(), Reject> {
        let Field { name, value, role, value_at } = field;
        if !matches!(role, Role::Plain | Role::HeaderOnly) {
            self.note(role, value.as_bytes()).map_err(|kind| line.reject(kind, value_at))?;
        }
        fields::append(&mut self.headers, name, value)
            .map_err(|_| line.reject(Kind::TooManyFields, 0))
    }

    fn note(&mut self, role: Role, value: &[u8]) -> Result<(), Kind> {
        match role {
            Role::Host => self.note_host(value),
            Role::Expect => self.meaning.note_expect(value),
            Role::Plain
            | Role::HeaderOnly
            | Role::Connection
            | Role::ContentLength
            | Role::TransferEncoding
            | Role::Upgrade => self.meaning.note(role, value),
        }
    }

    fn note_host(&mut self, value: &[u8]) -> Result<(), Kind> {
        if self.meaning.host {
            return Err(Kind::SeveralHosts);
        }
        self.meaning.host = true;
        let host = HostPort::parse(value)?;
        match self.target.host() {
            Some((own, default)) if !own.agrees(host, default) => Err(Kind::HostMismatch),
            Some(_) | None => Ok(()),
        }
    }

    /// Concludes what the whole head says; `end` is its length.
    #[inline]
    fn finish(self, end: usize) -> Result<Option<RequestHead>, Reject> {
        let Self { method, target, headers, meaning } = self;
        if meaning.version == Version::Http11 && !meaning.host {
            return Err(Reject::new(Kind::MissingHost, end));
        }
        let framing = match (meaning.chunked, meaning.length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::None,
        };
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        if has_body && method == Method::CONNECT {
            // What follows would be taken for a body by some and for the tunnel's bytes by others.
            return Err(Reject::new(Kind::BodyOfConnect, 0));
        }
        let knows_interim = meaning.version == Version::Http11;
        Ok(Some(RequestHead {
            method,
            target,
            version: meaning.version,
            headers,
            framing,
            persistent: meaning.persistent(),
            expect_continue: meaning.continues && has_body && knows_interim,
            upgrade: meaning.upgrades() && !has_body,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parser: &mut Parser, input: &mut BytesMut) -> Result<Option<RequestHead>, Reject> {
        parser.parse(input, &Limits::default())
    }

    #[test]
    fn requests_are_read_one_after_the_other() {
        let mut parser = Parser::new();
        let mut input = BytesMut::from(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3",
        );
        for path in ["/1", "/2"] {
            let head = parse(&mut parser, &mut input).unwrap().unwrap();
            assert_eq!(head.target.clone().into_uri().path(), path);
            spare::recycle(head.headers);
        }
        assert_eq!(parse(&mut parser, &mut input), Ok(None));
        assert_eq!(input, "GET /3");
    }

    #[test]
    fn a_recycled_map_keeps_nothing() {
        let mut parser = Parser::new();
        let mut input = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\nSecret: x\r\n\r\n");
        let head = parse(&mut parser, &mut input).unwrap().unwrap();
        spare::recycle(head.headers);
        let mut input = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = parse(&mut parser, &mut input).unwrap().unwrap();
        assert_eq!(head.headers.len(), 1);
    }

    #[test]
    fn a_refusal_is_final_and_counts_the_empty_line_before_it() {
        let mut parser = Parser::new();
        let mut input = BytesMut::from("\r\nGET / HTTP/1.1\r\nHost : a\r\n\r\n");
        let reject = Reject { kind: Kind::SpaceInName, offset: 22 };
        assert_eq!(parse(&mut parser, &mut input), Err(reject));
        let mut input = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(parse(&mut parser, &mut input), Err(reject));
    }

    #[test]
    fn a_head_is_not_searched_again_from_its_beginning() {
        let mut parser = Parser::new();
        let mut input = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\nX: ");
        assert_eq!(parse(&mut parser, &mut input), Ok(None));
        // Were it searched again, the LF without CR would be found.
        input[1] = b'\n';
        assert_eq!(parse(&mut parser, &mut input), Ok(None));
    }
}
