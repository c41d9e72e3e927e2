//! Reads bodies.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::{chunk, trailers};
use crate::{
    Limits,
    meaning::Framing,
    reject::{Kind, Reject},
    scan::Scanner,
};

/// A piece of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Data; never empty, and a slice of the input.
    Data(Bytes),
    /// The trailers, which come once and last. Not given when there are none.
    Trailers(HeaderMap),
}

/// Reads one body to its framed end.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of framing and data taken so far; where a fault is counted from.
    taken: u64,
    /// Data announced so far.
    announced: u64,
    max: u64,
    overhead: u64,
    scanner: Scanner,
    limits: Limits,
    refused: Option<Reject>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This much data is left of the body.
    Length(u64),
    /// All that comes is data.
    UntilClose,
    /// A line with the size of a chunk.
    Size,
    /// This much data is left of the chunk.
    Data(u64),
    /// The CR LF after the data of a chunk.
    DataEnd,
    Trailers,
    Ended,
}

impl Decoder {
    /// Returns a decoder for a body that is framed so.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let (state, announced) = match framing {
            Framing::None | Framing::Length(0) => (State::Ended, 0),
            Framing::Length(length) => (State::Length(length), length),
            Framing::Chunked => (State::Size, 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        Self {
            state,
            taken: 0,
            announced,
            max: u64::MAX,
            overhead: 0,
            scanner: Scanner::default(),
            limits: limits.clone(),
            refused: None,
        }
    }

    /// Refuses a body of more than `max` bytes, as soon as its framing announces them.
    pub fn limited(self, max: u64) -> Self {
        Self { max, ..self }
    }

