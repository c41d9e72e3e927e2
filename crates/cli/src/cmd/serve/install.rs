//! `serve --install`: two systemd units under two users. It writes files and says what to run; it
//! starts nothing. What is there as it should be is left as it is, so that the same command serves
//! an upgrade.

mod earlier;
pub(in crate::cmd) mod file;
pub(in crate::cmd) mod units;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use self::file::{Planned, State};
use crate::{
    args::ServeOptions,
    config::{self, Machine},
    exit::{Exit, Failure, Outcome},
    out::Paint,
    paths::{Paths, SYSTEM_DATA},
    session::Session,
};

/// Where the program is kept, out of reach of those who do not administer the machine.
pub(in crate::cmd) const PROGRAM: &str = "/usr/local/bin/portway";

/// What is done, or would be.
#[derive(Debug, Serialize)]
struct Report {
    program: Program,
    files: Vec<ReportedFile>,
    next: Vec<&'static str>,
    written: bool,
}

#[derive(Debug, Serialize)]
struct Program {
    from: Utf8PathBuf,
    to: &'static str,
    state: State,
}

#[derive(Debug, Serialize)]
struct ReportedFile {
    path: Utf8PathBuf,
    mode: String,
    /// Nothing where the content is a secret.
    content: Option<String>,
    state: State,
}

/// `portway serve --install`
pub(super) fn run(session: &Session, given: &ServeOptions, dry_run: bool) -> Outcome {
    let paths = session.paths()?;
    refuse_what_units_settle(given, &paths, dry_run)?;
    let earlier = earlier::options(units::MANAGER_UNIT.into())?;
    let options = earlier::complete(given, earlier);
    // The services are told ports and addresses, because their users are not root.
    let machine = Machine { is_root: true, ..Machine::look() };
    let settings = config::settle(&options, &paths, machine)?;
    let files = units::files(&settings, given.database.as_deref(), PROGRAM.into());
    let program = program()?;
    let report = Report::new(program, &files, dry_run)?;
    if !dry_run {
        carry_out(&report, &files)?;
    }
    session.out.show(&report, |paint| describe(&report, paint))?;
    Ok(Exit::Ok)
}

