//! From what was written to what is meant: checks a node and says all that is wrong with it at
//! once. Whether it answers is found out elsewhere.

mod health;
mod ssh;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use ipnet::IpNet;

pub use self::health::check_thresholds;
use super::{
    Cdn, Connection, EngineKind, Node, NodePaths, OWN_EDGES, Ports, TrustedProxy,
    spec::{NodePathsSpec, NodeSpec, PortsSpec},
};
use crate::{
    FieldPath, Finding, FindingCode, Findings, Name, NameError, RemedyAction, ResourceKind,
    RevisionNumber, did_you_mean,
};

/// With this the names of the managers' own edges begin.
pub const MANAGER_EDGE_PREFIX: &str = "edge-";

/// What was read is wrong; the findings say why.
struct Faulty;

type Checked<T> = Result<T, Faulty>;

/// Checks a node. Returns it with every default filled in, unless something is wrong, and all that
/// is wrong or deserves attention.
pub fn check(name: &Name, spec: &NodeSpec) -> (Option<Node>, Vec<Finding>) {
    let mut findings = Findings::about(ResourceKind::Node, name.as_str());
    let node = read(name, spec, &mut findings).ok();
    let sound = !findings.has_errors();
    (node.filter(|_| sound), findings.into_vec())
}

/// Every part is read before the first fault ends it, so that all faults are found.
fn read(name: &Name, spec: &NodeSpec, findings: &mut Findings) -> Checked<Node> {
    let root = FieldPath::root();
    let own_name = own_name(name, findings);
    let engine = engine(&spec.engine, &root.key("engine"), findings);
    let connection = connection(spec, &root, findings);
    let labels = labels(&spec.labels, &root.key("labels"), findings);
    let zone = optional_name(spec.zone.as_deref(), &root.key("zone"), findings);
    let groups = groups(&spec.groups, &root.key("groups"), findings);
    let ports = ports(spec.ports.as_ref(), &root.key("ports"), findings);
    let paths = paths(spec.paths.as_ref(), &root.key("paths"), findings);
    let trusted_proxies =
        trusted_proxies(&spec.trusted_proxies, &root.key("trusted_proxies"), findings);
    let health = health::read(spec.health.as_ref(), &root.key("health"), findings);
    let pinned = pinned(spec.pinned, &root.key("pinned"), findings);
    own_name?;
    Ok(Node {
        name: name.clone(),
        engine: engine?,
        connection: connection?,
        labels: labels?,
        zone: zone?,
        groups: groups?,
        active: spec.active.unwrap_or(true),
        pinned: pinned?,
        draining: spec.draining.unwrap_or(false),
        ports: ports?,
        paths: paths?,
        trusted_proxies: trusted_proxies?,
        health: health?,
        description: spec.description.clone(),
    })
}

