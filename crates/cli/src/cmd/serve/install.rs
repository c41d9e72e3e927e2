//! `serve --install`: two systemd units under two users. It writes files and says what to run; it
//! starts nothing.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::{
    args::ServeOptions,
    config::Settings,
    exit::{Exit, Failure, Outcome},
    out::{Out, Paint},
    paths::SYSTEM_DATA,
};

/// Where the program is kept, out of reach of those who do not administer the machine.
const PROGRAM: &str = "/usr/local/bin/portway";
/// What the administrator types then.
const NEXT: [&str; 3] = [
    "systemd-sysusers",
    "systemctl daemon-reload",
    "systemctl enable --now portway-edge.service portway.service",
];

/// A file that is written.
#[derive(Debug, PartialEq, Eq)]
struct Planned {
    path: Utf8PathBuf,
    mode: u32,
    content: String,
}

impl Planned {
    fn is_secret(&self) -> bool {
        self.mode == 0o600
    }
}

impl Serialize for Planned {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let content = (!self.is_secret()).then_some(&self.content);
        let mode = format!("{:04o}", self.mode);
        serde_json::json!({ "path": self.path, "mode": mode, "content": content })
            .serialize(serializer)
    }
}

#[derive(Debug, Serialize)]
struct Report {
    files: Vec<Planned>,
    program: Option<Utf8PathBuf>,
    next: [&'static str; 3],
    written: bool,
}

/// `portway serve --install`
pub(super) fn run(out: &Out, given: &ServeOptions, settings: &Settings, dry_run: bool) -> Outcome {
    if !dry_run && !rustix::process::geteuid().is_root() {
        return Err(Failure::new(Exit::NotAllowed, "systemd units are written by root")
            .help("sudo portway serve --install; --dry-run shows what would be written"));
    }
    let program = std::env::current_exe()?;
    let program = (program != Utf8Path::new(PROGRAM)).then_some(program);
    let files = plan(given, settings, PROGRAM.into());
    if !dry_run {
        if let Some(program) = &program {
            let copied = copy_program(program, Utf8Path::new(PROGRAM));
            copied.map_err(|error| {
                Failure::failed(format!("cannot write {PROGRAM}")).because(&error)
            })?;
        }
        for file in &files {
            write(file).map_err(|error| {
                Failure::failed(format!("cannot write {}", file.path)).because(&error)
            })?;
        }
    }
    let program = program.map(|path| Utf8PathBuf::from(path.to_string_lossy().as_ref()));
    let report = Report { files, program, next: NEXT, written: !dry_run };
    out.show(&report, |paint| describe(&report, paint))?;
    Ok(Exit::Ok)
}

/// Returns the files of an installation.
fn plan(given: &ServeOptions, settings: &Settings, program: &Utf8Path) -> Vec<Planned> {
    let planned = |path: &str, mode, content| Planned { path: path.into(), mode, content };
    let mut files = vec![
        planned("/etc/sysusers.d/portway.conf", 0o644, sysusers()),
        planned("/etc/systemd/system/portway-edge.service", 0o644, edge_unit(settings, program)),
        planned("/etc/systemd/system/portway.service", 0o644, manager_unit(settings, program)),
    ];
    // The address can hold a password, and units are readable by everyone.
    if let Some(database) = &given.database {
        let content = format!("PORTWAY_DATABASE={}\n", quoted(database));
        files.push(planned("/etc/portway/manager.env", 0o600, content));
    }
    files
}

fn sysusers() -> String {
    "# Written by `portway serve --install`.\n\
     u portway - \"Portway manager\" /var/lib/portway -\n\
     u portway-edge - \"Portway edge\" /var/lib/portway-edge -\n"
        .to_owned()
}

fn edge_unit(settings: &Settings, program: &Utf8Path) -> String {
    let listeners = listener_arguments(settings);
    format!(
        "# Written by `portway serve --install`.\n\
         [Unit]\n\
         Description=Portway edge: serves sites\n\
         After=network.target nss-lookup.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={program} edge --data /var/lib/portway-edge --state /var/lib/portway-edge/state \
         --log-dir /var/log/portway-edge --control-socket /run/portway-edge/edge.sock{listeners}\n\
         User=portway-edge\n\
         Group=portway-edge\n\
         Restart=always\n\
         RestartSec=200ms\n\
         TimeoutStopSec=40\n\
         StateDirectory=portway-edge\n\
         StateDirectoryMode=0700\n\
         LogsDirectory=portway-edge\n\
         LogsDirectoryMode=0750\n\
         RuntimeDirectory=portway-edge\n\
         RuntimeDirectoryMode=0750\n\
         LimitNOFILE=1048576\n\
         \n\
         AmbientCapabilities=CAP_NET_BIND_SERVICE\n\
         CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n\
         # What the manager keeps is none of the edge's business.\n\
         InaccessiblePaths=-{SYSTEM_DATA} -/etc/portway\n\
         # Sites can be in home folders; they are read, never written.\n\
         ProtectHome=read-only\n\
         ProtectProc=invisible\n\
         {HARDENING}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn manager_unit(settings: &Settings, program: &Utf8Path) -> String {
    let listeners = listener_arguments(settings);
    let api = settings.api;
    format!(
        "# Written by `portway serve --install`.\n\
         [Unit]\n\
         Description=Portway manager: API, console and everything that changes sites\n\
         Wants=portway-edge.service\n\
         After=network.target nss-lookup.target portway-edge.service\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={program} serve --data {SYSTEM_DATA} --api {api} --admin-group portway \
         --edge-socket /run/portway-edge/edge.sock --edge-logs /var/log/portway-edge{listeners}\n\
         EnvironmentFile=-/etc/portway/manager.env\n\
         User=portway\n\
         Group=portway\n\
         # The edge's control socket and the logs of sites belong to the edge's group.\n\
         SupplementaryGroups=portway-edge\n\
         Restart=always\n\
         RestartSec=1\n\
         TimeoutStopSec=40\n\
         StateDirectory=portway\n\
         StateDirectoryMode=0750\n\
         \n\
         CapabilityBoundingSet=\n\
         ProtectHome=yes\n\
         {HARDENING}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// What neither process needs, and therefore does not get (systemd.exec(5)).
const HARDENING: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=no
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027
";

fn listener_arguments(settings: &Settings) -> String {
    let listeners = &settings.listeners;
    let http = listeners.http.first().map(|a| format!(" --http-port {}", a.port()));
    let https = listeners.https.first().map(|a| format!(" --https-port {}", a.port()));
    let public = listeners.public_https_port.map(|port| format!(" --public-https-port {port}"));
    let workers = listeners.workers.map(|workers| format!(" --workers {workers}"));
    let bind = listeners.http.iter().map(|address| format!(" --bind {}", address.ip()));
    http.into_iter().chain(https).chain(public).chain(workers).chain(bind).collect()
}

/// Writes a value as an environment file has it (systemd.exec(5), `EnvironmentFile=`).
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    format!("\"{}\"", escaped.replace('`', "\\`"))
}

fn copy_program(from: &std::path::Path, to: &Utf8Path) -> std::io::Result<()> {
    // A program that runs cannot be written to, but its name can be given to another.
    let fresh = to.with_extension("new");
    fs::copy(from, &fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, to)
}

fn write(file: &Planned) -> std::io::Result<()> {
    if let Some(folder) = file.path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
        fresh.write_all(file.content.as_bytes())?;
        fs::set_permissions(fresh.path(), fs::Permissions::from_mode(file.mode))?;
        fresh.as_file().sync_all()?;
        fresh.persist(&file.path)?;
    }
    Ok(())
}

fn describe(report: &Report, paint: Paint) -> String {
    let copied = report.program.iter().map(|program| {
        let verb = if report.written { "copied" } else { "would copy" };
        format!("{verb} {program} to {PROGRAM}\n")
    });
    let files = report.files.iter().map(|file| {
        if report.written {
            return format!("wrote {}\n", file.path);
        }
        let content = if file.is_secret() { "(not shown)\n" } else { file.content.as_str() };
        format!("{}\n{content}\n", paint.bold(&format!("# {}", file.path)))
    });
    let head = format!("\n{}\n", paint.bold("To start it now and at every boot:"));
    let next = NEXT.iter().map(|command| format!("  {command}\n"));
    let last = "\nThen: sudo portway setup. Members of the group `portway` administer it without \
                sudo.\n";
    copied.chain(files).chain([head]).chain(next).chain([last.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{
        config::{Machine, settle},
        paths::Paths,
    };

    fn files(given: &ServeOptions, program: &Utf8Path) -> Vec<Planned> {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() };
        let machine = Machine { is_root: true, has_ipv6: true };
        plan(given, &settle(given, &paths, machine).unwrap(), program)
    }

    fn content<'a>(files: &'a [Planned], name: &str) -> &'a str {
        &files.iter().find(|file| file.path.ends_with(name)).unwrap().content
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
    fn what_is_planned_is_written_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(folder.path()).unwrap();
        let file = Planned { path: base.join("a/b.env"), mode: 0o600, content: "x\n".to_owned() };
        write(&file).unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "x\n");
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
