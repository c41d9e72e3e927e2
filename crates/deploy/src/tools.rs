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

/// Prints the first of some paths (from `$2` on) of which something (`$1`) holds.
const FIRST: &str = r#"what=$1
shift
for path; do
  [ "$what" "$path" ] && printf %s "$path" && exit 0
done
exit 1"#;

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
    let paths: Vec<_> =
        SEARCH_PATH.split(':').map(|folder| Utf8Path::new(folder).join(name)).collect();
    first(transport, "-x", &paths).await.map(Option::<&_>::cloned)
}

/// Returns the first of some paths of which something holds, as `test` is asked: `-x`, `-e`.
pub(crate) async fn first<'a, T: Transport>(
    transport: &T,
    what: &str,
    paths: &'a [Utf8PathBuf],
) -> Result<Option<&'a Utf8PathBuf>, TransportError> {
    let words = ["-c", FIRST, "portway", what].into_iter();
    let argv = Argv::new("sh", words.chain(paths.iter().map(|path| path.as_str())))?;
    let output = transport.run(&argv, &[], LOOK).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(paths.iter().find(|path| output.is_success() && path.as_str() == said))
}

async fn is<T: Transport>(
    transport: &T,
    what: &str,
    path: &Utf8Path,
) -> Result<bool, TransportError> {
    let argv = Argv::new("test", [what, path.as_str()])?;
    Ok(transport.run(&argv, &[], LOOK).await?.is_success())
}
