//! An application that answers with the head of the request it got.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

/// Starts an application on a free port. It ends with the process.
pub(crate) fn start() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut head = String::new();
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            is_chunked |= lower.starts_with("transfer-encoding:");
            head.push_str(&line);
        }
        if is_chunked && !read_chunks(&mut reader)? {
            return Ok(());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = format!("{head}body={length}\r\n");
        let is_head = head.starts_with("HEAD ");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: origin\r\nX-Origin: yes\r\n\
             Content-Length: {}\r\n\r\n{}",
            answer.len(),
            if is_head { "" } else { &answer }
        )?;
    }
}

/// Reads a body in chunks. Returns whether it came to its end.
fn read_chunks(reader: &mut BufReader<TcpStream>) -> std::io::Result<bool> {
    let mut is_last = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if is_last && line.trim().is_empty() {
            return Ok(true);
        }
        is_last |= line.trim() == "0";
    }
}