    /// Returns the next frame, or `None` if there is none in `input`: either the body has
    /// [ended](Self::is_ended), and what is left in `input` is not of it, or more bytes are needed.
    ///
    /// After a refusal the connection cannot be used further, and every further call refuses again.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Reject> {
        if let Some(reject) = self.refused {
            return Err(reject);
        }
        self.decode_next(input).inspect_err(|reject| self.refused = Some(*reject))
    }

    fn decode_next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Reject> {
        self.check_size()?;
        loop {
            let step = match self.state {
                State::Ended => return Ok(None),
                State::Length(left) => return Ok(self.take_body(input, left)),
                State::Data(left) => return Ok(self.take_chunk(input, left)),
                State::UntilClose => return self.take_all(input),
                State::Size => self.take_size(input)?,
                State::DataEnd => self.take_data_end(input)?,
                State::Trailers => return self.take_trailers(input),
            };
            let Step::On = step else { return Ok(None) };
        }
    }

    /// Takes the news that the peer sends no more: the end of a body that is framed by it, and the
    /// refusal of one that is not complete.
    pub fn close(&mut self) -> Result<(), Reject> {
        if let Some(reject) = self.refused {
            return Err(reject);
        }
        match self.state {
            State::Ended => Ok(()),
            State::UntilClose => {
                self.state = State::Ended;
                Ok(())
            }
            State::Length(_) | State::Size | State::Data(_) | State::DataEnd | State::Trailers => {
                Err(self.reject(Kind::Truncated))
            }
        }
    }

    /// Whether the body was read to its framed end.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Returns how many bytes of data are known to follow, for choosing the size of a read.
    pub fn known_left(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Data(left) => left,
            State::UntilClose | State::Size | State::DataEnd | State::Trailers | State::Ended => 0,
        }
    }

    fn take_body(&mut self, input: &mut BytesMut, left: u64) -> Option<Frame> {
        let data = self.take_at_most(input, left)?;
        let left = left - length(data.len());
        self.state = if left == 0 { State::Ended } else { State::Length(left) };
        Some(Frame::Data(data))
    }

    fn take_chunk(&mut self, input: &mut BytesMut, left: u64) -> Option<Frame> {
        let data = self.take_at_most(input, left)?;
        let left = left - length(data.len());
        self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        Some(Frame::Data(data))
    }

    fn take_all(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Reject> {
        self.announced = self.announced.saturating_add(length(input.len()));
        self.check_size()?;
        Ok(self.take_at_most(input, u64::MAX).map(Frame::Data))
    }

    fn take_size(&mut self, input: &mut BytesMut) -> Result<Step, Reject> {
        let parsed = chunk::parse(input, self.limits.chunk_extension);
        let Some(line) = parsed.map_err(|reject| reject.after(self.taken))? else {
            return Ok(Step::Wait);
        };
        self.count_overhead(line)?;
        self.announced = self.announced.saturating_add(line.size);
        self.check_size()?;
        self.skip(input, line.length);
        self.state = if line.size == 0 { State::Trailers } else { State::Data(line.size) };
        Ok(Step::On)
    }

    fn check_size(&self) -> Result<(), Reject> {
        if self.announced > self.max { Err(self.reject(Kind::BodyTooLarge)) } else { Ok(()) }
    }

    /// A chunk may spend 16 bytes and twice its data on its line; what it spends beyond is
    /// remembered, and what it leaves makes good for others.
    fn count_overhead(&mut self, line: chunk::SizeLine) -> Result<(), Reject> {
        let allowed = line.size.saturating_mul(2).saturating_add(16);
        self.overhead = (self.overhead + length(line.length)).saturating_sub(allowed);
        if self.overhead > self.limits.chunk_overhead {
            return Err(self.reject(Kind::ChunkOverhead));
        }
        Ok(())
    }

    fn take_data_end(&mut self, input: &mut BytesMut) -> Result<Step, Reject> {
        match &**input {
            [] | [b'\r'] => Ok(Step::Wait),
            [b'\r', b'\n', ..] => {
                self.skip(input, 2);
                self.state = State::Size;
                Ok(Step::On)
            }
            _ => Err(self.reject(Kind::MissingChunkEnd)),
        }
    }

    fn take_trailers(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Reject> {
        let taken = self.taken;
        let trailers = trailers::parse(&mut self.scanner, input, &self.limits)
            .map_err(|reject| reject.after(taken))?;
        let Some((trailers, end)) = trailers else { return Ok(None) };
        self.taken += length(end);
        self.state = State::Ended;
        Ok(if trailers.is_empty() { None } else { Some(Frame::Trailers(trailers)) })
    }

    /// Takes out what there is of `left` bytes.
    fn take_at_most(&mut self, input: &mut BytesMut, left: u64) -> Option<Bytes> {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        self.taken += length(count);
        (count > 0).then(|| input.split_to(count).freeze())
    }

    fn skip(&mut self, input: &mut BytesMut, count: usize) {
        self.taken += length(count);
        input.advance(count);
    }

    #[cold]
    fn reject(&self, kind: Kind) -> Reject {
        Reject { kind, offset: self.taken }
    }
}

/// Whether framing that brings no frame was read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    On,
    Wait,
}

