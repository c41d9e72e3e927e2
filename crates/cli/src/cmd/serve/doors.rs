//! Where the manager listens: the loopback address and the local socket. They are opened once and
//! outlive what answers behind them.

use std::{
    fs::{self, Permissions},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_api::Listeners;
use tracing::warn;

use super::Readers;
use crate::exit::{Exit, Failure};

/// The bytes that a socket's path may have (`sun_path`, unix(7)).
const SOCKET_PATH: usize = 107;

/// Open listeners.
#[derive(Debug)]
pub(super) struct Doors {
    api: SocketAddr,
    tcp: Vec<TcpListener>,
    unix: UnixListener,
    path: Utf8PathBuf,
}

impl Doors {
    /// Opens them. The address of the API may have been opened by systemd already.
    pub(super) fn open(
        api: SocketAddr,
        socket: &Utf8Path,
        readers: Readers,
        given: &[Arc<TcpListener>],
    ) -> Result<Self, Failure> {
        let is_api = |one: &&Arc<TcpListener>| one.local_addr().is_ok_and(|at| at == api);
        let open = || match given.iter().find(is_api) {
            Some(given) => given.try_clone(),
            None => TcpListener::bind(api),
        };
        let first = open().map_err(|error| {
            Failure::new(Exit::Failed, format!("the API cannot listen on {api}"))
                .because(&error)
                .help("choose another address by --api, for example --api 127.0.0.1:8901")
        })?;
        let api = first.local_addr()?;
        let mut tcp = vec![first];
        tcp.extend(twin(api));
        let unix = local(socket, readers)?;
        Ok(Self { api, tcp, unix, path: socket.to_owned() })
    }

    /// Returns where the API really listens: port 0 means any that is free.
    pub(super) fn api(&self) -> SocketAddr {
        self.api
    }

    /// Returns listeners for the API. The same connections arrive on each.
    pub(super) fn listeners(&self) -> Result<Listeners, Failure> {
        let wrong = |error: io::Error| Failure::failed("the API cannot listen").because(&error);
        let mut tcp = Vec::new();
        for listener in &self.tcp {
            let copy = listener.try_clone().map_err(wrong)?;
            copy.set_nonblocking(true).map_err(wrong)?;
            tcp.push(tokio::net::TcpListener::from_std(copy).map_err(wrong)?);
        }
        let copy = self.unix.try_clone().map_err(wrong)?;
        copy.set_nonblocking(true).map_err(wrong)?;
        let unix = tokio::net::UnixListener::from_std(copy).map_err(wrong)?;
        Ok(Listeners { tcp, unix: Some(unix) })
    }

    /// Takes the local socket away, so that nobody waits at it.
    pub(super) fn close(self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// `localhost` means `::1` too, and nobody else should answer there under our name.
fn twin(api: SocketAddr) -> Option<TcpListener> {
    if api.ip() != Ipv4Addr::LOCALHOST {
        return None;
    }
    match TcpListener::bind((Ipv6Addr::LOCALHOST, api.port())) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => None,
        Err(error) => {
            warn!("the API does not listen on [::1]:{}: {error}", api.port());
            None
        }
    }
}

fn local(path: &Utf8Path, readers: Readers) -> Result<UnixListener, Failure> {
    if path.as_str().len() > SOCKET_PATH {
        return Err(Failure::usage(format!("{path} is too long for a socket"))
            .help("the system allows 107 bytes; name a shorter one by --socket or --data"));
    }
    let wrong =
        |error: io::Error| Failure::failed(format!("cannot listen on {path}")).because(&error);
    // A socket on which nobody answers was left by a manager that was killed.
    if UnixStream::connect(path).is_ok() {
        return Err(Failure::new(Exit::Conflict, format!("a manager already listens on {path}")));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Group(group) => {
            chown(path, None, Some(group)).map_err(wrong)?;
            0o660
        }
    };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(wrong)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_is_taken_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("portway.sock");
        drop(UnixListener::bind(&path).unwrap());
        let listener = local(&path, Readers::Owner).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(local(&path, Readers::Owner).unwrap_err().exit, Exit::Conflict);
        drop(listener);
    }

    #[test]
    fn a_path_beyond_the_systems_limit_is_refused_in_words() {
        let path = Utf8PathBuf::from(format!("/tmp/{}", "a".repeat(120)));
        assert_eq!(local(&path, Readers::Owner).unwrap_err().exit, Exit::Usage);
    }
}
