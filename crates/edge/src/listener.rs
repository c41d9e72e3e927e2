//! Listening sockets: one per worker and address, all bound before the first connection is taken.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use portway_policy::bundle::ListenerStatus;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// An address with a socket for each worker.
pub(crate) struct Bound {
    /// The address with its real port.
    pub(crate) status: ListenerStatus,
    /// One socket per worker; the system spreads connections over them.
    pub(crate) sockets: Vec<TcpListener>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}", hint(.source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Binds an address once for each worker.
pub(crate) fn bind(address: SocketAddr, tls: bool, workers: usize) -> Result<Bound, BindError> {
    bind_all(address, workers)
        .map(|(address, sockets)| Bound { status: ListenerStatus { address, tls }, sockets })
        .map_err(|source| BindError { address, source })
}

fn bind_all(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Shared ports can be taken by any process of the same user without notice, so the first
    // bind, which does not share, finds out whether another one is there.
    if address.port() != 0 {
        drop(bind_one(address, Sharing::Alone)?);
    }
    let first = bind_one(address, Sharing::Shared)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(bind_one(bound, Sharing::Shared)?);
    }
    Ok((bound, sockets))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Shared,
}

fn bind_one(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Shared)?;
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0` on one port.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if sharing == Sharing::Shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

fn hint(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
    } else if kind == io::ErrorKind::AddrInUse {
        "; another program listens there"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_edge_shares_is_refused() {
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = bind(free, false, 2).unwrap();
        assert_eq!(bound.sockets.len(), 2);
        let again = bind(bound.status.address, false, 1);
        assert!(again.is_err_and(|error| error.source.kind() == io::ErrorKind::AddrInUse));
    }
}
