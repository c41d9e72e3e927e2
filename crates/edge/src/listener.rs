//! Listening sockets: one per worker and address, all bound before the first connection is taken,
//! or given by whoever had them before: an edge that is succeeded, or systemd.
//!
//! A socket that is closed takes the connections that wait at it along. So every socket that was
//! given is accepted from, however many workers there are.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    time::Duration,
};

use portway_policy::bundle::ListenerStatus;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// When a connection on which nothing is heard is asked whether the client is there, how often, and
/// how many questions without an answer end it. An idle tunnel is open for as long as both sides
/// are; one whose client vanished would be open for ever.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// An address with its sockets.
pub(crate) struct Bound {
    /// The address with its real port.
    pub(crate) status: ListenerStatus,
    /// Different sockets, as a rule one per worker; the system spreads connections over them.
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

/// Sockets that somebody else opened, by address.
#[derive(Default)]
pub(crate) struct Given(Vec<GivenAddress>);

struct GivenAddress {
    address: SocketAddr,
    /// What was spoken on it; nothing where that is not known.
    tls: Option<bool>,
    sockets: Vec<TcpListener>,
}

impl Given {
    /// Adds the sockets of an edge that is succeeded.
    pub(crate) fn put(&mut self, status: &ListenerStatus, sockets: Vec<TcpListener>) {
        let (address, tls) = (status.address, Some(status.tls));
        self.0.push(GivenAddress { address, tls, sockets });
    }

    /// Adds a socket of which nothing else is known.
    pub(crate) fn add(&mut self, socket: TcpListener) -> Result<(), BindError> {
        let unknown = |source| BindError { address: SocketAddr::from(([0; 4], 0)), source };
        let address = socket.local_addr().map_err(unknown)?;
        prepare(&socket, address).map_err(|source| BindError { address, source })?;
        match self.0.iter_mut().find(|given| given.address == address && given.tls.is_none()) {
            Some(given) => given.sockets.push(socket),
            None => self.0.push(GivenAddress { address, tls: None, sockets: vec![socket] }),
        }
        Ok(())
    }

    /// Takes the sockets of an address; port 0 stands for any.
    fn take(&mut self, wanted: SocketAddr, tls: bool) -> Option<GivenAddress> {
        let same = |given: &GivenAddress| given.address == wanted;
        let any = |given: &GivenAddress| {
            wanted.port() == 0 && given.address.ip() == wanted.ip() && given.tls == Some(tls)
        };
        let place = self.0.iter().position(same).or_else(|| self.0.iter().position(any))?;
        Some(self.0.swap_remove(place))
    }

    /// Returns the addresses that nobody took.
    pub(crate) fn left(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|given| given.address).collect()
    }
}

/// Makes a socket of systemd like our own. One that takes IPv4 connections for an IPv6 address
/// stands in the way of a socket for IPv4.
fn prepare(socket: &TcpListener, address: SocketAddr) -> io::Result<()> {
    let about = SockRef::from(socket);
    if !about.is_listener()? {
        let why = "the socket that was given for it does not listen";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if address.ip() == IpAddr::from([0_u16; 8]) && !about.only_v6()? {
        let why = "the socket that was given for it takes IPv4 as well; \
                   write BindIPv6Only=ipv6-only into its unit, and name the IPv4 address by itself";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    socket.set_nonblocking(true)
}

/// Listens on an address, by the sockets that were given for it, or else by a new one for each
/// worker.
pub(crate) fn bind(
    address: SocketAddr,
    tls: bool,
    workers: usize,
    given: &mut Given,
) -> Result<Bound, BindError> {
    let bound = if let Some(GivenAddress { address, mut sockets, .. }) = given.take(address, tls) {
        complete(address, &mut sockets, workers);
        Bound { status: ListenerStatus { address, tls }, sockets }
    } else {
        bind_all(address, workers)
            .map(|(address, sockets)| Bound { status: ListenerStatus { address, tls }, sockets })
            .map_err(|source| BindError { address, source })?
    };
    for socket in &bound.sockets {
        watch(socket).map_err(|source| BindError { address, source })?;
    }
    Ok(bound)
}

/// Has the system notice clients that vanished. What is set for a listening socket holds for every
/// connection that it takes.
fn watch(socket: &TcpListener) -> io::Result<()> {
    let (first, then, questions) = KEEPALIVE;
    let keepalive =
        TcpKeepalive::new().with_time(first).with_interval(then).with_retries(questions);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Adds sockets until each worker has one of its own, where the system lets them share the address.
/// Where it does not, workers share a socket.
fn complete(address: SocketAddr, sockets: &mut Vec<TcpListener>, workers: usize) {
    let shares =
        sockets.first().is_some_and(|one| SockRef::from(one).reuse_port().unwrap_or(false));
    while shares && sockets.len() < workers {
        match bind_one(address, Sharing::Shared) {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                tracing::debug!(%address, %error, "workers share the sockets that were given");
                return;
            }
        }
    }
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
        let bound = bind(free, false, 2, &mut Given::default()).unwrap();
        assert_eq!(bound.sockets.len(), 2);
        let again = bind(bound.status.address, false, 1, &mut Given::default());
        assert!(again.is_err_and(|error| error.source.kind() == io::ErrorKind::AddrInUse));
    }

    #[test]
    fn clients_that_vanish_are_noticed_on_connections_of_every_socket() {
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut given = Given::default();
        let own = bind(free, false, 1, &mut given).unwrap();
        given.put(&own.status, own.sockets);
        let bound = bind(free, false, 1, &mut given).unwrap();
        bound.sockets[0].set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(bound.status.address).unwrap();
        let (taken, _) = bound.sockets[0].accept().unwrap();
        let taken = SockRef::from(&taken);
        assert!(taken.keepalive().unwrap());
        assert_eq!(taken.tcp_keepalive_time().unwrap(), KEEPALIVE.0);
    }

    #[test]
    fn sockets_that_are_given_are_all_used_and_completed() {
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let bound = bind(free, true, 2, &mut Given::default()).unwrap();
        let status = bound.status.clone();
        let mut given = Given::default();
        given.put(&status, bound.sockets);
        assert!(given.take(free, false).is_none(), "it spoke TLS");
        let more = bind(status.address, true, 3, &mut given).unwrap();
        assert_eq!((more.sockets.len(), &more.status), (3, &status));
        let mut given = Given::default();
        given.put(&status, more.sockets);
        assert_eq!(bind(free, true, 1, &mut given).unwrap().sockets.len(), 3, "none is closed");
        assert_eq!(given.left(), []);
    }

    #[test]
    fn a_socket_that_takes_both_families_is_refused_with_the_remedy() {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        socket.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(1).unwrap();
        let refused = Given::default().add(socket.into()).unwrap_err();
        assert!(refused.source.to_string().contains("BindIPv6Only"), "{}", refused.source);
    }
}
