//! An engine as a program that lies on the machine already: put in its place, with a configuration where
//! there is none, and a unit by which the machine's first process looks after it.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::EngineKind;
use portway_policy::Digest;

use super::{InstallPlan, InstallStep};
use crate::{Command, Layout, Ports, Rights, Supervisor, service_name};

/// How long a program of some hundred megabytes may take to be copied.
const COPYING: Duration = Duration::from_secs(120);
const SERVICE: Duration = Duration::from_secs(90);

/// What is known of the machine and the program.
#[derive(Clone, Debug)]
pub struct ProgramPlace<'a> {
    /// The engine.
    pub engine: EngineKind,
    /// Where the program lies.
    pub from: &'a Utf8Path,
    /// Its SHA-256.
    pub digest: Digest,
    /// Where files of the node are; the program goes to [`Layout::program`].
    pub layout: &'a Layout,
    /// Where it listens.
    pub ports: &'a Ports,
    /// Who logs in: Portway's files are theirs, keys too, so the engine runs as them.
    pub user: &'a str,
    /// What looks after services.
    pub supervisor: &'a Supervisor,
    /// Whether a program is there already.
    pub is_there: bool,
    /// Whether the engine's own configuration is there already; then it stays as it is.
    pub is_configured: bool,
    /// Whether something looks after the engine already; that stays as it is.
    pub is_looked_after: bool,
}

/// Plans how a program becomes the machine's engine.
pub fn program_plan(place: &ProgramPlace<'_>) -> InstallPlan {
    let target = &place.layout.program;
    let beside = |what: &str| {
        target.with_file_name(format!(".{}-{what}", target.file_name().unwrap_or_default()))
    };
    let (new, old) = (beside("new"), beside("old"));
    let (new, old, at) = (new.as_str(), old.as_str(), target.as_str());
    let mut steps = vec![
        run(COPYING, &["/usr/bin/install", "-m", "0755", place.from.as_str(), new]),
        InstallStep::Prove { path: new.into(), digest: place.digest },
    ];
    if place.is_there {
        steps.push(run(COPYING, &["/bin/cp", "-p", at, old]));
    }
    steps.push(run(COPYING, &["/bin/mv", "-f", new, at]));
    let undo_from = steps.len();
    steps.extend(configured(place));
    steps.extend(looked_after(place));
    InstallPlan {
        by: format!("program {}, SHA-256 {}", place.from, place.digest),
        refresh: None,
        preview: None,
        steps,
        undo: undo(place, old),
        undo_from,
        finish: place
            .is_there
            .then(|| command(COPYING, &["/bin/rm", "-f", old]))
            .into_iter()
            .collect(),
        interrupts: "it is restarted: its connections break, and its sites are gone for a moment",
    }
}

/// Gives the engine a configuration that reads Portway's, where it has none.
fn configured(place: &ProgramPlace<'_>) -> Vec<InstallStep> {
    let layout = place.layout;
    let folder = layout.top_level.parent().unwrap_or(Utf8Path::new("/"));
    match place.engine {
        _ if place.is_configured => Vec::new(),
        EngineKind::Traefik => {
            let mut steps = vec![folder_of(folder, "root")];
            let watched = layout.reached_by.parent().unwrap_or(Utf8Path::new("/"));
            steps.push(folder_of(watched, place.user));
            steps.extend(written(layout, &layout.top_level, traefik_yml(place, watched)));
            steps
        }
        EngineKind::Caddy => {
            let folder = std::iter::once(folder_of(folder, "root"));
            folder.chain(caddyfile(layout, place.ports)).collect()
        }
        EngineKind::Nginx | EngineKind::Edge => Vec::new(),
    }
}

fn traefik_yml(place: &ProgramPlace<'_>, watched: &Utf8Path) -> String {
    let Ports { http, https, probe, .. } = place.ports;
    format!(
        "# Written by `portway node install`. Portway leaves it as it is from now on.\n\
         global: {{checkNewVersion: false, sendAnonymousUsage: false}}\n\
         entryPoints:\n  \
         web: {{address: \":{http}\"}}\n  \
         websecure: {{address: \":{https}\"}}\n  \
         portway: {{address: \"127.0.0.1:{probe}\"}}\n\
         providers:\n  \
         file: {{directory: {watched}, watch: true}}\n\
         metrics: {{prometheus: {{entryPoint: portway}}}}\n"
    )
}

/// Writes a Caddyfile that reads Portway's part, and an empty part: Caddy does not start without.
pub(super) fn caddyfile(layout: &Layout, ports: &Ports) -> Vec<InstallStep> {
    let Ports { http, https, .. } = ports;
    let ports = match (http, https) {
        (80, 443) => String::new(),
        _ => format!("\thttp_port {http}\n\thttps_port {https}\n"),
    };
    let text = format!(
        "# Written by `portway node install`. Portway leaves it as it is from now on.\n\
         {{\n{ports}\tservers {{\n\t\tmetrics\n\t}}\n}}\nimport {}\n",
        layout.reached_by
    );
    let mut steps =
        vec![InstallStep::Stage { path: layout.reached_by.clone(), text: String::new() }];
    steps.extend(written(layout, &layout.top_level, text));
    steps
}