/// A `usize` has at most 64 bits on every target Rust knows.
fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, trailers and what was left over.
    type Outcome = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Result<Outcome, Reject> {
        let mut input = BytesMut::from(bytes);
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = decoder.decode(&mut input)? {
            match frame {
                Frame::Data(piece) => data.extend_from_slice(&piece),
                Frame::Trailers(found) => trailers = Some(found),
            }
        }
        Ok((data, trailers, input.to_vec()))
    }

    fn chunked(bytes: &[u8]) -> Result<Outcome, Reject> {
        let mut decoder = Decoder::new(Framing::Chunked, &Limits::default());
        let outcome = decode(&mut decoder, bytes)?;
        assert!(decoder.is_ended());
        Ok(outcome)
    }

    fn refused(bytes: &[u8]) -> (Kind, u64) {
        let mut decoder = Decoder::new(Framing::Chunked, &Limits::default());
        let reject = decode(&mut decoder, bytes).unwrap_err();
        (reject.kind, reject.offset)
    }

    #[test]
    fn a_body_by_length_ends_with_its_last_byte() {
        let mut decoder = Decoder::new(Framing::Length(5), &Limits::default());
        assert_eq!(decode(&mut decoder, b"abc").unwrap().0, b"abc");
        assert_eq!(decoder.known_left(), 2);
        let (data, _, left) = decode(&mut decoder, b"deGET").unwrap();
        assert_eq!((&*data, &*left), (&b"de"[..], &b"GET"[..]));
        assert!(decoder.is_ended());
    }

    #[test]
    fn no_body_has_ended_before_it_begins() {
        for framing in [Framing::None, Framing::Length(0)] {
            let mut decoder = Decoder::new(framing, &Limits::default());
            assert!(decoder.is_ended());
            assert_eq!(decode(&mut decoder, b"x").unwrap().2, b"x");
        }
    }

    #[test]
    fn chunks_are_joined_and_the_rest_is_left() {
        let bytes = b"3\r\nabc\r\n00A;x=\"y;z\"\r\n0123456789\r\n0\r\n\r\nGET";
        let (data, trailers, left) = chunked(bytes).unwrap();
        assert_eq!((&*data, trailers, &*left), (&b"abc0123456789"[..], None, &b"GET"[..]));
    }

    #[test]
    fn trailers_come_last() {
        let (data, trailers, left) = chunked(b"0\r\nX-Sum: 7\r\nx-sum: 8\r\n\r\n!").unwrap();
        let sums: Vec<_> = trailers.unwrap().get_all("x-sum").iter().cloned().collect();
        assert_eq!(sums, ["7", "8"]);
        assert_eq!((&*data, &*left), (&b""[..], &b"!"[..]));
    }

    #[test]
    fn a_fault_is_placed_within_the_body() {
        assert_eq!(refused(b"1\r\nab\r\n"), (Kind::MissingChunkEnd, 4));
        assert_eq!(refused(b"1\r\na\r\nx\r\n"), (Kind::BadChunkSize, 6));
        assert_eq!(refused(b"0\r\nHost: a\r\n\r\n"), (Kind::ForbiddenTrailer, 3));
        assert_eq!(refused(b"0\r\na: b\n\r\n"), (Kind::BareLf, 7));
    }

    #[test]
    fn a_body_that_is_cut_off_is_no_body() {
        for bytes in
            [&b""[..], b"5", b"5\r\n", b"5\r\nab", b"5\r\nabcde", b"0\r\n", b"0\r\na: b\r\n"]
        {
            let mut decoder = Decoder::new(Framing::Chunked, &Limits::default());
            decode(&mut decoder, bytes).unwrap();
            assert_eq!(decoder.close().unwrap_err().kind, Kind::Truncated);
        }
        let mut decoder = Decoder::new(Framing::Length(2), &Limits::default());
        decode(&mut decoder, b"a").unwrap();
        assert_eq!(decoder.close(), Err(Reject { kind: Kind::Truncated, offset: 1 }));
    }

    #[test]
    fn a_body_until_close_ends_with_the_connection() {
        let mut decoder = Decoder::new(Framing::UntilClose, &Limits::default());
        assert_eq!(decode(&mut decoder, b"abc").unwrap().0, b"abc");
        assert!(!decoder.is_ended());
        assert_eq!(decoder.close(), Ok(()));
        assert!(decoder.is_ended());
    }

    #[test]
    fn a_body_that_is_too_large_is_refused_when_it_is_announced() {
        for (framing, bytes) in [
            (Framing::Length(4), &b""[..]),
            (Framing::Chunked, b"2\r\nab\r\n2\r\n"),
            (Framing::UntilClose, b"abcd"),
        ] {
            let mut decoder = Decoder::new(framing, &Limits::default()).limited(3);
            assert_eq!(decode(&mut decoder, bytes).unwrap_err().kind, Kind::BodyTooLarge);
        }
    }

    #[test]
    fn a_refusal_is_final() {
        let mut decoder = Decoder::new(Framing::Chunked, &Limits::default());
        let reject = decode(&mut decoder, b"x\r\n").unwrap_err();
        assert_eq!(decode(&mut decoder, b"0\r\n\r\n"), Err(reject));
        assert_eq!(decoder.close(), Err(reject));
    }

    #[test]
    fn chunks_that_are_mostly_extensions_are_refused() {
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(200));
        let (kind, _) = refused(chunk.repeat(200).as_bytes());
        assert_eq!(kind, Kind::ChunkOverhead);
        let honest = format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(20_000));
        assert_eq!(chunked(honest.as_bytes()).unwrap().0.len(), 20_000);
    }
}
