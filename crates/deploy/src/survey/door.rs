//! Whether an edge's control socket can be opened by whoever logs in. That nothing answers there is
//! found out by asking; why it cannot be asked is seen here.

use camino::Utf8Path;
use portway_transport::Transport;

use super::{Eye, Seen};

/// What lies where an edge's control socket should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Its folder is missing: no edge was started so.
    NoFolder,
    /// Its folder, or the socket itself, is closed to whoever logs in.
    Closed,
    /// Its folder is there, and no socket: no edge runs.
    NoSocket,
    /// Something is there that can be opened.
    There,
}

pub(super) async fn see<T: Transport>(eye: &Eye<'_, T>, socket: &Utf8Path) -> Seen<Door> {
    let folder = socket.parent().unwrap_or(Utf8Path::new("/"));
    if !eye.holds(&["test", "-d", folder.as_str()]).await? {
        return Ok(Door::NoFolder);
    }
    if !eye.holds(&["test", "-x", folder.as_str()]).await? {
        return Ok(Door::Closed);
    }
    if !eye.is_there(socket).await? {
        return Ok(Door::NoSocket);
    }
    Ok(if eye.is_writable(socket).await? { Door::There } else { Door::Closed })
}
