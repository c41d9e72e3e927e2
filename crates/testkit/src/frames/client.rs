//! A client of HTTP/2 that writes its frames by hand, so that it can do what no client may.

use std::{fmt, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, fields,
    frame, settings_payload,
};

/// How long a frame is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream that it is of; 0 for the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// The other side has closed the connection.
    Closed,
    /// None came in time.
    Late,
}

/// A connection on which nothing happens by itself.
pub struct Client<S> {
    stream: S,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Takes a connection on which nothing was said.
    pub fn silent(stream: S, host: &str) -> Self {
        Self { stream, host: host.to_owned() }
    }

    /// Greets the server with these settings, and takes its own. Indexed fields are switched off, so
    /// that every answer's status can be read by itself.
    pub async fn greet(&mut self, settings: &[(u16, u32)]) -> Result<(), NoFrame> {
        let all = [&[(1, 0)], settings].concat();
        self.raw(PREFACE).await;
        self.send(SETTINGS, 0, 0, &settings_payload(&all)).await;
        loop {
            let frame = self.frame().await?;
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.send(SETTINGS, ACK, 0, &[]).await;
            } else if frame.kind == SETTINGS {
                return Ok(());
            }
        }
    }

    /// Sends bytes.
    pub async fn raw(&mut self, bytes: &[u8]) {
        // The other side may have closed already, which is for the reader to see.
        drop(self.stream.write_all(bytes).await);
        drop(self.stream.flush().await);
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw(&frame(kind, flags, stream, payload)).await;
    }

    /// Asks for a path, without a body.
    pub async fn get(&mut self, stream: u32, path: &str) {
        let block = self.block("GET", path, &[]);
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block).await;
    }

    /// Begins a request with a body.
    pub async fn post(&mut self, stream: u32, path: &str) {
        let block = self.block("POST", path, &[]);
        self.send(HEADERS, END_HEADERS, stream, &block).await;
    }

    /// Returns the head of a request.
    pub fn block(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let pseudo = [
            (":method", method),
            (":scheme", "https"),
            (":path", path),
            (":authority", self.host.as_str()),
        ];
        fields(pseudo.iter().chain(more))
    }

    /// Reads a frame.
    pub async fn frame(&mut self) -> Result<Frame, NoFrame> {
        let read = timeout(PATIENCE, Frame::read(&mut self.stream)).await;
        read.map_err(|_| NoFrame::Late)?.map_err(|_| NoFrame::Closed)
    }

    /// Reads until a stream has its answer, and returns the status. What else happens is passed
    /// over; a reset or the end of the connection gives an error that says so.
    pub async fn status(&mut self, stream: u32) -> Result<u16, String> {
        loop {
            let frame = self.frame().await.map_err(|none| none.to_string())?;
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    return status(&frame.payload).ok_or_else(|| "no status".to_owned());
                }
                RST_STREAM if frame.stream == stream => return Err(frame.to_string()),
                GOAWAY => return Err(frame.to_string()),
                _ => {}
            }
        }
    }

    /// Returns how much of an answer's body came before its stream was reset. Frames of other streams
    /// are passed over.
    pub async fn taken_until_reset(&mut self, stream: u32) -> Result<usize, NoFrame> {
        let mut taken = 0;
        loop {
            let frame = self.frame().await?;
            match frame.kind {
                DATA if frame.stream == stream => taken += frame.payload.len(),
                RST_STREAM if frame.stream == stream => return Ok(taken),
                _ => {}
            }
        }
    }

    /// Reads until the connection is closed and returns the code of the last GOAWAY; nothing where
    /// none came, or the connection is not closed in time.
    pub async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        loop {
            match self.frame().await {
                Ok(frame) if frame.kind == GOAWAY => code = frame.code(),
                Ok(_) => {}
                Err(NoFrame::Closed) => return code,
                Err(NoFrame::Late) => return None,
            }
        }
    }
}

impl Frame {
    /// Reads a frame to its end.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Self> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, id @ ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
        stream.read_exact(&mut payload).await?;
        Ok(Self { kind, flags, stream: u32::from_be_bytes(id) & 0x7fff_ffff, payload })
    }

    /// Returns the error code of a `GOAWAY` or `RST_STREAM`.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }
}

/// Tells kind and error code of what ends a stream or a connection.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == GOAWAY { "GOAWAY" } else { "RST_STREAM" };
        write!(f, "{kind} {}", self.code().unwrap_or(u32::MAX))
    }
}

impl fmt::Display for NoFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Late => "no frame in time",
        })
    }
}

/// Reads the status, which comes first: from the static table, or as three digits with or without
/// Huffman codes (RFC 7541, appendices A and B).
fn status(block: &[u8]) -> Option<u16> {
    match block {
        // The size of the table is changed before.
        [0x20..=0x3f, rest @ ..] => status(rest),
        [0x88, ..] => Some(200),
        [0x89, ..] => Some(204),
        [0x8a, ..] => Some(206),
        [0x8b, ..] => Some(304),
        [0x8c, ..] => Some(400),
        [0x8d, ..] => Some(404),
        [0x8e, ..] => Some(500),
        [_, length, text @ ..] => {
            let text = text.get(..usize::from(length & 0x7f))?;
            let is_huffman = length & 0x80 != 0;
            if is_huffman { digits(text) } else { std::str::from_utf8(text).ok()?.parse().ok() }
        }
        _ => None,
    }
}

/// Reads three digits: 0, 1 and 2 have codes of five bits, the others of six, from 25 on.
fn digits(text: &[u8]) -> Option<u16> {
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut take = |count: usize| -> Option<u16> {
        (0..count).try_fold(0, |sum, _| Some(sum * 2 + u16::from(bits.next()?)))
    };
    let mut number = 0;
    for _ in 0..3 {
        let short = take(5)?;
        let digit = if short < 3 { short } else { (short * 2 + take(1)?).checked_sub(22)? };
        number = number * 10 + digit;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404), "after a change of the table's size");
        assert_eq!(status(&[0x08, 3, b'4', b'2', b'9']), Some(429));
        // 5 is 011011, 0 is 00000, 2 is 00010: 0110 1100 0000 0010.
        assert_eq!(status(&[0x08, 0x82, 0x6c, 0x02]), Some(502));
        assert_eq!(status(&[]), None);
        assert_eq!(status(&[0x08, 9, b'4']), None);
    }
}
