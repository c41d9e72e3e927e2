//! The suite on this machine, and what only this machine has.

use std::time::Duration;

use camino::Utf8PathBuf;
use portway_transport::{Argv, Local, SEARCH_PATH, Target, Transport as _, TransportError};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
};

use crate::conformance::{Place, conformance};

struct Here {
    transport: Local,
    dir: Utf8PathBuf,
    _folder: TempDir,
}

impl Place for Here {
    type Transport = Local;

    async fn begin(_test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
        Some(Self { transport: Local::new(), dir, _folder: folder })
    }

    fn transport(&self) -> &Local {
        &self.transport
    }

    fn dir(&self) -> &camino::Utf8Path {
        &self.dir
    }
}

conformance!(super::Here);

#[tokio::test]
async fn nothing_of_the_manager_s_environment_reaches_a_command() {
    let argv = Argv::new("env", [""; 0]).unwrap();

    let output = Local::new().run(&argv, b"", Duration::from_secs(10)).await.unwrap();

    let mut lines = output.stdout_text().lines().map(str::to_owned).collect::<Vec<_>>();
    lines.sort();
    assert_eq!(lines, ["LC_ALL=C".to_owned(), format!("PATH={SEARCH_PATH}")]);
}

#[tokio::test]
async fn ports_and_sockets_of_this_machine_are_dialled() {
    let here = Here::begin("").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unix = UnixListener::bind(here.dir.join("socket")).unwrap();
    let port = Target::loopback(tcp.local_addr().unwrap().port());
    let socket = Target::Unix(here.dir.join("socket"));

    let mut near = here.transport.dial(&port).await.unwrap();
    let mut far = tcp.accept().await.unwrap().0;
    near.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    far.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");

    let mut near = here.transport.dial(&socket).await.unwrap();
    let mut far = unix.accept().await.unwrap().0;
    far.write_all(b"pong").await.unwrap();
    near.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"pong");
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_refuses() {
    let here = Here::begin("").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = Target::loopback(listener.local_addr().unwrap().port());
    drop(listener);

    let refused = here.transport.dial(&free).await;

    assert!(matches!(refused, Err(TransportError::Refused { .. })));
}
