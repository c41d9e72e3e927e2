//! The settings of manager and edge: what the command line and environment say, then
//! `config.yaml` in the data folder, then what is usual.

mod fleet;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    num::NonZeroUsize,
    time::Duration,
};

use camino::Utf8PathBuf;
use portway_model::{
    node::{TrustedProxy, spec::ThresholdsSpec},
    rollout::Strategy,
};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde::{Deserialize, Serialize};

use self::fleet::RolloutsFile;
use crate::{
    args::{Listeners, LogFormat, ServeOptions},
    exit::{Exit, Failure},
    paths::Paths,
};

/// How often nodes are read unless it is said, in seconds.
pub(crate) const OBSERVE_EVERY: u64 = 15;

/// What stands in `config.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct ConfigFile {
    http_port: Option<u16>,
    https_port: Option<u16>,
    public_https_port: Option<u16>,
    bind: Vec<IpAddr>,
    workers: Option<usize>,
    name_server: Vec<SocketAddr>,
    api: Option<SocketAddr>,
    database: Option<String>,
    log_format: Option<LogFormat>,
    edge_socket: Option<Utf8PathBuf>,
    edge_logs: Option<Utf8PathBuf>,
    admin_group: Option<String>,
    trusted_proxies: Vec<TrustedProxy>,
    observe_every: Option<u16>,
    node_exec: Option<bool>,
    rollouts: Option<RolloutsFile>,
    health: ThresholdsSpec,
}

/// The settings of a manager and its edge, complete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Where the edge listens.
    pub(crate) listeners: ListenerSettings,
    /// Where API and console listen.
    pub(crate) api: SocketAddr,
    /// The address of the database.
    pub(crate) database: String,
    /// How the manager logs.
    pub(crate) log_format: LogFormat,
    /// The control socket of the edge.
    pub(crate) edge_socket: Utf8PathBuf,
    /// The folder of the sites' logs.
    pub(crate) edge_logs: Utf8PathBuf,
    /// Whether the manager starts the edge itself.
    pub(crate) starts_edge: bool,
    /// The group whose members are administrators on the local socket.
    pub(crate) admin_group: Option<String>,
    /// Whose `X-Forwarded-*` headers are believed.
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// How often nodes are read.
    pub(crate) observe_every: Duration,
    /// Whether administrators may run commands on nodes.
    pub(crate) node_exec: bool,
    /// How changes come to their nodes of which nothing is said.
    pub(crate) rollouts: Option<Strategy>,
    /// From where on something about a node deserves attention.
    pub(crate) health: ThresholdsSpec,
}

/// Where an edge listens, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListenerSettings {
    /// Addresses for HTTP.
    pub(crate) http: Vec<SocketAddr>,
    /// Addresses for HTTPS.
    pub(crate) https: Vec<SocketAddr>,
    /// The port under which clients reach HTTPS.
    pub(crate) public_https_port: Option<u16>,
    /// The number of threads that serve requests.
    pub(crate) workers: Option<NonZeroUsize>,
    /// The name servers that are asked for the names of upstreams; with none, as the machine does.
    #[serde(default)]
    pub(crate) name_servers: Vec<SocketAddr>,
}

/// What of the machine decides about what is usual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Whether root runs it.
    pub(crate) is_root: bool,
    /// Whether it has IPv6.
    pub(crate) has_ipv6: bool,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn look() -> Self {
        let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        Self { is_root: rustix::process::geteuid().is_root(), has_ipv6 }
    }
}

/// Completes what was given.
pub(crate) fn settle(
    given: &ServeOptions,
    paths: &Paths,
    machine: Machine,
) -> Result<Settings, Failure> {
    let file = read(paths)?;
    let api = given.api.or(file.api).unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 8900).into());
    if !api.ip().is_loopback() {
        return Err(Failure::usage(format!("the API would listen on {api} without TLS"))
            .help("leave it on 127.0.0.1, and publish it by `portway setup --console-host NAME`"));
    }
    let socket = given.edge_socket.clone().or(file.edge_socket.clone());
    let logs = given.edge_logs.clone().or(file.edge_logs.clone());
    let seconds = u64::from(given.observe_every.or(file.observe_every).unwrap_or_default());
    let seconds = if seconds == 0 { OBSERVE_EVERY } else { seconds };
    let wrong = |why: String| {
        Failure::new(Exit::Findings, format!("{}: {why}", paths.config()))
            .help("docs/nodes.md says what can stand there")
    };
    let rollouts = file.rollouts.as_ref().map(RolloutsFile::strategy).transpose().map_err(wrong)?;
    let health = fleet::thresholds(&file.health).map_err(wrong)?;
    let own = portway_edge::EdgeConfig::below(&paths.edge());
    let usual_database = || format!("sqlite://{}", paths.data.join("portway.db"));
    Ok(Settings {
        listeners: listeners(&given.listeners, &file, machine)?,
        api,
        database: given.database.clone().or(file.database.clone()).unwrap_or_else(usual_database),
        log_format: given.log_format.or(file.log_format).unwrap_or_default(),
        starts_edge: socket.is_none(),
        edge_socket: socket.unwrap_or(own.control_socket),
        edge_logs: logs.unwrap_or(own.log_dir),
        admin_group: given.admin_group.clone().or(file.admin_group.clone()),
        node_exec: given.node_exec.or(file.node_exec).unwrap_or(true),
        trusted_proxies: if given.trusted_proxies.is_empty() {
            file.trusted_proxies
        } else {
            given.trusted_proxies.clone()
        },
        observe_every: Duration::from_secs(seconds),
        rollouts,
        health,
    })
}

