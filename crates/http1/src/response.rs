//! Heads of responses: their typed form, read from bytes and written to them.

mod line;
mod write;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

pub use crate::response::write::write;
use crate::{
    Limits,
    fields::{self, Field},
    meaning::{Framing, Meaning, Version},
    names::Role,
    reject::{Kind, Reject},
    request::RequestHead,
    scan::{Line, Scanner, Section},
    spare,
};

/// The head of a response.
///
/// `headers` are all that were sent. What they say of framing and connection is in the other
/// fields, and only those count when the head is written. The reason phrase is not kept: it means
/// nothing (RFC 9112 §4).
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseHead {
    /// The status, from 100 to 599.
    pub status: StatusCode,
    /// The version.
    pub version: Version,
    /// The headers, as they were sent.
    pub headers: HeaderMap,
    /// How the body that follows is framed; [`Framing::None`] if none can follow.
    pub framing: Framing,
    /// What Content-Length says, also where no body follows: in the answer to HEAD and in a 304 it
    /// tells the length that the answer to a GET would have.
    pub content_length: Option<u64>,
    /// Whether the server lets the connection carry another request after this answer.
    pub persistent: bool,
}

/// What of a request decides how its answer is read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The method of the request.
    pub method: Method,
    /// Whether the request offered another protocol.
    pub upgrade: bool,
}

impl Asked {
    /// Returns what a request asked for, where no other protocol was offered.
    pub fn plain(method: Method) -> Self {
        Self { method, upgrade: false }
    }

    /// Returns what kind of an answer a status is to this request.
    fn kind_of(&self, status: StatusCode) -> AnswerKind {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            AnswerKind::Tunnel
        } else if status.is_informational() {
            AnswerKind::Interim
        } else if self.method == Method::CONNECT && status.is_success() {
            AnswerKind::Tunnel
        } else if status == StatusCode::NO_CONTENT {
            AnswerKind::Empty
        } else if status == StatusCode::NOT_MODIFIED || self.method == Method::HEAD {
            AnswerKind::HeadOnly
        } else {
            AnswerKind::Whole
        }
    }
}

impl From<&RequestHead> for Asked {
    fn from(head: &RequestHead) -> Self {
        Self { method: head.method.clone(), upgrade: head.upgrade }
    }
}

/// The kinds of answers by what may follow their heads (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerKind {
    /// Another answer follows.
    Interim,
    /// The connection carries something else from here on.
    Tunnel,
    /// Nothing follows, and nothing may be announced.
    Empty,
    /// Nothing follows, but the head may tell what would.
    HeadOnly,
    /// A body follows.
    Whole,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// An interim answer (1xx); others follow until a final one.
    Interim(ResponseHead),
    /// The final answer.
    Final(ResponseHead),
    /// From the next byte on the connection carries another protocol: the answer is 101 to an offer
    /// of one, or 2xx to CONNECT.
    Tunnel(ResponseHead),
}

/// Reads heads of responses, one after the other, from one connection.
#[derive(Debug, Default)]
pub struct Parser {
    scanner: Scanner,
    interim: u32,
    refused: Option<Reject>,
}

impl Parser {
    /// Returns a parser at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next head from the front of `input`, as an answer to what was `asked`; `None` if it
    /// is not complete yet.
    ///
    /// Until it is, `input` may only grow. A complete head is taken out of `input`, and whatever
    /// follows it is left there. After a refusal nothing on the connection can be trusted: it must be
    /// closed, and every further call refuses again.
    pub fn parse(
        &mut self,
        input: &mut BytesMut,
        asked: &Asked,
        limits: &Limits,
    ) -> Result<Option<Answer>, Reject> {
        if let Some(reject) = self.refused {
            return Err(reject);
        }
        self.parse_head(input, asked, limits).inspect_err(|reject| self.refused = Some(*reject))
    }

    fn parse_head(
        &mut self,
        input: &mut BytesMut,
        asked: &Asked,
        limits: &Limits,
    ) -> Result<Option<Answer>, Reject> {
        let section =
            Section { max: limits.head, too_large: Kind::HeadTooLarge, may_be_empty: false };
        let end = match self.scanner.scan(input, section) {
            Ok(Some(end)) => end,
            Ok(None) => return line::judge_unfinished(input).map(|()| None),
            Err(reject) => return Err(self.first_fault(input, limits).unwrap_or(reject)),
        };
        let head = input.split_to(end).freeze();
        let headers = spare::take();
        let answer = self.read_lines(&head, headers, limits)?.finish(asked)?;
        self.scanner.clear();
        self.count(&answer, limits)?;
        Ok(Some(answer))
    }

