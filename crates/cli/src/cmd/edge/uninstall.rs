//! `edge --uninstall`: stops the edge that `edge --install` put here, and removes it with its sites and
//! its logs. A machine with a manager is left as it is.

use std::{fs, io};

use camino::Utf8Path;
use serde::Serialize;

use super::{
    install::{SERVICE, cannot},
    system::{System, require_root},
};
use crate::{
    cmd::serve::install::{PROGRAM, units},
    exit::{Exit, Failure, Outcome},
    session::Session,
};

/// What only an edge alone has on its machine.
const FOLDERS: [&str; 2] = ["/var/lib/portway-edge", "/var/log/portway-edge"];
/// Its files; the unit last, by which it is known that there is something to remove.
const FILES: [&str; 4] = [PROGRAM, "/etc/portway/edge.env", units::EDGE_USER, units::EDGE_UNIT];

#[derive(Debug, Serialize)]
struct Report {
    removed: bool,
}

/// `portway edge --uninstall`
pub(super) async fn run(session: &Session) -> Outcome {
    System::look()?;
    require_root("edge --uninstall")?;
    let removed = match fs::read_to_string(units::EDGE_UNIT) {
        Ok(unit) if units::is_alone(&unit) => remove().await.map(|()| true)?,
        Ok(_) => {
            return Err(Failure::failed(format!(
                "{} is not of `edge --install`",
                units::EDGE_UNIT
            ))
            .help("docs/operations.md says how a whole installation is removed"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(cannot("read", units::EDGE_UNIT.into(), &error)),
    };
    let report = Report { removed };
    let text =
        if removed { "the edge is stopped and removed\n" } else { "no edge is installed here\n" };
    session.out.show(&report, |_| text.to_owned())?;
    Ok(Exit::Ok)
}

async fn remove() -> Result<(), Failure> {
    System::must(&["systemctl", "disable", "--now", SERVICE]).await?;
    for path in FOLDERS.map(Utf8Path::new) {
        gone(fs::remove_dir_all(path)).map_err(|error| cannot("remove", path, &error))?;
    }
    for path in FILES.map(Utf8Path::new) {
        gone(fs::remove_file(path)).map_err(|error| cannot("remove", path, &error))?;
    }
    System::must(&["systemctl", "daemon-reload"]).await?;
    System::must(&["userdel", "portway-edge"]).await
}

fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