/// Tells whether `config.yaml` names a database.
pub(crate) fn names_database(paths: &Paths) -> Result<bool, Failure> {
    Ok(read(paths)?.database.is_some())
}

/// Completes what was given for an edge alone.
pub(crate) fn settle_edge(
    given: &Listeners,
    paths: &Paths,
    machine: Machine,
) -> Result<ListenerSettings, Failure> {
    listeners(given, &read(paths)?, machine)
}

fn listeners(
    given: &Listeners,
    file: &ConfigFile,
    machine: Machine,
) -> Result<ListenerSettings, Failure> {
    let usual = if machine.is_root { (80, 443) } else { (8080, 8443) };
    let plain_port = given.http_port.or(file.http_port).unwrap_or(usual.0);
    let https_port = given.https_port.or(file.https_port).unwrap_or(usual.1);
    if plain_port == https_port && plain_port != 0 {
        return Err(Failure::usage(format!("HTTP and HTTPS would share port {https_port}"))
            .help("choose different ports by --http-port and --https-port"));
    }
    let workers = match given.workers.or(file.workers) {
        Some(0) => return Err(Failure::usage("an edge has at least 1 worker")),
        workers => workers.and_then(NonZeroUsize::new),
    };
    let addresses = if given.bind.is_empty() { file.bind.clone() } else { given.bind.clone() };
    let addresses = if addresses.is_empty() { all(machine) } else { addresses };
    let servers = if given.name_server.is_empty() { &file.name_server } else { &given.name_server };
    let on = |port: u16| addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    Ok(ListenerSettings {
        http: on(plain_port),
        https: on(https_port),
        public_https_port: given.public_https_port.or(file.public_https_port),
        workers,
        name_servers: servers.clone(),
    })
}

fn all(machine: Machine) -> Vec<IpAddr> {
    let ipv6 = machine.has_ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    std::iter::once(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).chain(ipv6).collect()
}

fn read(paths: &Paths) -> Result<ConfigFile, Failure> {
    let path = paths.config();
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|reason| {
            Failure::new(Exit::Findings, format!("{path}: {reason}"))
                .help("`portway help serve` lists what can stand there, without the dashes")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ConfigFile::default()),
        Err(error) => Err(Failure::failed(format!("cannot read {path}")).because(&error)),
    }
}

fn parse(text: &str) -> Result<ConfigFile, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    match documents.as_slice() {
        [] => Ok(ConfigFile::default()),
        [document] if document.is_null() => Ok(ConfigFile::default()),
        [document] if document.is_mapping() => {
            serde_json::from_value(to_json(document)?).map_err(|error| error.to_string())
        }
        [_] => Err("it is not a list of names and values".to_owned()),
        [_, ..] => Err("only one document can stand there".to_owned()),
    }
}

