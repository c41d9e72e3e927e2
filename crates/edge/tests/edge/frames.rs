//! Connections to an edge on which the frames of HTTP/2 are written by hand.

use std::net::SocketAddr;

use portway_testkit::{ca::TestCa, frames::client};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support;

pub(crate) use portway_testkit::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame, settings_payload,
};

/// A connection on which nothing happens by itself.
pub(crate) type Client = client::Client<TlsStream<TcpStream>>;

/// Makes a connection on which nothing was said.
pub(crate) async fn silent(address: SocketAddr, ca: &TestCa, host: &str) -> Client {
    Client::silent(support::tls(address, ca, host, &["h2"]).await.unwrap(), host)
}

/// Makes a connection with these settings.
pub(crate) async fn client(
    address: SocketAddr,
    ca: &TestCa,
    host: &str,
    settings: &[(u16, u32)],
) -> Client {
    let mut client = silent(address, ca, host).await;
    client.greet(settings).await.expect("the edge speaks HTTP/2");
    client
}
