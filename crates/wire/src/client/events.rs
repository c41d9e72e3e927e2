//! Server-sent events (WHATWG HTML §9.2), as far as log lines and what else is followed need them.

use std::marker::PhantomData;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::{ClientError, Connection};
use crate::logs::LogLine;

/// The most bytes that one event may have; a log line is far below.
const MAX_EVENT: usize = 1 << 20;

/// Log lines as they are written.
pub type LogStream = EventStream<LogLine>;

/// Things as they are sent.
pub struct EventStream<T> {
    body: Incoming,
    events: EventReader,
    what: &'static str,
    _connection: Connection,
    _thing: PhantomData<fn() -> T>,
}

/// Cuts bytes into events.
#[derive(Debug, Default)]
struct EventReader {
    pending: BytesMut,
    data: Option<String>,
}

impl<T> EventStream<T> {
    pub(super) fn new(body: Incoming, connection: Connection, what: &'static str) -> Self {
        let events = EventReader::default();
        Self { body, events, what, _connection: connection, _thing: PhantomData }
    }
}

impl<T: DeserializeOwned> EventStream<T> {
    /// Returns the next thing, or nothing when the manager has ended the stream. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(data) = self.events.next()? {
                let path = self.what.to_owned();
                return serde_json::from_str(&data)
                    .map(Some)
                    .map_err(|source| ClientError::Decode { path, source });
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame =
                frame.map_err(|source| ClientError::Interrupted { source: Box::new(source) })?;
            if let Ok(data) = frame.into_data() {
                self.events.pending.extend_from_slice(&data);
            }
        }
    }
}

impl EventReader {
    /// Returns the data of the next whole event among the bytes so far.
    fn next(&mut self) -> Result<Option<String>, ClientError> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                match self.data.take() {
                    Some(data) => return Ok(Some(data)),
                    None => continue,
                }
            }
            self.take(&line);
            self.bound()?;
        }
        self.bound()?;
        Ok(None)
    }

    fn bound(&self) -> Result<(), ClientError> {
        let data = self.data.as_ref().map_or(0, String::len);
        if self.pending.len() + data > MAX_EVENT { Err(ClientError::TooLong) } else { Ok(()) }
    }

    fn line(&mut self) -> Option<String> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let line = self.pending.split_to(end + 1);
        let text = String::from_utf8_lossy(&line);
        Some(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    fn take(&mut self, line: &str) {
        // A line that begins with a colon is a comment; it keeps the connection alive.
        let Some((field, value)) = line.split_once(':') else { return };
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
    }
}

impl<T> std::fmt::Debug for EventStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&str]) -> Vec<String> {
        let mut reader = EventReader::default();
        let mut found = Vec::new();
        for chunk in chunks {
            reader.pending.extend_from_slice(chunk.as_bytes());
            while let Some(event) = reader.next().unwrap() {
                found.push(event);
            }
        }
        found
    }

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text = ": hello\n\nevent: line\ndata: {\"a\":\ndata: 1}\nid: 7\n\ndata:x\r\n\r\n";
        let whole = events(&[text]);
        assert_eq!(whole, ["{\"a\":\n1}", "x"]);
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(events(&[a, b]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut reader = EventReader::default();
        reader.pending.extend_from_slice(&vec![b'a'; MAX_EVENT + 1]);
        assert!(matches!(reader.next(), Err(ClientError::TooLong)));
    }
}