fn refuse_what_units_settle(
    given: &ServeOptions,
    paths: &Paths,
    dry_run: bool,
) -> Result<(), Failure> {
    if !dry_run && !rustix::process::geteuid().is_root() {
        return Err(Failure::new(Exit::NotAllowed, "systemd units are written by root")
            .help("sudo portway serve --install; --dry-run shows what would be written"));
    }
    if rustix::process::geteuid().is_root() && paths.data != SYSTEM_DATA {
        return Err(Failure::usage(format!("the services keep their data in {SYSTEM_DATA}"))
            .help("leave out --data and PORTWAY_DATA; to move what another folder holds, see \"Backup and restore\""));
    }
    if given.edge_socket.is_some() || given.edge_logs.is_some() {
        return Err(Failure::usage("the units settle where the edge's socket and logs are")
            .help("leave out --edge-socket and --edge-logs"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if given.admin_group.as_ref().is_some_and(|group| !group.chars().all(plain)) {
        return Err(Failure::usage("a group in a unit has letters, digits, `_`, `-` and `.` only"));
    }
    Ok(())
}

fn program() -> Result<Program, Failure> {
    let from = Utf8PathBuf::from_path_buf(std::env::current_exe()?)
        .map_err(|_| Failure::failed("the program lies in a folder without a readable name"))?;
    let to = Utf8Path::new(PROGRAM);
    let state = if from == to { State::Same } else { file::program_state(&from, to)? };
    Ok(Program { from, to: PROGRAM, state })
}

fn carry_out(report: &Report, files: &[Planned]) -> Result<(), Failure> {
    // What is to be out of the edge's sight must be there before the edge is started: systemd
    // hides no folder that comes later. It gives the folder to the manager's user by itself.
    for folder in units::HIDDEN {
        file::make_folder(folder.into()).map_err(|error| cannot_write(folder.into(), &error))?;
    }
    if report.program.state != State::Same {
        let copied = file::copy_program(&report.program.from, PROGRAM.into());
        copied.map_err(|error| cannot_write(PROGRAM.into(), &error))?;
    }
    for (file, reported) in files.iter().zip(&report.files) {
        if reported.state != State::Same {
            file.write().map_err(|error| cannot_write(&file.path, &error))?;
        }
    }
    Ok(())
}

fn cannot_write(path: &Utf8Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write {path}")).because(error)
}

impl Report {
    fn new(program: Program, files: &[Planned], dry_run: bool) -> Result<Self, Failure> {
        let reported: Result<Vec<_>, Failure> = files.iter().map(ReportedFile::of).collect();
        let mut report = Self { program, files: reported?, next: Vec::new(), written: !dry_run };
        report.next = report.next_steps();
        Ok(report)
    }

    /// Returns what the administrator types then.
    fn next_steps(&self) -> Vec<&'static str> {
        let state = |path: &str| {
            let file = self.files.iter().find(|file| file.path == path);
            file.map_or(State::Same, |file| file.state)
        };
        if state(units::MANAGER_UNIT) == State::New {
            return vec![
                "systemd-sysusers",
                "systemctl daemon-reload",
                "systemctl enable --now portway-edge.service portway.service",
            ];
        }
        let has_changed = |path: &str| state(path) != State::Same;
        let units = has_changed(units::MANAGER_UNIT) || has_changed(units::EDGE_UNIT);
        let edge = self.program.state != State::Same || has_changed(units::EDGE_UNIT);
        let any = edge || self.files.iter().any(|file| file.state != State::Same);
        let steps = [
            (has_changed(units::USERS), "systemd-sysusers"),
            (units, "systemctl daemon-reload"),
            (any, "systemctl restart portway.service"),
            (edge, "systemctl reload portway-edge.service"),
        ];
        steps.into_iter().filter_map(|(needed, step)| needed.then_some(step)).collect()
    }
}

impl ReportedFile {
    fn of(file: &Planned) -> Result<Self, Failure> {
        let state = file.state().map_err(|error| {
            Failure::failed(format!("cannot read {}", file.path)).because(&error)
        })?;
        Ok(Self {
            path: file.path.clone(),
            mode: format!("{:04o}", file.mode),
            content: (!file.is_secret()).then(|| file.content.clone()),
            state,
        })
    }
}

fn describe(report: &Report, paint: Paint) -> String {
    let Program { from, to, state } = &report.program;
    let copied = match (state, report.written) {
        (State::Same, _) => format!("{to} is this program\n"),
        (State::New | State::Changed, true) => format!("copied {from} to {to}\n"),
        (State::New | State::Changed, false) => format!("would copy {from} to {to}\n"),
    };
    let files = report.files.iter().map(|file| describe_file(file, report.written, paint));
    [copied].into_iter().chain(files).chain([describe_next(report, paint)]).collect()
}

fn describe_file(file: &ReportedFile, written: bool, paint: Paint) -> String {
    let path = &file.path;
    match (file.state, written) {
        (State::Same, _) => format!("{path} is as it should be\n"),
        (State::New, true) => format!("wrote {path}\n"),
        (State::Changed, true) => format!("changed {path}\n"),
        (State::New | State::Changed, false) => {
            let content = file.content.as_deref().unwrap_or("(not shown)\n");
            format!("{}\n{content}\n", paint.bold(&format!("# {path}")))
        }
    }
}

fn describe_next(report: &Report, paint: Paint) -> String {
    let steps = report.next.iter().map(|step| format!("  {step}\n")).collect::<Vec<_>>().concat();
    let is_new = report.next.iter().any(|step| step.contains("enable"));
    if is_new {
        let head = paint.bold("To start it now and at every boot:");
        return format!(
            "\n{head}\n{steps}\nThen: sudo portway setup. Members of the group for administrators \
             need no sudo: sudo usermod -aG portway NAME\n"
        );
    }
    if steps.is_empty() {
        return "\nNothing has changed.\n".to_owned();
    }
    let head = paint.bold("For it to take effect:");
    format!("\n{head}\n{steps}\nSites are served on meanwhile, and no request is lost.\n")
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::{args::LogFormat, config::settle};

    fn files(given: &ServeOptions, program: &Utf8Path) -> Vec<Planned> {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() };
        let machine = Machine { is_root: true, has_ipv6: true };
        let settings = settle(given, &paths, machine).unwrap();
        units::files(&settings, given.database.as_deref(), program)
    }

    fn content<'a>(files: &'a [Planned], name: &str) -> &'a str {
        &files.iter().find(|file| file.path.file_name() == Some(name)).unwrap().content
    }

    #[test]
    fn the_units_are_as_written_down() {
        let files = files(&ServeOptions::default(), PROGRAM.into());
        let text: Vec<String> =
            files.iter().map(|file| format!("# {}\n{}", file.path, file.content)).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn the_edge_cannot_see_what_the_manager_keeps() {
        let files = files(&ServeOptions::default(), PROGRAM.into());
        let edge = content(&files, "portway-edge.service");
        assert!(edge.contains("InaccessiblePaths=-/var/lib/portway "));
        assert!(edge.contains("User=portway-edge\n"));
        assert!(edge.contains("CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"));
        assert!(content(&files, "portway.service").contains("CapabilityBoundingSet=\n"));
    }

    #[test]
    fn a_password_stands_in_no_unit() {
        let database = Some("postgres://a:se$cret@db/portway".to_owned());
        let given = ServeOptions { database, ..ServeOptions::default() };
        let files = files(&given, PROGRAM.into());
        for file in files.iter().filter(|file| !file.is_secret()) {
            assert!(!file.content.contains("cret"), "{}", file.path);
        }
        let kept = content(&files, "manager.env");
        assert_eq!(kept, "PORTWAY_DATABASE=\"postgres://a:se\\$cret@db/portway\"\n");
    }

    #[test]
    fn options_that_are_given_stand_in_the_units_and_are_found_there_again() {
        let given = ServeOptions {
            listeners: crate::args::Listeners {
                http_port: Some(81),
                https_port: Some(444),
                public_https_port: Some(443),
                bind: vec!["127.0.0.1".parse().unwrap()],
                workers: Some(3),
                name_server: vec!["10.0.0.2:53".parse().unwrap()],
            },
            api: Some("127.0.0.1:8901".parse().unwrap()),
            log_format: Some(LogFormat::Json),
            admin_group: Some("wheel".to_owned()),
            trusted_proxies: ["10.0.0.0/8", "fd00::/8", "cloudflare"]
                .map(|proxy| proxy.parse().unwrap())
                .to_vec(),
            observe_every: Some(30),
            ..ServeOptions::default()
        };
        let files = files(&given, PROGRAM.into());
        let manager = files.iter().find(|file| file.path == units::MANAGER_UNIT).unwrap();
        assert!(manager.content.contains("SupplementaryGroups=portway-edge wheel\n"));
        let edge = content(&files, "portway-edge.service");
        assert!(
            edge.contains(" --bind 127.0.0.1 --name-server 10.0.0.2:53 --log-format json\n"),
            "{edge}"
        );

        let folder = tempfile::tempdir().unwrap();
        let unit = Utf8Path::from_path(folder.path()).unwrap().join("portway.service");
        fs::write(&unit, &manager.content).unwrap();
        let earlier = earlier::options(&unit).unwrap();
        assert_eq!(earlier::complete(&ServeOptions::default(), earlier), given);
    }

    #[test]
    fn systemd_accepts_the_units() {
        // Where systemd is not, nobody installs units.
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", "--recursive-errors=no"]);
        for file in files(&ServeOptions::default(), "/bin/true".into()) {
            let path = folder.path().join(file.path.file_name().unwrap());
            fs::write(&path, &file.content).unwrap();
            if path.extension().is_some_and(|extension| extension == "service") {
                command.arg(path);
            }
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("portway"), "{said}");
    }

    #[test]
    fn only_what_a_change_needs_is_to_be_typed() {
        let next = |program, file: &str, state| {
            let reported = |path: &str| ReportedFile {
                path: path.into(),
                mode: "0644".to_owned(),
                content: None,
                state: if path == file { state } else { State::Same },
            };
            let files = [units::USERS, units::EDGE_UNIT, units::MANAGER_UNIT, "/etc/a.env"];
            let program = Program { from: "/p".into(), to: PROGRAM, state: program };
            let files = files.map(reported).into();
            Report { program, files, next: Vec::new(), written: true }.next_steps().join("; ")
        };
        let (same, changed) = (State::Same, State::Changed);
        assert_eq!(next(same, "", same), "");
        assert!(next(changed, units::MANAGER_UNIT, State::New).contains("enable --now"));
        let both = "systemctl restart portway.service; systemctl reload portway-edge.service";
        assert_eq!(next(changed, "", same), both);
        assert_eq!(next(same, "/etc/a.env", changed), "systemctl restart portway.service");
        let manager = "systemctl daemon-reload; systemctl restart portway.service";
        assert_eq!(next(same, units::MANAGER_UNIT, changed), manager);
    }
}
