//! Sockets that systemd opened for this process (`sd_listen_fds(3)`), for example because it may not
//! open ports below 1024 itself.

use std::{net::TcpListener, sync::Arc};

use listenfd::ListenFd;

use crate::exit::Failure;

/// Takes the sockets that were given. There are none where nobody gave any.
pub(crate) fn sockets() -> Result<Vec<Arc<TcpListener>>, Failure> {
    let mut given = ListenFd::from_env();
    let wrong = |number: usize| {
        move |error: std::io::Error| {
            Failure::failed(format!("socket {number} that systemd gave cannot be used"))
                .because(&error)
                .help("in the socket unit, write only ListenStream= with an address and a port")
        }
    };
    let mut sockets = Vec::with_capacity(given.len());
    for number in 0..given.len() {
        sockets.extend(given.take_tcp_listener(number).map_err(wrong(number))?.map(Arc::new));
    }
    Ok(sockets)
}