fn to_json(yaml: &Yaml<'_>) -> Result<serde_json::Value, String> {
    match yaml {
        Yaml::Value(Scalar::Null) => Ok(serde_json::Value::Null),
        Yaml::Value(Scalar::Boolean(value)) => Ok((*value).into()),
        Yaml::Value(Scalar::Integer(value)) => Ok((*value).into()),
        Yaml::Value(Scalar::FloatingPoint(value)) => Ok(value.into_inner().into()),
        Yaml::Value(Scalar::String(value)) => Ok(value.as_ref().into()),
        Yaml::Sequence(items) => items.iter().map(to_json).collect(),
        Yaml::Mapping(entries) => {
            let entry = |(key, value): (&Yaml<'_>, &Yaml<'_>)| match key.as_str() {
                Some(key) => Ok((key.to_owned(), to_json(value)?)),
                None => Err("a name is not a word".to_owned()),
            };
            entries.iter().map(entry).collect()
        }
        Yaml::Representation(..) | Yaml::Tagged(..) | Yaml::Alias(_) | Yaml::BadValue => {
            Err("tags and aliases cannot stand there".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Machine = Machine { is_root: true, has_ipv6: true };
    const USER: Machine = Machine { is_root: false, has_ipv6: false };

    fn paths(folder: &tempfile::TempDir) -> Paths {
        Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() }
    }

    fn texts(addresses: &[SocketAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn root_serves_the_usual_ports_and_others_do_not_need_root() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settle(&ServeOptions::default(), &paths(&folder), ROOT).unwrap();
        assert_eq!(texts(&settings.listeners.http), ["0.0.0.0:80", "[::]:80"]);
        assert_eq!(texts(&settings.listeners.https), ["0.0.0.0:443", "[::]:443"]);
        let settings = settle(&ServeOptions::default(), &paths(&folder), USER).unwrap();
        assert_eq!(texts(&settings.listeners.http), ["0.0.0.0:8080"]);
        assert_eq!(texts(&settings.listeners.https), ["0.0.0.0:8443"]);
        assert_eq!(settings.api.to_string(), "127.0.0.1:8900");
        assert!(settings.starts_edge);
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_what_is_usual() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(&folder);
        let text = "http-port: 81\nhttps-port: 444\nbind: [127.0.0.1]\nedge-socket: /run/e.sock\n";
        std::fs::write(paths.config(), text).unwrap();
        let mut given = ServeOptions::default();
        given.listeners.https_port = Some(9443);
        let settings = settle(&given, &paths, ROOT).unwrap();
        assert_eq!(texts(&settings.listeners.http), ["127.0.0.1:81"]);
        assert_eq!(texts(&settings.listeners.https), ["127.0.0.1:9443"]);
        assert_eq!(settings.edge_socket, "/run/e.sock");
        assert!(!settings.starts_edge);
    }

    #[test]
    fn proxies_are_networks_or_names_of_cdns() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(&folder);
        std::fs::write(paths.config(), "trusted-proxies: [10.0.0.0/8, cloudflare]\n").unwrap();
        let settings = settle(&ServeOptions::default(), &paths, ROOT).unwrap();
        let written: Vec<_> = settings.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["10.0.0.0/8", "cloudflare"]);
        std::fs::write(paths.config(), "trusted-proxies: [akamai]\n").unwrap();
        let failure = settle(&ServeOptions::default(), &paths, ROOT).unwrap_err();
        assert_eq!(failure.exit, Exit::Findings);
        let told = format!("{failure:?}");
        assert!(told.contains("`akamai` is not an address, a network or a known CDN"), "{told}");
    }

    #[test]
    fn a_file_with_an_unknown_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(&folder);
        std::fs::write(paths.config(), "htp-port: 81\n").unwrap();
        let failure = settle(&ServeOptions::default(), &paths, ROOT).unwrap_err();
        assert_eq!(failure.exit, Exit::Findings);
        assert!(failure.text.contains("htp-port"), "{failure}");
        assert!(failure.text.contains("config.yaml"), "{failure}");
    }

    #[test]
    fn the_api_is_never_in_clear_text_beyond_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let api = Some("0.0.0.0:8900".parse().unwrap());
        let given = ServeOptions { api, ..ServeOptions::default() };
        let failure = settle(&given, &paths(&folder), ROOT).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.help.unwrap().contains("--console-host"));
    }

    #[test]
    fn what_the_installation_says_of_nodes_is_read_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            std::fs::write(folder.path().join("config.yaml"), text).unwrap();
            settle(&ServeOptions::default(), &paths(&folder), USER)
        };
        let settings = of("rollouts: {waves: [1, 50%], soak: 2m}\nhealth: {disk: 15}\n").unwrap();
        assert_eq!(settings.rollouts.unwrap().soak, 120);
        assert_eq!(settings.health.disk, Some(15));
        assert_eq!(of("").unwrap().rollouts, None);
        for (text, why) in [
            ("rollouts: {soak: 2d}\n", "config.yaml: `rollouts.soak`"),
            ("rollouts: {on_failure: pause}\n", "on_failure"),
            ("health: {disk: 100}\n", "config.yaml: `health`"),
        ] {
            let refused = of(text).unwrap_err();
            assert_eq!(refused.exit, Exit::Findings);
            assert!(refused.text.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("").unwrap(), ConfigFile::default());
        assert_eq!(parse("# nothing yet\n").unwrap(), ConfigFile::default());
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("[1]").is_err());
    }
}