    fn count(&mut self, answer: &Answer, limits: &Limits) -> Result<(), Reject> {
        self.interim = match answer {
            Answer::Interim(_) => self.interim.saturating_add(1),
            Answer::Final(_) | Answer::Tunnel(_) => 0,
        };
        if self.interim > limits.interim {
            return Err(Reject::new(Kind::TooManyInterim, 0));
        }
        Ok(())
    }

    /// Returns the first fault in reading order of a head that has a fault, so that it is the same
    /// one however the bytes came.
    #[cold]
    fn first_fault(&self, input: &[u8], limits: &Limits) -> Option<Reject> {
        let complete = Bytes::copy_from_slice(input.get(..self.scanner.complete())?);
        if complete.is_empty() {
            return line::judge_unfinished(input).err();
        }
        self.read_lines(&complete, HeaderMap::new(), limits).err()
    }

    fn read_lines(
        &self,
        head: &Bytes,
        mut headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Draft, Reject> {
        let mut lines = self.scanner.lines(head);
        let first = lines.next().unwrap_or(Line { start: 0, text: &[] });
        let (version, status) = line::parse(first)?;
        headers.reserve(self.scanner.count() + fields::MORE);
        let mut draft = Draft { status, headers, meaning: Meaning::new(version), framed_at: 0 };
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
    status: StatusCode,
    headers: HeaderMap,
    meaning: Meaning,
    /// The line that announces a body.
    framed_at: usize,
}

impl Draft {
    #[inline]
    fn add(&mut self, field: Field, line: Line<'_>) -> Result<(), Reject> {
        let Field { name, value, role, value_at } = field;
        self.meaning.note(role, value.as_bytes()).map_err(|kind| line.reject(kind, value_at))?;
        if matches!(role, Role::ContentLength | Role::TransferEncoding) {
            self.framed_at = line.start;
        }
        fields::append(&mut self.headers, name, value)
            .map_err(|_| line.reject(Kind::TooManyFields, 0))
    }

    /// Concludes what the whole head says, given the request it answers.
    fn finish(self, asked: &Asked) -> Result<Answer, Reject> {
        let kind = asked.kind_of(self.status);
        let framing = self.framing(kind)?;
        if self.status == StatusCode::SWITCHING_PROTOCOLS
            && !(asked.upgrade && self.meaning.upgrades())
        {
            return Err(Reject::new(Kind::UnexpectedUpgrade, 0));
        }
        let head = ResponseHead {
            status: self.status,
            version: self.meaning.version,
            headers: self.headers,
            framing,
            content_length: self.meaning.length,
            persistent: self.meaning.persistent() && framing != Framing::UntilClose,
        };
        Ok(match kind {
            AnswerKind::Interim => Answer::Interim(head),
            AnswerKind::Tunnel => Answer::Tunnel(head),
            AnswerKind::Empty | AnswerKind::HeadOnly | AnswerKind::Whole => Answer::Final(head),
        })
    }

    /// Decides by the list of RFC 9112 §6.3. Answers that have no body may not announce one, as who
    /// ignores the announcement and who believes it take different bytes for the next answer. A
    /// length of 0 contradicts nothing, and servers do send it.
    fn framing(&self, kind: AnswerKind) -> Result<Framing, Reject> {
        let Meaning { chunked, length, .. } = self.meaning;
        match kind {
            AnswerKind::Interim | AnswerKind::Tunnel | AnswerKind::Empty => {
                if chunked || length.is_some_and(|length| length > 0) {
                    return Err(Reject::new(Kind::BodyForbidden, self.framed_at));
                }
                Ok(Framing::None)
            }
            AnswerKind::HeadOnly => Ok(Framing::None),
            AnswerKind::Whole => Ok(match (chunked, length) {
                (true, _) => Framing::Chunked,
                (false, Some(length)) => Framing::Length(length),
                (false, None) => Framing::UntilClose,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_counted_for_each_request_anew() {
        let (mut parser, limits) = (Parser::new(), Limits { interim: 1, ..Limits::default() });
        let asked = Asked::plain(Method::GET);
        let mut input = BytesMut::new();
        for _ in 0..3 {
            input.extend_from_slice(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 None\r\n\r\n");
            let first = parser.parse(&mut input, &asked, &limits).unwrap();
            assert!(matches!(first, Some(Answer::Interim(_))));
            let second = parser.parse(&mut input, &asked, &limits).unwrap();
            assert!(matches!(second, Some(Answer::Final(_))));
        }
        input.extend_from_slice(&b"HTTP/1.1 103 Hints\r\n\r\n".repeat(2));
        parser.parse(&mut input, &asked, &limits).unwrap();
        let reject = parser.parse(&mut input, &asked, &limits).unwrap_err();
        assert_eq!(reject.kind, Kind::TooManyInterim);
        assert_eq!(parser.parse(&mut input, &asked, &limits), Err(reject));
    }
}
