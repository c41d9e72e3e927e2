//! From options to what a node is. What is wrong with their values is found by the manager, as for
//! every node.

use std::fs;

use camino::Utf8Path;
use portway_model::{
    NodeSpec,
    node::spec::{
        LoginSecretSpec, LoginSpec, NodePathsSpec, NodeSecretSpec, PortsSpec, SshHopSettingsSpec,
        SshHopSpec, SshSettingsSpec, SshSpec, ThresholdsSpec,
    },
    site::spec::DurationSpec,
};

use crate::{args::NodeOptions, exit::Failure, out::list};

impl NodeOptions {
    /// Tells whether a way to log in was given.
    pub(super) fn has_login(&self) -> bool {
        self.agent || self.identity.is_some() || self.password_file.is_some()
    }

    fn has_ssh(&self) -> bool {
        self.ssh.is_some()
            || self.has_login()
            || self.sudo.is_some()
            || !self.host_keys.is_empty()
            || !self.jump.is_empty()
    }
}

/// Lays what was given over a node; a list replaces the whole list.
pub(super) fn lay_over(options: &NodeOptions, spec: &mut NodeSpec) -> Result<(), Failure> {
    if options.has_ssh() {
        spec.ssh = Some(ssh(options, spec.ssh.take())?);
        spec.manager = None;
    }
    if !options.labels.is_empty() {
        spec.labels = options.labels.iter().cloned().collect();
    }
    if let Some(zone) = &options.zone {
        spec.zone = Some(zone.to_string());
    }
    if !options.groups.is_empty() {
        spec.groups = options.groups.iter().map(ToString::to_string).collect();
    }
    if let Some(description) = &options.description {
        spec.description = Some(description.clone());
    }
    if !options.trusted_proxies.is_empty() {
        spec.trusted_proxies = options.trusted_proxies.iter().map(ToString::to_string).collect();
    }
    let NodeOptions { http_port, https_port, probe_port, .. } = *options;
    if http_port.is_some() || https_port.is_some() || probe_port.is_some() {
        let before = spec.ports.take().unwrap_or_default();
        spec.ports = Some(PortsSpec {
            http: http_port.or(before.http),
            https: https_port.or(before.https),
            probe: probe_port.or(before.probe),
        });
    }
    let NodeOptions { least_disk, least_memory, least_certificate, most_clock, readings, .. } =
        options;
    if [least_disk, least_memory].into_iter().any(Option::is_some)
        || [least_certificate, most_clock].into_iter().any(Option::is_some)
        || readings.is_some()
    {
        let before = spec.health.take().unwrap_or_default();
        let text = |given: &Option<String>| given.clone().map(DurationSpec::Text);
        spec.health = Some(ThresholdsSpec {
            disk: least_disk.or(before.disk),
            memory: least_memory.or(before.memory),
            certificate: text(least_certificate).or(before.certificate),
            clock: text(most_clock).or(before.clock),
            readings: readings.or(before.readings),
        });
    }
    let NodeOptions { home, config, include, logs, control_socket, program, .. } = options;
    if [home, config, include, logs, control_socket, program].into_iter().any(Option::is_some) {
        let before = spec.paths.take().unwrap_or_default();
        spec.paths = Some(NodePathsSpec {
            home: home.clone().or(before.home),
            config: config.clone().or(before.config),
            include: include.clone().or(before.include),
            logs: logs.clone().or(before.logs),
            socket: control_socket.clone().or(before.socket),
            program: program.clone().or(before.program),
        });
    }
    Ok(())
}

fn ssh(options: &NodeOptions, before: Option<SshSpec>) -> Result<SshSpec, Failure> {
    let mut ssh = match before {
        Some(SshSpec::Settings(ssh)) => *ssh,
        Some(SshSpec::Address(address)) => {
            SshSettingsSpec { address, ..SshSettingsSpec::default() }
        }
        None => SshSettingsSpec::default(),
    };
    if let Some(address) = &options.ssh {
        if *address != ssh.address {
            // Another host has other keys.
            ssh.host_keys.clear();
        }
        ssh.address.clone_from(address);
    }
    if !options.host_keys.is_empty() {
        ssh.host_keys = options.host_keys.iter().map(ToString::to_string).collect();
    }
    if !options.jump.is_empty() {
        ssh.jump = options.jump.iter().map(|text| jump(text)).collect();
    }
    if let Some(login) = login(options)? {
        ssh.login = Some(login);
    }
    ssh.sudo = options.sudo.or(ssh.sudo);
    let short = SshSettingsSpec { address: ssh.address.clone(), ..SshSettingsSpec::default() };
    if ssh == short {
        return Ok(SshSpec::Address(ssh.address));
    }
    Ok(SshSpec::Settings(Box::new(ssh)))
}