/// Has the machine's first process look after the engine, or start it anew.
fn looked_after(place: &ProgramPlace<'_>) -> Vec<InstallStep> {
    let name = service_name(place.engine);
    match place.supervisor {
        Supervisor::Systemd(systemctl) => {
            let systemctl = systemctl.as_str();
            let unit = format!("{name}.service");
            let mut steps = Vec::new();
            if !place.is_looked_after {
                let path = Utf8PathBuf::from(format!("/etc/systemd/system/{unit}"));
                steps.extend(written(place.layout, &path, systemd_unit(place)));
                steps.push(run(SERVICE, &[systemctl, "daemon-reload"]));
                steps.push(run(SERVICE, &[systemctl, "enable", &unit]));
            }
            steps.push(run(SERVICE, &[systemctl, "restart", &unit]));
            steps
        }
        Supervisor::OpenRc(rc_service) => {
            let mut steps = Vec::new();
            if !place.is_looked_after {
                let path = Utf8PathBuf::from(format!("/etc/init.d/{name}"));
                steps.extend(written(place.layout, &path, openrc_script(place)));
                steps.push(run(SERVICE, &["/bin/chmod", "0755", path.as_str()]));
                steps.push(run(SERVICE, &["/sbin/rc-update", "add", name, "default"]));
            }
            steps.push(run(SERVICE, &[rc_service.as_str(), name, "restart"]));
            steps
        }
        Supervisor::Nobody => Vec::new(),
    }
}

/// Keys are readable by whoever logs in alone, so the engine runs as them, with the one right that
/// ports below 1024 need.
fn systemd_unit(place: &ProgramPlace<'_>) -> String {
    let name = service_name(place.engine);
    let reload = match place.engine {
        EngineKind::Caddy => {
            let (program, config) = (&place.layout.program, &place.layout.top_level);
            format!("ExecReload={program} reload --adapter caddyfile --config {config}\n")
        }
        EngineKind::Traefik | EngineKind::Nginx | EngineKind::Edge => String::new(),
    };
    format!(
        "# Written by `portway node install`.\n\
         [Unit]\nDescription={name}, which serves sites of Portway\n\
         Wants=network-online.target\nAfter=network-online.target\n\n\
         [Service]\nUser={user}\nExecStart={start}\n{reload}\
         Restart=on-failure\nRestartSec=1\nLimitNOFILE=65536\nStateDirectory={name}\n\
         Environment=HOME=/var/lib/{name}\n\
         AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n\
         NoNewPrivileges=yes\nPrivateTmp=yes\nPrivateDevices=yes\nProtectSystem=full\n\
         ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectControlGroups=yes\n\
         RestrictSUIDSGID=yes\nLockPersonality=yes\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        user = place.user,
        start = start(place),
    )
}

fn openrc_script(place: &ProgramPlace<'_>) -> String {
    let name = service_name(place.engine);
    let start = start(place);
    let (program, arguments) = start.split_once(' ').unwrap_or((&start, ""));
    format!(
        "#!/sbin/openrc-run\n# Written by `portway node install`.\n\
         description=\"{name}, which serves sites of Portway\"\n\
         supervisor=supervise-daemon\n\
         command={program}\ncommand_args=\"{arguments}\"\ncommand_user={}\n\
         capabilities=\"^cap_net_bind_service\"\n\n\
         depend() {{\n\tneed net\n\tafter firewall\n}}\n",
        place.user
    )
}

fn start(place: &ProgramPlace<'_>) -> String {
    let (program, config) = (&place.layout.program, &place.layout.top_level);
    match place.engine {
        EngineKind::Caddy => format!("{program} run --adapter caddyfile --config {config}"),
        EngineKind::Traefik | EngineKind::Nginx | EngineKind::Edge => {
            format!("{program} --configFile={config}")
        }
    }
}

/// Puts a file where only root may write: it is written beside, and copied.
fn written(layout: &Layout, path: &Utf8Path, text: String) -> Vec<InstallStep> {
    let staged = layout.home.join("install").join(path.file_name().unwrap_or_default());
    let copy = run(SERVICE, &["/usr/bin/install", "-m", "0644", staged.as_str(), path.as_str()]);
    vec![InstallStep::Stage { path: staged, text }, copy]
}

fn folder_of(path: &Utf8Path, owner: &str) -> InstallStep {
    run(SERVICE, &["/usr/bin/install", "-d", "-m", "0755", "-o", owner, path.as_str()])
}

/// Puts the program back that was there, or takes away all that came.
fn undo(place: &ProgramPlace<'_>, old: &str) -> Vec<Command> {
    let at = place.layout.program.as_str();
    let name = service_name(place.engine);
    let unit = format!("{name}.service");
    let mut commands = Vec::new();
    if place.is_there {
        commands.push(command(COPYING, &["/bin/mv", "-f", old, at]));
    } else {
        commands.push(command(COPYING, &["/bin/rm", "-f", at]));
    }
    match place.supervisor {
        Supervisor::Systemd(systemctl) if place.is_looked_after => {
            commands.push(command(SERVICE, &[systemctl.as_str(), "restart", &unit]));
        }
        Supervisor::Systemd(systemctl) => {
            commands.push(command(SERVICE, &[systemctl.as_str(), "disable", "--now", &unit]));
            let path = format!("/etc/systemd/system/{unit}");
            commands.push(command(SERVICE, &["/bin/rm", "-f", &path]));
        }
        Supervisor::OpenRc(rc) if place.is_looked_after => {
            commands.push(command(SERVICE, &[rc.as_str(), name, "restart"]));
        }
        Supervisor::OpenRc(rc) => {
            commands.push(command(SERVICE, &[rc.as_str(), name, "stop"]));
            commands.push(command(SERVICE, &["/sbin/rc-update", "del", name, "default"]));
            commands.push(command(SERVICE, &["/bin/rm", "-f", &format!("/etc/init.d/{name}")]));
        }
        Supervisor::Nobody => {}
    }
    commands
}

fn run(deadline: Duration, words: &[&str]) -> InstallStep {
    InstallStep::Run(command(deadline, words))
}

fn command(deadline: Duration, words: &[&str]) -> Command {
    let argv = words.iter().map(|word| (*word).to_owned()).collect();
    Command { argv, rights: Rights::Superuser, deadline }
}
