//! A client that sends exactly what it is told.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Returns the value of a header, of the last one where there are several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().rev().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Sends a request with this head and returns the answer.
pub(crate) fn send(port: u16, head: &str, body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{head}\r\n{length}Connection: close\r\n\r\n{body}")?;
    let mut bytes = Vec::new();
    // An engine that refuses a body may reset the connection after its answer.
    let ended = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        ended?;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Asks for a path of a host.
pub(crate) fn get(port: u16, host: &str, path: &str) -> Answer {
    send(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}"), "").unwrap()
}
