//! The text of what systemd reads: users, two units, and what stays out of units.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use camino::Utf8Path;
use clap::ValueEnum as _;
use portway_model::node::TrustedProxy;

use super::file::Planned;
use crate::{
    args::LogFormat,
    config::{self, ListenerSettings, Settings},
    paths::SYSTEM_DATA,
};

/// The command that writes the units of manager and edge.
const BY_SERVE: &str = "portway serve --install";
/// The command that writes that of an edge alone.
const BY_EDGE: &str = "portway edge --install";

/// The unit of the manager.
pub(in crate::cmd) const MANAGER_UNIT: &str = "/etc/systemd/system/portway.service";
/// The unit of the edge.
pub(in crate::cmd) const EDGE_UNIT: &str = "/etc/systemd/system/portway-edge.service";
/// The users of both.
pub(super) const USERS: &str = "/etc/sysusers.d/portway.conf";
/// The user of an edge alone.
pub(in crate::cmd) const EDGE_USER: &str = "/etc/sysusers.d/portway-edge.conf";
/// Folders that the edge does not see.
pub(in crate::cmd) const HIDDEN: [&str; 2] = [SYSTEM_DATA, "/etc/portway"];
/// What the manager is given and others may not read.
const MANAGER_ENVIRONMENT: &str = "/etc/portway/manager.env";
/// The group of the manager; its members are administrators unless another group is named.
const GROUP: &str = "portway";

/// Returns the files of an installation. `database` is an address that was given.
pub(super) fn files(
    settings: &Settings,
    database: Option<&str>,
    program: &Utf8Path,
) -> Vec<Planned> {
    let mut files = vec![
        Planned::new(USERS, 0o644, users()),
        Planned::new(
            EDGE_UNIT,
            0o644,
            edge(&settings.listeners, settings.log_format, program, BY_SERVE),
        ),
        Planned::new(MANAGER_UNIT, 0o644, manager(settings, program)),
    ];
    // The address can hold a password, and units are readable by everyone.
    if let Some(database) = database {
        let content = format!("PORTWAY_DATABASE={}\n", quoted(database));
        files.push(Planned::new(MANAGER_ENVIRONMENT, 0o600, content));
    }
    files
}

/// Returns the files of an edge on a machine without a manager.
pub(in crate::cmd) fn edge_alone(
    listeners: &ListenerSettings,
    log_format: LogFormat,
    program: &Utf8Path,
) -> Vec<Planned> {
    let user = format!("# Written by `{BY_EDGE}`.\n{EDGE_USERS_LINE}");
    vec![
        Planned::new(EDGE_USER, 0o644, user),
        Planned::new(EDGE_UNIT, 0o644, edge(listeners, log_format, program, BY_EDGE)),
    ]
}

/// Tells whether a unit of an edge is that of an edge alone.
pub(in crate::cmd) fn is_alone(unit: &str) -> bool {
    unit.starts_with(&format!("# Written by `{BY_EDGE}`."))
}

/// The user of the edge, as sysusers.d(5) has it.
const EDGE_USERS_LINE: &str = "u portway-edge - \"Portway edge\" /var/lib/portway-edge -\n";

fn users() -> String {
    format!(
        "# Written by `{BY_SERVE}`.\n\
         u portway - \"Portway manager\" /var/lib/portway -\n{EDGE_USERS_LINE}"
    )
}

