//! `edge --install`: a machine that has an edge and no manager. Unlike `serve --install` it starts what
//! it writes, for a manager does it over SSH and proves the outcome. What is there as it should be is
//! left as it is; a newer program takes the place of the one that runs without a request being lost,
//! and if it cannot, program and unit are put back.

use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use clap::Parser as _;
use portway_model::node::SshUser;
use serde::Serialize;

use super::system::{System, require_root};
use crate::{
    args::{Cli, Command, Edge, Listeners},
    cmd::serve::install::{
        PROGRAM,
        file::{Planned, State, copy_program, make_folder, program_state},
        units,
    },
    config::{self, Machine},
    exit::{Exit, Failure, Outcome},
    out::Paint,
    session::Session,
};

/// The service.
pub(super) const SERVICE: &str = "portway-edge.service";
/// The group whose members may open the control socket.
const GROUP: &str = "portway-edge";

/// What is done, or would be.
#[derive(Debug, Serialize)]
struct Report {
    steps: Vec<String>,
    done: bool,
}

/// What is to be done.
struct Plan {
    from: Utf8PathBuf,
    program: State,
    files: Vec<(Planned, State)>,
    admit: Option<SshUser>,
    /// Whether the service runs.
    runs: bool,
}

/// What was there before, so that it can be there again.
struct Before {
    program: Option<Utf8PathBuf>,
    unit: Option<String>,
}

/// `portway edge --install`
pub(super) async fn run(session: &Session, args: &Edge) -> Outcome {
    let dry_run = args.setting_up.dry_run;
    System::look()?;
    if !dry_run {
        require_root("edge --install")?;
    }
    let plan = Plan::make(session, args).await?;
    let steps = plan.steps();
    if !dry_run && !steps.is_empty() {
        carry_out(&plan).await?;
    }
    let report = Report { steps, done: !dry_run };
    session.out.show(&report, |paint| describe(&report, paint))?;
    Ok(Exit::Ok)
}

impl Plan {
    async fn make(session: &Session, args: &Edge) -> Result<Self, Failure> {
        let machine = Machine { is_root: true, ..Machine::look() };
        let given = if args.listeners == Listeners::default() {
            earlier(units::EDGE_UNIT.into())?.unwrap_or_default()
        } else {
            args.listeners.clone()
        };
        let listeners = config::settle_edge(&given, &session.paths()?, machine)?;
        let form = args.log_format.unwrap_or_default();
        let mut files = Vec::new();
        for file in units::edge_alone(&listeners, form, PROGRAM.into()) {
            let state = file.state().map_err(|error| cannot("read", &file.path, &error))?;
            files.push((file, state));
        }
        let from = Utf8PathBuf::from_path_buf(std::env::current_exe()?)
            .map_err(|_| Failure::failed("the program lies in a folder without a readable name"))?;
        let program =
            if from == PROGRAM { State::Same } else { program_state(&from, PROGRAM.into())? };
        let admit = args.setting_up.admit.clone().filter(|user| !user.is_root());
        let admit = admit.filter(|user| !is_member(user));
        let runs = System::holds(&["systemctl", "is-active", "--quiet", SERVICE]).await?;
        Ok(Self { from, program, files, admit, runs })
    }

    fn is_other(&self) -> bool {
        self.program != State::Same || self.files.iter().any(|(_, state)| *state != State::Same)
    }

    /// Says what is to be done, in the order in which it is.
    fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        match self.program {
            State::Same => {}
            State::New => steps.push(format!("copy {} to {PROGRAM}", self.from)),
            State::Changed => steps.push(format!("replace {PROGRAM} by {}", self.from)),
        }
        for (file, state) in &self.files {
            match state {
                State::Same => {}
                State::New => steps.push(format!("write {}", file.path)),
                State::Changed => steps.push(format!("change {}", file.path)),
            }
        }
        steps.extend(self.admit.iter().map(|user| format!("add {user} to the group {GROUP}")));
        if !self.runs {
            steps.push(format!("start {SERVICE}, now and at every boot"));
        } else if self.is_other() {
            steps.push(format!("reload {SERVICE}: no request is lost"));
        }
        steps
    }
}

async fn carry_out(plan: &Plan) -> Result<(), Failure> {
    // What is to be out of the edge's sight must be there before the edge is started.
    for folder in units::HIDDEN {
        let folder = Utf8Path::new(folder);
        make_folder(folder).map_err(|error| cannot("make", folder, &error))?;
    }
    let before = Before::keep(plan)?;
    let done = put_and_start(plan).await;
    match done {
        Ok(()) => before.forget(),
        Err(failure) => {
            before.put_back().await?;
            Err(failure)
        }
    }
}

