//! What stands before an application that is told by the PROXY protocol who asks.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use portway_model::site::ProxyProtocol;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// The length of an announcement of version 2 over IPv4.
const BINARY: usize = 28;

/// Passes everything on to an application but what the PROXY protocol begins connections with,
/// which is written down.
pub struct Announced {
    address: SocketAddr,
    heard: Heard,
    task: JoinHandle<()>,
}

type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

impl Announced {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(version: ProxyProtocol, application: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let heard = Heard::default();
        let all = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, version, application, Arc::clone(&all)));
            }
        });
        Ok(Self { address, heard, task })
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what each connection began with, in the order of their arrival.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut stream: TcpStream,
    version: ProxyProtocol,
    application: SocketAddr,
    heard: Heard,
) -> io::Result<()> {
    let beginning = announcement(&mut stream, version).await?;
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(beginning);
    let mut behind = TcpStream::connect(application).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut behind).await?;
    Ok(())
}

async fn announcement(stream: &mut TcpStream, version: ProxyProtocol) -> io::Result<Vec<u8>> {
    let mut beginning = Vec::new();
    let is_whole = |bytes: &[u8]| match version {
        ProxyProtocol::V1 => bytes.ends_with(b"\r\n"),
        ProxyProtocol::V2 => bytes.len() == BINARY,
    };
    while !is_whole(&beginning) {
        beginning.push(stream.read_u8().await?);
    }
    Ok(beginning)
}
