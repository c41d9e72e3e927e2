//! Feeds bytes to the codec in pieces and says what came of them. Shared with the fuzz targets.

use bytes::BytesMut;
use http::HeaderMap;
use portway_http1::{
    Framing, Limits, Reject,
    body::{Decoder, Frame},
    request::{self, RequestHead},
    response::{self, Answer, Asked, ResponseHead},
};

/// All that came of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome<H> {
    /// The interim heads before it.
    pub(crate) interim: Vec<ResponseHead>,
    /// The head, if it was complete.
    pub(crate) head: Option<H>,
    /// The data of the body.
    pub(crate) data: Vec<u8>,
    /// The trailers.
    pub(crate) trailers: Option<HeaderMap>,
    /// Whether the message was read to its framed end.
    pub(crate) ended: bool,
    /// What came after it.
    pub(crate) left: Vec<u8>,
    /// Why it was refused.
    pub(crate) refused: Option<Reject>,
}

/// Limits that small inputs reach, so that faults of size are met too.
pub(crate) fn tight() -> Limits {
    Limits {
        head: 400,
        fields: 6,
        method: 8,
        target: 60,
        chunk_extension: 24,
        chunk_overhead: 40,
        trailer: 60,
        trailer_fields: 2,
        interim: 2,
    }
}

/// Reads one request that comes in pieces.
pub(crate) fn read_request(
    pieces: impl IntoIterator<Item: AsRef<[u8]>>,
    limits: &Limits,
) -> Outcome<RequestHead> {
    let mut parser = request::Parser::new();
    let step = |input: &mut BytesMut, _: &mut Vec<ResponseHead>| {
        let head = parser.parse(input, limits)?;
        Ok(head.map(|head| (head.framing, head)))
    };
    read(pieces, limits, step)
}

/// Reads one answer that comes in pieces.
pub(crate) fn read_response(
    pieces: impl IntoIterator<Item: AsRef<[u8]>>,
    asked: &Asked,
    limits: &Limits,
) -> Outcome<Answer> {
    let mut parser = response::Parser::new();
    let step = |input: &mut BytesMut, interim: &mut Vec<ResponseHead>| {
        loop {
            match parser.parse(input, asked, limits)? {
                Some(Answer::Interim(head)) => interim.push(head),
                Some(Answer::Final(head)) => {
                    return Ok(Some((head.framing, Answer::Final(head))));
                }
                Some(Answer::Tunnel(head)) => {
                    return Ok(Some((Framing::None, Answer::Tunnel(head))));
                }
                None => return Ok(None),
            }
        }
    };
    read(pieces, limits, step)
}

/// Reads one chunked body that comes in pieces.
pub(crate) fn read_chunked(
    pieces: impl IntoIterator<Item: AsRef<[u8]>>,
    limits: &Limits,
) -> Outcome<()> {
    read(pieces, limits, |_, _| Ok(Some((Framing::Chunked, ()))))
}

fn read<H>(
    pieces: impl IntoIterator<Item: AsRef<[u8]>>,
    limits: &Limits,
    mut head: impl FnMut(&mut BytesMut, &mut Vec<ResponseHead>) -> Result<Option<(Framing, H)>, Reject>,
) -> Outcome<H> {
    let mut outcome = Outcome {
        interim: Vec::new(),
        head: None,
        data: Vec::new(),
        trailers: None,
        ended: false,
        left: Vec::new(),
        refused: None,
    };
    let mut input = BytesMut::new();
    let mut body = None;
    // What needs no bytes is there before any come, so the first step is with none.
    if let Err(reject) = outcome.take(&mut input, &mut body, limits, &mut head) {
        outcome.refused = Some(reject);
        return outcome;
    }
    for piece in pieces {
        input.extend_from_slice(piece.as_ref());
        if let Err(reject) = outcome.take(&mut input, &mut body, limits, &mut head) {
            outcome.refused = Some(reject);
            return outcome;
        }
    }
    outcome.ended = body.is_some_and(|body| body.is_ended());
    outcome.left = input.to_vec();
    outcome
}

impl<H> Outcome<H> {
    fn take(
        &mut self,
        input: &mut BytesMut,
        body: &mut Option<Decoder>,
        limits: &Limits,
        head: &mut impl FnMut(
            &mut BytesMut,
            &mut Vec<ResponseHead>,
        ) -> Result<Option<(Framing, H)>, Reject>,
    ) -> Result<(), Reject> {
        if body.is_none() {
            let Some((framing, found)) = head(input, &mut self.interim)? else { return Ok(()) };
            self.head = Some(found);
            *body = Some(Decoder::new(framing, limits));
        }
        let Some(body) = body else { return Ok(()) };
        while let Some(frame) = body.decode(input)? {
            match frame {
                Frame::Data(data) => self.data.extend_from_slice(&data),
                Frame::Trailers(trailers) => self.trailers = Some(trailers),
            }
        }
        Ok(())
    }
}
