//! A strict HTTP/1.1 codec for both directions, without I/O.
//!
//! Bytes go in, typed messages come out, and the other way round. The server side of a proxy reads
//! requests and writes responses with it, its client side writes requests and reads responses. It
//! opens no sockets, keeps no time and decides nothing about routing.
//!
//! # Refused, never repaired
//!
//! Request smuggling lives on messages that two servers read differently. So a message that could be
//! read in two ways is refused, and what is passed on is written anew from its typed form: no byte
//! of one connection's framing reaches another. Each rule is a [`Kind`], with the section of the RFC
//! it comes from, the status that answers it, and a sentence that says what is wrong; a [`Reject`]
//! adds the byte. Which fault is reported does not depend on how the bytes were split into reads.
//!
//! Where the RFCs leave a choice, it was made as follows:
//!
//! * Lines end with CR LF. LF alone is refused, though RFC 9112 §2.2 would let it pass.
//! * One empty line in front of a request is passed over; none in front of a response.
//! * A target is visible ASCII without a fragment. Raw bytes above ASCII are refused, as servers
//!   disagree on what they mean; `|`, `{`, `\` and the like pass, as browsers send them.
//! * Versions other than 1.1 and 1.0 are refused, also 1.2 and up.
//! * Content-Length may be given once, even if equal; Transfer-Encoding only as `chunked`.
//! * Lengths and chunk sizes stay below 2⁶³, so that signed and unsigned readers agree.
//! * The host is a name of letters, digits, `-`, `.` and `_`, or an address, and never empty.
//! * White space around chunk extensions is refused, though old senders may put some there.
//! * An offer to upgrade that has a body is not taken up, and CONNECT with a body is refused.
//! * A status line may lack its reason along with the space in front of it: servers write that, and
//!   it means nothing.
//!
//! # Example
//!
//! One request, its answer, and the question whether the connection may go on:
//!
//! ```
//! use bytes::BytesMut;
//! use http::{HeaderMap, StatusCode};
//! use portway_http1::{
//!     Framing, Limits, Version,
//!     body::{Decoder, Encoder, Frame},
//!     request,
//!     response::{self, Answer, Asked, ResponseHead},
//!     reuse::{Reuse, Side, Verdict},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::default();
//! let mut reuse = Reuse::new(Side::Server);
//! let mut input = BytesMut::from(
//!     "POST /greet HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\n\r\nworldGET / HTTP/1.1\r\n",
//! );
//!
//! // `None` would mean: read more and call again.
//! let head = request::Parser::new().parse(&mut input, &limits)?.ok_or("incomplete")?;
//! assert_eq!(head.framing, Framing::Length(5));
//! reuse.request(&head);
//!
//! let mut body = Decoder::new(head.framing, &limits);
//! assert_eq!(body.decode(&mut input)?, Some(Frame::Data("world".into())));
//! assert!(body.is_ended());
//! reuse.request_ended();
//!
//! let answer = ResponseHead {
//!     status: StatusCode::OK,
//!     version: Version::Http11,
//!     headers: HeaderMap::new(),
//!     framing: Framing::Chunked,
//!     content_length: None,
//!     persistent: head.persistent,
//! };
//! let mut output = BytesMut::new();
//! response::write(&answer, &Asked::from(&head), &mut output)?;
//! let mut body = Encoder::new(answer.framing);
//! reuse.response(&Answer::Final(answer));
//! body.data(b"hello", &mut output)?;
//! body.end(&HeaderMap::new(), &mut output)?;
//! reuse.response_ended();
//! assert_eq!(
//!     output,
//!     "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
//! );
//!
//! // What is left over is the beginning of the next request.
//! assert_eq!(input, "GET / HTTP/1.1\r\n");
//! assert_eq!(reuse.next(&input), Verdict::Reusable);
//! # Ok(())
//! # }
//! ```
//!
//! # Speed
//!
//! A head is looked at in one search for line ends, one pass over names and targets, and one over
//! values; the values are slices of the input. Well-known names cost neither hashing nor memory.
//! `cargo bench -p portway-http1` compares with httparse.

mod fields;
mod host;
mod limits;
mod meaning;
mod names;
mod octet;
mod reject;
mod scan;
mod spare;
mod target;
mod write;

pub mod body;
pub mod request;
pub mod response;
pub mod reuse;

pub use crate::{
    limits::Limits,
    meaning::{Framing, Version},
    reject::{Kind, Reject},
    spare::recycle,
    target::Target,
    write::WriteError,
};