fn pinned(
    written: Option<i64>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<RevisionNumber>> {
    match written {
        Some(number) if number < 1 => {
            findings
                .error(FindingCode::InvalidValue, path, "revisions are numbered from 1")
                .remedy("write the number of a revision, or leave it out");
            Err(Faulty)
        }
        written => Ok(written.map(RevisionNumber)),
    }
}

/// A name must not be mistaken for the edges that managers have by themselves.
fn own_name(name: &Name, findings: &mut Findings) -> Checked<()> {
    let reserved = name.as_str() == OWN_EDGES || name.as_str().starts_with(MANAGER_EDGE_PREFIX);
    if !reserved {
        return Ok(());
    }
    findings
        .error(
            FindingCode::InvalidName,
            &FieldPath::root(),
            format!("`{name}` is kept for the edges of the managers themselves"),
        )
        .remedy(format!(
            "choose another name; not `{OWN_EDGES}`, and none that begins with `{MANAGER_EDGE_PREFIX}`"
        ));
    Err(Faulty)
}

fn engine(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<EngineKind> {
    if text.is_empty() {
        findings
            .error(FindingCode::MissingField, path, "the node has no engine")
            .remedy("write what serves the sites there: `nginx`, `caddy`, `traefik` or `edge`");
        return Err(Faulty);
    }
    text.parse().map_err(|error: super::UnknownEngine| {
        let finding = findings.error(FindingCode::InvalidValue, path, error.to_string());
        match did_you_mean(text, EngineKind::ALL.map(EngineKind::as_str)) {
            Some(meant) => finding.remedy_action(
                format!("did you mean `{meant}`?"),
                RemedyAction::ReplaceValue(meant.to_owned()),
            ),
            None => finding.remedy("write one of them"),
        }
        Faulty
    })
}

fn connection(spec: &NodeSpec, root: &FieldPath, findings: &mut Findings) -> Checked<Connection> {
    let manager = optional_name(spec.manager.as_deref(), &root.key("manager"), findings);
    let Some(written) = &spec.ssh else { return Ok(Connection::Local(manager?)) };
    let ssh = ssh::read(written, &root.key("ssh"), findings);
    if spec.manager.is_some() {
        findings
            .error(
                FindingCode::Conflict,
                &root.key("manager"),
                "a node that is reached over SSH is on no manager's machine",
            )
            .remedy("remove `manager` or `ssh`");
        return Err(Faulty);
    }
    Ok(Connection::Ssh(Box::new(ssh?)))
}

fn labels(
    written: &BTreeMap<String, String>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<BTreeMap<Name, Name>> {
    let mut labels = BTreeMap::new();
    let mut sound = true;
    for (key, value) in written {
        let path = path.key(key);
        match (name(key, &path, findings), name(value, &path, findings)) {
            (Ok(key), Ok(value)) => {
                labels.insert(key, value);
            }
            (Ok(_) | Err(Faulty), Ok(_) | Err(Faulty)) => sound = false,
        }
    }
    if sound { Ok(labels) } else { Err(Faulty) }
}

fn groups(
    written: &[String],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<BTreeSet<Name>> {
    each(written, path, |text, path| name(text, path, findings))
        .map(|groups| groups.into_iter().collect())
}

fn optional_name(
    text: Option<&str>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Name>> {
    text.map(|text| name(text, path, findings)).transpose()
}

fn name(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<Name> {
    text.parse().map_err(|error: NameError| {
        let finding = findings.error(
            FindingCode::InvalidName,
            path,
            format!("`{text}` is not a plain word: {error}"),
        );
        match Name::suggest(text) {
            Some(name) => finding.remedy_action(
                format!("write `{name}`"),
                RemedyAction::ReplaceValue(name.to_string()),
            ),
            None => finding.remedy("write a plain word, for example `web`"),
        }
        Faulty
    })
}

fn ports(spec: Option<&PortsSpec>, path: &FieldPath, findings: &mut Findings) -> Checked<Ports> {
    let usual = Ports::default();
    let Some(PortsSpec { http, https, probe }) = spec else { return Ok(usual) };
    let ports = Ports {
        http: http.unwrap_or(usual.http),
        https: https.unwrap_or(usual.https),
        probe: probe.unwrap_or(usual.probe),
    };
    let all = [("http", ports.http), ("https", ports.https), ("probe", ports.probe)];
    let mut seen = BTreeMap::new();
    let mut sound = true;
    for (name, port) in all {
        let problem = match seen.insert(port, name) {
            _ if port == 0 => "port 0 is none".to_owned(),
            Some(other) => format!("`{other}` has port {port} already"),
            None => continue,
        };
        findings
            .error(FindingCode::InvalidValue, &path.key(name), problem)
            .remedy("give each a port of its own, 1 to 65535");
        sound = false;
    }
    if sound { Ok(ports) } else { Err(Faulty) }
}

fn paths(
    spec: Option<&NodePathsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<NodePaths> {
    let usual = NodePaths::default();
    let Some(NodePathsSpec { home, config, include, logs, socket, program }) = spec else {
        return Ok(usual);
    };
    let mut one = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| file_path(text, &path.key(name), findings)).transpose()
    };
    let home = one("home", home);
    let config = one("config", config);
    let include = one("include", include);
    let logs = one("logs", logs);
    let socket = one("socket", socket);
    let program = one("program", program);
    Ok(NodePaths {
        home: home?.unwrap_or(usual.home),
        config: config?,
        include: include?,
        logs: logs?,
        socket: socket?,
        program: program?,
    })
}

/// Paths stand in commands, in engines' configuration and in sudoers files; with these characters
/// they mean themselves everywhere.
fn file_path(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<Utf8PathBuf> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+".contains(&b);
    let climbs = Utf8Path::new(text).components().any(|part| part == Utf8Component::ParentDir);
    let problem = if !text.starts_with('/') {
        "a path on a node is absolute"
    } else if text.contains('@') {
        "`@` does not mean itself in every engine's configuration; a path on a node has letters, digits and `/ . _ - +` only"
    } else if !text.bytes().all(plain) {
        "a path on a node has letters, digits and `/ . _ - +` only"
    } else if climbs {
        "a path on a node has no `..`"
    } else if text.trim_end_matches('/').is_empty() {
        "`/` is the whole machine"
    } else {
        return Ok(Utf8PathBuf::from(text.trim_end_matches('/')));
    };
    findings
        .error(FindingCode::InvalidPath, path, problem)
        .remedy("write it like `/var/lib/portway`");
    Err(Faulty)
}

/// Names of CDNs are replaced by their networks here, so that every engine knows networks alone.
fn trusted_proxies(
    written: &[String],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<IpNet>> {
    let proxies = each(written, path, |text, path| {
        text.parse::<TrustedProxy>().map_err(|_| {
            let problem = format!("`{text}` is not an address, a network or a known CDN");
            let finding = findings.error(FindingCode::InvalidNetwork, path, problem);
            match did_you_mean(text, Cdn::ALL.map(Cdn::as_str)) {
                Some(meant) => finding.remedy_action(
                    format!("did you mean `{meant}`?"),
                    RemedyAction::ReplaceValue(meant.to_owned()),
                ),
                None => finding.remedy(
                    "write for example `192.0.2.7`, `10.0.0.0/8`, `cloudflare` or `fastly`",
                ),
            }
            Faulty
        })
    })?;
    Ok(proxies.into_iter().flat_map(TrustedProxy::networks).collect())
}

/// Reads every element, also those after a wrong one.
fn each<T, U>(
    items: &[T],
    path: &FieldPath,
    mut read: impl FnMut(&T, &FieldPath) -> Checked<U>,
) -> Checked<Vec<U>> {
    let results: Vec<Checked<U>> =
        items.iter().enumerate().map(|(index, item)| read(item, &path.index(index))).collect();
    results.into_iter().collect()
}