fn jump(text: &str) -> SshHopSpec {
    match text.split_once(',') {
        None => SshHopSpec::Address(text.to_owned()),
        Some((address, key)) => SshHopSpec::Settings(SshHopSettingsSpec {
            address: address.to_owned(),
            login: None,
            host_keys: vec![key.to_owned()],
        }),
    }
}

fn login(options: &NodeOptions) -> Result<Option<LoginSpec>, Failure> {
    if options.agent {
        return Ok(Some(LoginSpec::Word("agent".to_owned())));
    }
    let secret = match (&options.identity, &options.password_file) {
        (Some(identity), _) => LoginSecretSpec {
            key: Some(NodeSecretSpec::Plain(read(identity)?)),
            passphrase: options.passphrase_file.as_deref().map(line).transpose()?,
            password: None,
        },
        (None, Some(file)) => {
            LoginSecretSpec { password: Some(line(file)?), ..LoginSecretSpec::default() }
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(LoginSpec::Secret(secret)))
}

/// Reads a secret of one line, without its end.
fn line(path: &Utf8Path) -> Result<NodeSecretSpec, Failure> {
    let text = read(path)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(NodeSecretSpec::Plain(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

fn read(path: &Utf8Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("cannot read {path}")).because(&error))
}

/// Returns the keys that a node's host may have.
pub(super) fn host_keys(spec: Option<&NodeSpec>) -> &[String] {
    match spec.and_then(|spec| spec.ssh.as_ref()) {
        Some(SshSpec::Settings(ssh)) => &ssh.host_keys,
        Some(SshSpec::Address(_)) | None => &[],
    }
}

/// Returns by what sites choose a node, beside its name.
pub(super) fn chosen_by(spec: &NodeSpec) -> String {
    let groups = spec.groups.iter().map(|group| format!("group:{group}"));
    let labels = spec.labels.iter().map(|(key, value)| format!("label:{key}={value}"));
    let zone = spec.zone.iter().map(|zone| format!("zone:{zone}"));
    list(groups.chain(labels).chain(zone))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::args::{Cli, Command, NodeCommand};

    fn options(line: &str) -> NodeOptions {
        let words = ["portway", "node", "set", "web-1"].into_iter().chain(line.split_whitespace());
        let command = Cli::try_parse_from(words).unwrap().command;
        let Command::Node(NodeCommand::Set(args)) = command else { panic!("another command") };
        args.options
    }

    fn laid(line: &str, mut spec: NodeSpec) -> serde_json::Value {
        lay_over(&options(line), &mut spec).unwrap();
        serde_json::to_value(spec).unwrap()
    }

    fn nginx() -> NodeSpec {
        NodeSpec { engine: "nginx".to_owned(), ..NodeSpec::default() }
    }

    fn pin() -> String {
        format!("SHA256:{}A", "a".repeat(42))
    }

    #[test]
    fn an_address_alone_stays_short() {
        assert_eq!(laid("--ssh root@web", nginx()), json!({"engine": "nginx", "ssh": "root@web"}));
    }

    #[test]
    fn what_is_given_replaces_and_the_rest_stays() {
        let before: NodeSpec = serde_json::from_value(json!({
            "engine": "nginx", "zone": "eu", "groups": ["a"], "ports": {"http": 8080},
            "ssh": {"address": "root@web", "host_keys": ["SHA256:x"], "sudo": true},
        }))
        .unwrap();
        let line = format!("--group b --group c --https-port 8443 --jump ops@b,{} --agent", pin());
        let expected = json!({
            "engine": "nginx", "zone": "eu", "groups": ["b", "c"],
            "ports": {"http": 8080, "https": 8443},
            "ssh": {"address": "root@web", "host_keys": ["SHA256:x"], "sudo": true,
                "login": "agent", "jump": [{"address": "ops@b", "host_keys": [pin()]}]},
        });
        assert_eq!(laid(&line, before.clone()), expected);
        // Another host is not believed to have the same key.
        let moved = laid("--ssh root@other", before);
        assert_eq!(moved["ssh"], json!({"address": "root@other", "sudo": true}));
    }

    #[test]
    fn secrets_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "geheim \r\n").unwrap();
        let path = path.to_str().unwrap();
        let spec = laid(&format!("--ssh root@web --password-file {path}"), nginx());
        assert_eq!(spec["ssh"]["login"], json!({"password": "geheim "}));
        let missing = options("--identity /nowhere/key");
        assert!(lay_over(&missing, &mut nginx()).is_err());
    }

    #[test]
    fn it_says_by_what_it_is_chosen() {
        let line = "--label tier=front --zone eu --group web";
        let mut spec = nginx();
        lay_over(&options(line), &mut spec).unwrap();
        assert_eq!(chosen_by(&spec), "group:web, label:tier=front, zone:eu");
    }
}