fn edge(
    addresses: &ListenerSettings,
    form: LogFormat,
    program: &Utf8Path,
    written_by: &str,
) -> String {
    let options = listeners(addresses) + &log_format(form);
    let hidden = HIDDEN.map(|folder| format!("-{folder}")).join(" ");
    let start = format!(
        "{program} edge --data /var/lib/portway-edge --state /var/lib/portway-edge/state \
         --log-dir /var/log/portway-edge --control-socket /run/portway-edge/edge.sock{options}"
    );
    format!(
        "# Written by `{written_by}`.\n\
         [Unit]\n\
         Description=Portway edge: serves sites\n\
         After=network.target nss-lookup.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         # The process that a reload starts becomes the service, and says so as well.\n\
         NotifyAccess=exec\n\
         ExecStart={start}\n\
         # The program and the options that stand here take over; no request is lost.\n\
         ExecReload={start} --upgrade\n\
         EnvironmentFile=-/etc/portway/edge.env\n\
         User=portway-edge\n\
         Group=portway-edge\n\
         Restart=always\n\
         RestartSec=200ms\n\
         TimeoutStartSec=300\n\
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
         InaccessiblePaths={hidden}\n\
         # Sites can be in home folders; they are read, never written.\n\
         ProtectHome=read-only\n\
         # An application's socket can be in /tmp.\n\
         PrivateTmp=no\n\
         ProcSubset=pid\n\
         {HARDENING}\
         SystemCallFilter=~@privileged\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

fn manager(settings: &Settings, program: &Utf8Path) -> String {
    let api = settings.api;
    let group = settings.admin_group.as_deref().unwrap_or(GROUP);
    let options = [
        trusted_proxies(settings),
        listeners(&settings.listeners),
        log_format(settings.log_format),
        observe_every(settings),
        node_exec(settings).to_owned(),
    ]
    .concat();
    let groups = if group == GROUP { String::new() } else { format!(" {group}") };
    format!(
        "# Written by `portway serve --install`.\n\
         [Unit]\n\
         Description=Portway manager: API, console and everything that changes sites\n\
         Wants=portway-edge.service\n\
         After=network.target nss-lookup.target portway-edge.service\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={program} serve --data {SYSTEM_DATA} --api {api} --admin-group {group} \
         --edge-socket /run/portway-edge/edge.sock --edge-logs /var/log/portway-edge{options}\n\
         EnvironmentFile=-{MANAGER_ENVIRONMENT}\n\
         User=portway\n\
         Group=portway\n\
         # The edge's control socket and the logs of sites belong to the edge's group.\n\
         SupplementaryGroups=portway-edge{groups}\n\
         Restart=always\n\
         RestartSec=1\n\
         # A migration of the database takes the time it takes.\n\
         TimeoutStartSec=infinity\n\
         TimeoutStopSec=40\n\
         StateDirectory=portway\n\
         StateDirectoryMode=0750\n\
         \n\
         CapabilityBoundingSet=\n\
         ProtectHome=yes\n\
         PrivateTmp=yes\n\
         {HARDENING}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// What neither process needs, and therefore does not get (systemd.exec(5)). `ProcSubset=pid` is
/// not among it: the manager finds the addresses of its machine in `/proc/net`.
const HARDENING: &str = "\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
UMask=0027
SystemCallFilter=@system-service
SystemCallFilter=~@resources
";

fn listeners(listeners: &ListenerSettings) -> String {
    let http = listeners.http.first().map(|a| format!(" --http-port {}", a.port()));
    let https = listeners.https.first().map(|a| format!(" --https-port {}", a.port()));
    let public = listeners.public_https_port.map(|port| format!(" --public-https-port {port}"));
    let workers = listeners.workers.map(|workers| format!(" --workers {workers}"));
    let parts = [http, https, public, workers].into_iter().flatten();
    let servers = listeners.name_servers.iter().map(|server| format!(" --name-server {server}"));
    parts.chain(binds(listeners)).chain(servers).collect()
}

/// All addresses are what is usual; which these are is seen at each start.
fn binds(listeners: &ListenerSettings) -> Vec<String> {
    let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses: Vec<IpAddr> = listeners.http.iter().map(std::net::SocketAddr::ip).collect();
    if addresses == all {
        return Vec::new();
    }
    addresses.iter().map(|address| format!(" --bind {address}")).collect()
}

fn trusted_proxies(settings: &Settings) -> String {
    let option = |proxy: &TrustedProxy| format!(" --trusted-proxies {proxy}");
    settings.trusted_proxies.iter().map(option).collect::<Vec<_>>().concat()
}

fn observe_every(settings: &Settings) -> String {
    let seconds = settings.observe_every.as_secs();
    if seconds == config::OBSERVE_EVERY {
        String::new()
    } else {
        format!(" --observe-every {seconds}")
    }
}

fn log_format(form: LogFormat) -> String {
    let named = form.to_possible_value();
    let other = named.filter(|_| form != LogFormat::default());
    other.map(|format| format!(" --log-format {}", format.get_name())).unwrap_or_default()
}

fn node_exec(settings: &Settings) -> &'static str {
    if settings.node_exec { "" } else { " --node-exec false" }
}

/// Writes a value as an environment file has it (systemd.exec(5), `EnvironmentFile=`).
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    format!("\"{}\"", escaped.replace('`', "\\`"))
}
