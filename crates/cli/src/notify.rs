//! Tells the service manager what becomes of a service (`sd_notify(3)`), where it asked to be told.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IoSlice, Read as _},
    mem::MaybeUninit,
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStrExt as _,
            net::{UnixDatagram, UnixStream},
        },
    },
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use portway_edge::Herald;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tracing::warn;

/// The variable in which systemd names the socket that it listens on.
const SOCKET: &str = "NOTIFY_SOCKET";

/// How long systemd may take to note which process it watches.
const NOTING: Duration = Duration::from_secs(5);

/// Says that requests are answered from now on. Nothing happens where nobody asked.
pub(crate) fn ready() {
    say("READY=1");
}

/// Says that the service is ending. Nothing happens where nobody asked.
pub(crate) fn stopping() {
    say("STOPPING=1");
}

/// Tells systemd of the life of an edge.
#[derive(Debug, Default)]
pub(crate) struct Systemd {
    /// Whether another process is the service now; of this one nothing more is told.
    succeeded: AtomicBool,
}

impl Systemd {
    fn say(&self, text: &str) {
        if !self.succeeded.load(Relaxed) {
            say(text);
        }
    }
}

impl Herald for Systemd {
    fn ready(&self) {
        self.say("READY=1\nSTATUS=serves");
    }

    fn reloading(&self) {
        self.say("RELOADING=1\nSTATUS=another process is to take its place");
    }

    fn succeeded_by(&self, pid: u32) {
        self.say(&format!("MAINPID={pid}"));
        self.succeeded.store(true, Relaxed);
        let Some(socket) = std::env::var_os(SOCKET) else { return };
        // It must not learn of the end of this process before it watches the other one.
        if let Err(error) = wait_until_noted(&socket) {
            warn!("systemd did not confirm that it watches process {pid}: {error}");
        }
    }

    fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=ends the requests in flight");
    }
}

fn say(text: &str) {
    let socket: Option<OsString> = std::env::var_os(SOCKET);
    if let Some(socket) = socket
        && let Err(error) = connect(&socket).and_then(|systemd| systemd.send(text.as_bytes()))
    {
        warn!("systemd could not be told `{}`: {error}", text.escape_default());
    }
}

fn connect(socket: &OsStr) -> io::Result<UnixDatagram> {
    let datagram = UnixDatagram::unbound()?;
    match socket.as_bytes().split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};
            datagram.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        _ => datagram.connect(socket)?,
    }
    Ok(datagram)
}

/// Passes a descriptor, which systemd closes when it has read everything that was said before.
fn wait_until_noted(socket: &OsStr) -> io::Result<()> {
    let systemd = connect(socket)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let fds = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let text = [IoSlice::new(b"BARRIER=1")];
    sendmsg(&systemd, &text, &mut control, SendFlags::NOSIGNAL)?;
    drop(theirs);
    ours.set_read_timeout(Some(NOTING))?;
    ours.read(&mut [0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_hears_what_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        connect(path.as_os_str()).unwrap().send(b"READY=1").unwrap();
        let mut heard = [0; 64];
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
        drop(systemd);
        assert!(connect(path.as_os_str()).is_err(), "nobody listens any more");
    }

    #[test]
    fn it_is_waited_until_the_service_manager_has_read_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let waiting = std::thread::spawn(move || wait_until_noted(path.as_os_str()));
        let mut heard = [0; 64];
        // The descriptor that came along is closed here, because nobody takes it.
        let length = systemd.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"BARRIER=1");
        waiting.join().unwrap().unwrap();
    }
}
