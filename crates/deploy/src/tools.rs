//! Which of the programs are on a node that look after others.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::Supervisor;
use portway_transport::{Argv, SEARCH_PATH, Transport, TransportError};

/// How long a look at one file may take.
const LOOK: Duration = Duration::from_secs(10);
/// The folder that is there while systemd is the first process, as `sd_booted(3)` says.
const SYSTEMD: &str = "/run/systemd/system";
/// The folder that is there while `OpenRC` looks after services.
const OPENRC: &str = "/run/openrc";

/// Returns what looks after services on a node.
pub(crate) async fn supervisor<T: Transport>(transport: &T) -> Result<Supervisor, TransportError> {
    if is(transport, "-d", Utf8Path::new(SYSTEMD)).await?
        && let Some(systemctl) = program(transport, "systemctl").await?
    {
        return Ok(Supervisor::Systemd(systemctl));
    }
    if is(transport, "-d", Utf8Path::new(OPENRC)).await?
        && let Some(rc_service) = program(transport, "rc-service").await?
    {
        return Ok(Supervisor::OpenRc(rc_service));
    }
    Ok(Supervisor::Nobody)
}

/// Returns where a program is on a node.
pub(crate) async fn program<T: Transport>(
    transport: &T,
    name: &str,
) -> Result<Option<Utf8PathBuf>, TransportError> {
    for folder in SEARCH_PATH.split(':') {
        let path = Utf8Path::new(folder).join(name);
        if is(transport, "-x", &path).await? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn is<T: Transport>(
    transport: &T,
    what: &str,
    path: &Utf8Path,
) -> Result<bool, TransportError> {
    let argv = Argv::new("test", [what, path.as_str()])?;
    Ok(transport.run(&argv, &[], LOOK).await?.is_success())
}