async fn put_and_start(plan: &Plan) -> Result<(), Failure> {
    if plan.program != State::Same {
        let copied = copy_program(&plan.from, PROGRAM.into());
        copied.map_err(|error| cannot("write", PROGRAM.into(), &error))?;
    }
    for (file, _) in plan.files.iter().filter(|(_, state)| *state != State::Same) {
        file.write().map_err(|error| cannot("write", &file.path, &error))?;
    }
    System::must(&["systemd-sysusers", units::EDGE_USER]).await?;
    if let Some(user) = &plan.admit {
        System::must(&["usermod", "-aG", GROUP, user.as_str()]).await?;
    }
    System::must(&["systemctl", "daemon-reload"]).await?;
    if !plan.runs {
        return System::must(&["systemctl", "enable", "--now", SERVICE]).await;
    }
    if plan.is_other() {
        // The one that runs hands over to its successor.
        return System::must(&["systemctl", "reload", SERVICE]).await;
    }
    Ok(())
}

impl Before {
    fn keep(plan: &Plan) -> Result<Self, Failure> {
        let program = Utf8Path::new(PROGRAM);
        let kept = program.with_file_name(".portway-before");
        let program = if plan.program == State::Changed {
            match fs::remove_file(&kept) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot("remove", &kept, &error));
                }
                Ok(()) | Err(_) => {}
            }
            fs::hard_link(program, &kept).map_err(|error| cannot("keep", program, &error))?;
            Some(kept)
        } else {
            None
        };
        let unit = match fs::read_to_string(units::EDGE_UNIT) {
            Ok(unit) => Some(unit),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot("read", units::EDGE_UNIT.into(), &error)),
        };
        Ok(Self { program, unit })
    }

    fn forget(self) -> Result<(), Failure> {
        let Some(kept) = self.program else { return Ok(()) };
        fs::remove_file(&kept).map_err(|error| cannot("remove", &kept, &error))
    }

    /// Puts back what was there: the edge that runs goes on to run, and starts again as it did.
    async fn put_back(self) -> Result<(), Failure> {
        if let Some(kept) = self.program {
            fs::rename(&kept, PROGRAM)
                .map_err(|error| cannot("put back", PROGRAM.into(), &error))?;
        }
        let path = Utf8Path::new(units::EDGE_UNIT);
        if let Some(unit) = self.unit {
            let file = Planned::new(units::EDGE_UNIT, 0o644, unit);
            file.write().map_err(|error| cannot("put back", path, &error))?;
        } else {
            // One that never started is not to be tried for ever.
            System::must(&["systemctl", "disable", "--now", SERVICE]).await?;
            fs::remove_file(path).map_err(|error| cannot("remove", path, &error))?;
        }
        System::must(&["systemctl", "daemon-reload"]).await
    }
}

/// Returns where the edge of an earlier installation listens, so that an upgrade needs no options.
fn earlier(unit: &Utf8Path) -> Result<Option<Listeners>, Failure> {
    let text = match fs::read_to_string(unit) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", unit, &error)),
    };
    let words = text.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let words = words.unwrap_or_default().split_whitespace();
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Edge(edge)) => Ok(Some(edge.listeners)),
        Ok(_) | Err(_) => {
            Err(Failure::failed(format!("{unit} does not say how the edge is started"))
                .help("give --http-port and --https-port"))
        }
    }
}

fn is_member(user: &SshUser) -> bool {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let line = groups.lines().find_map(|line| line.strip_prefix("portway-edge:"));
    let members = line.and_then(|line| line.rsplit(':').next()).unwrap_or_default();
    members.split(',').any(|member| member == user.as_str())
}

pub(super) fn cannot(doing: &str, path: &Utf8Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {doing} {path}")).because(error)
}

fn describe(report: &Report, paint: Paint) -> String {
    if report.steps.is_empty() {
        return "the edge of this program is installed here\n".to_owned();
    }
    let head = if report.done { "Done:" } else { "Would be done:" };
    let steps = report.steps.iter().map(|step| format!("  {step}\n"));
    [format!("{}\n", paint.bold(head))].into_iter().chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_keeps_where_the_edge_listens() {
        let folder = tempfile::tempdir().unwrap();
        let unit = Utf8Path::from_path(folder.path()).unwrap().join("portway-edge.service");
        assert_eq!(earlier(&unit).unwrap(), None);
        let given = Listeners {
            http_port: Some(81),
            https_port: Some(444),
            bind: vec!["127.0.0.1".parse().unwrap()],
            ..Listeners::default()
        };
        let machine = Machine { is_root: true, has_ipv6: true };
        let paths = crate::paths::Paths { data: unit.with_file_name("data") };
        let settled = config::settle_edge(&given, &paths, machine).unwrap();
        let files = units::edge_alone(&settled, crate::args::LogFormat::default(), PROGRAM.into());
        let text = &files.iter().find(|file| file.path == units::EDGE_UNIT).unwrap().content;
        assert!(units::is_alone(text), "{text}");
        fs::write(&unit, text).unwrap();
        assert_eq!(earlier(&unit).unwrap(), Some(given));
        fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
        assert!(earlier(&unit).is_err());
    }
}
