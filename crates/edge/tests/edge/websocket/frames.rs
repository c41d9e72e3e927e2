//! The frames of WebSocket (RFC 6455 §5), written so that every bit can be set as no client may.

use tokio::io::{AsyncRead, AsyncReadExt as _};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The bit that says that a message is compressed (RFC 7692 §6).
pub(crate) const COMPRESSED: u8 = 4;

/// The bit that says that a frame is masked, as every one of a client is.
const MASKED: u8 = 0x80;

/// In place of a length: it follows in two bytes, or in eight.
const LENGTH_16: u8 = 0x7e;
const LENGTH_64: u8 = 0x7f;

/// What clients mask with. A key that changes would hide nothing from a test.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) last: bool,
    /// The three reserved bits, as a number.
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// A whole message, or a control frame.
pub(crate) fn whole(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame { last: true, reserved: 0, opcode, payload: payload.as_ref().to_vec() }
}

/// A part of a message that others follow.
pub(crate) fn part(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame { last: false, ..whole(opcode, payload) }
}

/// A frame that ends the connection.
pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    whole(CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
}

/// Cuts a message into frames of at most this many bytes.
pub(crate) fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Frame> {
    let mut frames: Vec<Frame> =
        payload.chunks(size).map(|piece| part(CONTINUATION, piece)).collect();
    if frames.is_empty() {
        frames.push(part(CONTINUATION, ""));
    }
    frames.first_mut().unwrap().opcode = opcode;
    frames.last_mut().unwrap().last = true;
    frames
}

impl Frame {
    /// Sets the reserved bits.
    pub(crate) fn reserving(self, reserved: u8) -> Self {
        Self { reserved, ..self }
    }

    /// Returns the frame as a client sends it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let first = u8::from(self.last) << 7 | self.reserved << 4 | self.opcode;
        let mut bytes = vec![first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(MASKED | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                bytes.push(MASKED | LENGTH_16);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(MASKED | LENGTH_64);
                bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Reads a frame of a server; an error is the end of the connection.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Self> {
        let first = stream.read_u8().await?;
        let second = stream.read_u8().await?;
        assert_eq!(second & MASKED, 0, "a server masks nothing (RFC 6455 §5.1)");
        let length = match second {
            LENGTH_16 => u64::from(stream.read_u16().await?),
            LENGTH_64 => stream.read_u64().await?,
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await?;
        let (last, reserved, opcode) = (first & 0x80 != 0, first >> 4 & 7, first & 15);
        Ok(Self { last, reserved, opcode, payload })
    }
}
