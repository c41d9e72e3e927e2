//! Whether an engine's program came as a package, and in which version.

use camino::Utf8PathBuf;
use portway_engine::{Family, OsRelease};
use portway_transport::Transport;

use super::{Eye, LOOK, Seen, command, words};
use crate::step::printed;

/// Returns the version of the package that owns the program; nothing where none does.
pub(super) async fn see<T: Transport>(
    eye: &Eye<'_, T>,
    system: Option<&OsRelease>,
    program: Option<&Utf8PathBuf>,
) -> Seen<Option<String>> {
    let (Some(system), Some(program)) = (system, program) else {
        return Err("system or program are not known".to_owned());
    };
    let Some(family) = system.family() else {
        return Err(format!("it is not known how {} installs packages", system.name));
    };
    let program = program.as_str();
    match family {
        Family::Debian => {
            let Some(said) = said(eye, &["dpkg-query", "-S", program]).await? else {
                return Ok(None);
            };
            let Some((package, _)) = said.split_once(": ") else { return Ok(None) };
            said_of(eye, &["dpkg-query", "-W", "-f", "${Version}", package]).await
        }
        Family::RedHat => {
            said_of(eye, &["rpm", "-q", "-f", "--qf", "%{VERSION}-%{RELEASE}", program]).await
        }
        Family::Alpine => {
            let said = said(eye, &["apk", "info", "-W", program]).await?;
            Ok(said.and_then(|said| Some(said.split_once(" is owned by ")?.1.trim().to_owned())))
        }
    }
}

async fn said_of<T: Transport>(eye: &Eye<'_, T>, argv: &[&str]) -> Seen<Option<String>> {
    Ok(said(eye, argv).await?.map(|said| said.trim().to_owned()).filter(|said| !said.is_empty()))
}

/// Returns what a command prints that fails where there is nothing to be told.
async fn said<T: Transport>(eye: &Eye<'_, T>, argv: &[&str]) -> Seen<Option<String>> {
    let command = command(argv, portway_engine::Rights::Login, LOOK);
    let output = eye.steps.run(&command).await.map_err(words)?;
    Ok(output.is_success().then(|| printed(&output)))
}
