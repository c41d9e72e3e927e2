//! Tells the service manager that a service is ready (`sd_notify(3)`), where it asked to be told.

use std::{
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt as _, net::UnixDatagram},
};

use tracing::warn;

/// The variable in which systemd names the socket that it listens on.
const SOCKET: &str = "NOTIFY_SOCKET";
/// What it is told.
const READY: &[u8] = b"READY=1";

/// Says that requests are answered from now on. Nothing happens where nobody asked.
pub(crate) fn ready() {
    if let Some(socket) = std::env::var_os(SOCKET)
        && let Err(error) = tell(&socket)
    {
        warn!("systemd could not be told that the service is ready: {error}");
    }
}

fn tell(socket: &OsStr) -> io::Result<()> {
    let datagram = UnixDatagram::unbound()?;
    match socket.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};
            datagram.send_to_addr(READY, &SocketAddr::from_abstract_name(name)?)?;
        }
        _ => {
            datagram.send_to(READY, socket)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_hears_that_a_service_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        tell(path.as_os_str()).unwrap();
        let mut heard = [0; 64];
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], READY);
        drop(systemd);
        assert!(tell(path.as_os_str()).is_err(), "nobody listens any more");
    }
}
