//! Working on an installation as the user to whom it belongs. Root could do it too, but would leave
//! files that the manager cannot use: so root becomes that user first.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    process::{ExitStatus, Stdio},
};

use camino::Utf8Path;
use tokio::process::Command;

use crate::{
    args::Format,
    exit::{Exit, Failure},
    session::Session,
};

/// The user to whom a data folder belongs, who is somebody else than the caller.
#[derive(Debug)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
    name: String,
}

/// What became of a command that ran as the owner.
#[derive(Debug)]
pub(super) struct Done {
    /// How it ended. What went wrong it has said itself.
    pub(super) exit: Exit,
    /// What it printed.
    pub(super) printed: Vec<u8>,
}

impl Owner {
    /// Returns the owner, where root must become another user; nothing where the caller works as
    /// itself. Somebody else than root and the owner is told the command to type.
    pub(super) fn other_than_caller(session: &Session) -> Result<Option<Self>, Failure> {
        let folder = session.paths()?.data;
        let about = match fs::metadata(&folder) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&folder, &error)),
        };
        let caller = rustix::process::geteuid();
        if about.uid() == caller.as_raw() {
            return Ok(None);
        }
        let name = login_of(about.uid())?;
        if caller.is_root() {
            return Ok(Some(Self { uid: about.uid(), gid: about.gid(), name }));
        }
        let typed: Vec<String> =
            std::env::args().skip(1).filter(|word| !word.starts_with("--data")).collect();
        Err(Failure::new(Exit::NotAllowed, format!("{folder} belongs to the user {name}"))
            .help(format!("sudo portway --data {folder} {}", typed.join(" "))))
    }

    /// Runs a command of this program as the owner. It has the caller's terminal.
    pub(super) async fn run(
        &self,
        session: &Session,
        words: &[OsString],
        database: Option<&str>,
    ) -> Result<Done, Failure> {
        session.out.note(&format!("acting as the user {}, who owns the data folder", self.name))?;
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command
            .args(global(session)?)
            .args(words)
            .envs(database.map(|database| ("PORTWAY_DATABASE", database)))
            .uid(self.uid)
            .gid(self.gid)
            .stdout(Stdio::piped())
            .stdin(Stdio::inherit())
            .stderr(Stdio::inherit());
        let ran = async { command.spawn()?.wait_with_output().await };
        let output = ran.await.map_err(|error: io::Error| {
            let program = program.display();
            Failure::failed(format!("cannot run {program} as the user {}", self.name))
                .because(&error)
                .help(format!("the user {} must be able to read and run the program", self.name))
        })?;
        Ok(Done { exit: exit_of(output.status), printed: output.stdout })
    }

    /// Puts a copy of a file where the owner alone can read it. It is gone when it is dropped.
    pub(super) fn lend(&self, file: &Utf8Path) -> Result<tempfile::NamedTempFile, Failure> {
        let lend = || {
            let mut source = fs::File::open(file)?;
            let mut copy = tempfile::NamedTempFile::new()?;
            io::copy(&mut source, copy.as_file_mut())?;
            std::os::unix::fs::chown(copy.path(), Some(self.uid), Some(self.gid))?;
            Ok(copy)
        };
        lend().map_err(|error: io::Error| {
            Failure::failed(format!("cannot read {file}")).because(&error)
        })
    }
}

fn global(session: &Session) -> Result<Vec<OsString>, Failure> {
    let global = session.global();
    let mut words: Vec<OsString> =
        vec!["--data".into(), session.paths()?.data.into_string().into()];
    words.extend(global.socket.iter().map(|socket| format!("--socket={socket}").into()));
    words.push(match global.output {
        Format::Table => "--output=table".into(),
        Format::Json => "--output=json".into(),
    });
    words.extend(global.quiet.then(|| "--quiet".into()));
    words.extend(global.no_color.then(|| "--no-color".into()));
    Ok(words)
}

fn exit_of(status: ExitStatus) -> Exit {
    let is_it = |exit: &Exit| status.code() == Some(i32::from(exit.code()));
    Exit::ALL.into_iter().find(is_it).unwrap_or(Exit::Failed)
}

/// Returns the name of a user, or the number where it has none (passwd(5)).
fn login_of(uid: u32) -> Result<String, Failure> {
    let path = Utf8Path::new("/etc/passwd");
    let passwd = fs::read_to_string(path).map_err(|error| unusable(path, &error))?;
    Ok(login_in(&passwd, uid).map_or_else(|| uid.to_string(), str::to_owned))
}

fn login_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid)).then_some(name)
    })
}

fn unusable(path: &Utf8Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot look at {path}"))
        .because(error)
        .help("run it as root or as the manager's user")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_user_is_known_by_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nportway:x:990:990::/var/lib/portway:/bin/false\n";
        assert_eq!(login_in(passwd, 990), Some("portway"));
        assert_eq!(login_in(passwd, 99), None);
    }

    #[test]
    fn how_it_ended_is_passed_on() {
        assert_eq!(exit_of(ExitStatus::from_raw(6 << 8)), Exit::Conflict);
        assert_eq!(exit_of(ExitStatus::from_raw(0)), Exit::Ok);
        assert_eq!(exit_of(ExitStatus::from_raw(9)), Exit::Failed);
    }
}
