//! Writes bodies.

use std::fmt;

use bytes::{BufMut, BytesMut};
use http::HeaderMap;

use crate::{
    meaning::{Framing, MAX_LENGTH},
    names, write,
};

/// Why a body cannot be written on. The message is broken then, and its connection must be closed
/// so that nobody takes what follows for the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// There is more data than was announced.
    TooMuch,
    /// The body ended before all that was announced had come.
    TooLittle {
        /// The bytes that are missing.
        missing: u64,
    },
    /// Data or an end came after the end.
    Ended,
    /// A trailer has a name that is only for headers.
    ForbiddenTrailer,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch => f.write_str("the body is longer than was announced"),
            Self::TooLittle { missing } => {
                write!(f, "the body is {missing} bytes shorter than was announced")
            }
            Self::Ended => f.write_str("the body has ended already"),
            Self::ForbiddenTrailer => f.write_str("a trailer has a name that is only for headers"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Writes one body, and sees to it that it is what its head announced.
#[derive(Debug)]
pub struct Encoder {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Chunked,
    UntilClose,
    Ended,
}

/// What is written around a piece of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    digits: [u8; LONGEST_SIZE],
    before: u8,
    after: &'static [u8],
}

/// 16 digits and CR LF.
const LONGEST_SIZE: usize = 18;

impl Around {
    const NOTHING: Self = Self { digits: [0; LONGEST_SIZE], before: 0, after: &[] };

    fn chunk(size: u64) -> Self {
        let mut digits = [0; LONGEST_SIZE];
        let before = write::size_line(&mut digits, size);
        Self { digits, before, after: b"\r\n" }
    }

    /// Returns what is written in front of the data.
    pub fn before(&self) -> &[u8] {
        self.digits.get(..usize::from(self.before)).unwrap_or_default()
    }

    /// Returns what is written after the data.
    pub fn after(&self) -> &'static [u8] {
        self.after
    }
}

impl Encoder {
    /// Returns an encoder for a body that is framed so.
    pub fn new(framing: Framing) -> Self {
        Self {
            state: match framing {
                Framing::None => State::Length(0),
                Framing::Length(length) => State::Length(length),
                Framing::Chunked => State::Chunked,
                Framing::UntilClose => State::UntilClose,
            },
        }
    }

    /// Accounts for the next `length` bytes of data, and returns what is to be written around them.
    /// This is for vectored writes; [`Self::data`] copies.
    ///
    /// No data is no chunk, as a chunk of size 0 would end the body.
    pub fn around(&mut self, length: usize) -> Result<Around, EncodeError> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        match self.state {
            State::Ended => Err(EncodeError::Ended),
            _ if length == 0 => Ok(Around::NOTHING),
            State::Length(left) => {
                let left = left.checked_sub(length).ok_or(EncodeError::TooMuch)?;
                self.state = State::Length(left);
                Ok(Around::NOTHING)
            }
            State::Chunked if length > MAX_LENGTH => Err(EncodeError::TooMuch),
            State::Chunked => Ok(Around::chunk(length)),
            State::UntilClose => Ok(Around::NOTHING),
        }
    }

    /// Writes the next piece of data at the end of `out`; on an error, nothing.
    pub fn data(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
        let around = self.around(data.len())?;
        out.reserve(data.len() + LONGEST_SIZE + 2);
        out.put_slice(around.before());
        out.put_slice(data);
        out.put_slice(around.after());
        Ok(())
    }

    /// Writes the end of the body; on an error, nothing.
    ///
    /// Only chunks can be followed by trailers. Otherwise they are left out, as RFC 9110 §6.5.1 lets
    /// whoever forwards them do; [`Self::carries_trailers`] tells.
    pub fn end(&mut self, trailers: &HeaderMap, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self.state {
            State::Ended => return Err(EncodeError::Ended),
            State::Length(0) | State::UntilClose => {}
            State::Length(missing) => return Err(EncodeError::TooLittle { missing }),
            State::Chunked => write_end(trailers, out)?,
        }
        self.state = State::Ended;
        Ok(())
    }

    /// Whether trailers that are given with the end are written.
    pub fn carries_trailers(&self) -> bool {
        self.state == State::Chunked
    }

    /// Whether all of the body was written.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }
}

fn write_end(trailers: &HeaderMap, out: &mut BytesMut) -> Result<(), EncodeError> {
    if trailers.keys().any(|name| names::is_forbidden_in_trailers(name.as_str().as_bytes())) {
        return Err(EncodeError::ForbiddenTrailer);
    }
    out.put_slice(b"0\r\n");
    for (name, value) in trailers {
        write::field(out, name.as_str(), value.as_bytes());
    }
    out.put_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;

    fn encode(framing: Framing, pieces: &[&str]) -> Result<Bytes, EncodeError> {
        encode_with(framing, pieces, &HeaderMap::new())
    }

    fn encode_with(
        framing: Framing,
        pieces: &[&str],
        trailers: &HeaderMap,
    ) -> Result<Bytes, EncodeError> {
        let (mut encoder, mut out) = (Encoder::new(framing), BytesMut::new());
        for piece in pieces {
            encoder.data(piece.as_bytes(), &mut out)?;
        }
        encoder.end(trailers, &mut out)?;
        assert!(encoder.is_ended());
        Ok(out.freeze())
    }

    #[test]
    fn pieces_become_chunks_and_empty_ones_do_not_end_the_body() {
        let long = "x".repeat(26);
        let text = encode(Framing::Chunked, &["ab", "", &long]);
        assert_eq!(text, Ok(format!("2\r\nab\r\n1a\r\n{long}\r\n0\r\n\r\n").into()));
    }

    #[test]
    fn the_announced_length_is_kept() {
        assert_eq!(encode(Framing::Length(3), &["ab", "c"]), Ok("abc".into()));
        assert_eq!(encode(Framing::Length(3), &["ab", "cd"]), Err(EncodeError::TooMuch));
        let missing = EncodeError::TooLittle { missing: 1 };
        assert_eq!(encode(Framing::Length(3), &["ab"]), Err(missing));
        assert_eq!(encode(Framing::None, &["a"]), Err(EncodeError::TooMuch));
        assert_eq!(encode(Framing::None, &[]), Ok("".into()));
        assert_eq!(encode(Framing::UntilClose, &["a", "b"]), Ok("ab".into()));
    }

    #[test]
    fn nothing_is_written_after_the_end() {
        let (mut encoder, mut out) = (Encoder::new(Framing::Chunked), BytesMut::new());
        encoder.end(&HeaderMap::new(), &mut out).unwrap();
        assert_eq!(encoder.data(b"a", &mut out), Err(EncodeError::Ended));
        assert_eq!(encoder.end(&HeaderMap::new(), &mut out), Err(EncodeError::Ended));
        assert_eq!(out, "0\r\n\r\n");
    }

    #[test]
    fn trailers_follow_chunks_only() {
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let text = encode_with(Framing::Chunked, &[], &trailers);
        assert_eq!(text, Ok("0\r\ngrpc-status: 0\r\n\r\n".into()));
        assert_eq!(encode_with(Framing::Length(1), &["a"], &trailers), Ok("a".into()));
        assert!(!Encoder::new(Framing::Length(1)).carries_trailers());
    }

    #[test]
    fn a_trailer_that_would_be_refused_is_not_written() {
        let mut trailers = HeaderMap::new();
        trailers.insert("content-length", HeaderValue::from_static("0"));
        let text = encode_with(Framing::Chunked, &[], &trailers);
        assert_eq!(text, Err(EncodeError::ForbiddenTrailer));
    }
}
