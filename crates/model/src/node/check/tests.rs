//! What a declared node may say and what it may not, told all at once.

use serde_json::json;

use super::*;
use crate::node::{Login, NodeSecret, SshUser};

fn checked(name: &str, spec: serde_json::Value) -> (Option<Node>, Vec<Finding>) {
    check(&name.parse().unwrap(), &serde_json::from_value(spec).unwrap())
}

/// Where the errors are, and what kind.
fn errors(name: &str, spec: serde_json::Value) -> Vec<(String, FindingCode)> {
    let (node, findings) = checked(name, spec);
    assert!(node.is_none());
    findings
        .into_iter()
        .filter(Finding::is_error)
        .map(|finding| {
            assert!(finding.remedy.is_some(), "{}", finding.text);
            let crate::Location::Field { path, .. } = finding.at else { panic!() };
            (path.to_string(), finding.code)
        })
        .collect()
}

fn pin() -> String {
    format!("SHA256:{}A", "a".repeat(42))
}

#[test]
fn two_facts_make_a_node() {
    let (node, findings) = checked("web-1", json!({"engine": "nginx", "ssh": "deploy@192.0.2.7"}));

    let node = node.unwrap();
    let Connection::Ssh(ssh) = &node.connection else { panic!() };
    assert_eq!(ssh.to.address.to_string(), "192.0.2.7:22");
    assert_eq!(ssh.to.user, "deploy".parse::<SshUser>().unwrap());
    assert_eq!(ssh.to.login, Login::Manager);
    assert!(ssh.become_root && node.active);
    assert_eq!(node.ports, Ports { http: 80, https: 443, probe: 8911 });
    assert_eq!(node.paths.home, "/var/lib/portway");
    // Nobody has confirmed the host's key yet, which is said and forbids nothing.
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [FindingCode::Advice]);
}

#[test]
fn everything_can_be_said() {
    let spec = json!({
        "engine": "caddy",
        "ssh": {
            "address": "root@[2001:db8::1]:2222",
            "login": {"password": {"secret": "credential:abc"}},
            "host_keys": [pin()],
            "jump": ["ops@bastion.example.org", {"address": "ops@inner:22", "login": "agent",
                "host_keys": [pin()]}],
        },
        "labels": {"tier": "front"}, "zone": "eu-1", "groups": ["web", "web"], "active": false,
        "ports": {"http": 8080, "https": 8443, "probe": 8912},
        "paths": {"home": "/srv/portway/", "config": "/etc/caddy/Caddyfile"},
        "trusted_proxies": ["10.0.0.0/8", "192.0.2.1", "fastly"], "description": "first of two",
    });

    let (node, _) = checked("web-1", spec);

    let node = node.unwrap();
    let Connection::Ssh(ssh) = &node.connection else { panic!() };
    assert_eq!(ssh.to.address.to_string(), "[2001:db8::1]:2222");
    assert_eq!(ssh.to.login, Login::Password(NodeSecret::Kept("credential:abc".to_owned())));
    assert!(!ssh.become_root, "root needs no sudo");
    assert_eq!(ssh.jump.len(), 2);
    assert_eq!(ssh.jump[1].login, Login::Agent);
    assert_eq!((node.groups.len(), node.active), (1, false));
    assert_eq!(node.paths.home, "/srv/portway");
    assert_eq!(node.trusted_proxies[1].to_string(), "192.0.2.1/32");
    let fastly = Cdn::Fastly.networks().collect::<Vec<_>>();
    assert_eq!(node.trusted_proxies[2..], fastly, "a name stands for its networks");
}

#[test]
fn without_ssh_it_is_on_a_managers_machine() {
    let (node, findings) = checked("web-1", json!({"engine": "nginx", "manager": "home"}));
    assert_eq!(node.unwrap().connection, Connection::Local(Some("home".parse().unwrap())));
    assert_eq!(findings, []);
}

#[test]
fn all_faults_are_found_at_once() {
    use FindingCode::{
        Conflict, InvalidHost, InvalidName, InvalidNetwork, InvalidPath, InvalidValue,
    };
    let spec = json!({
        "engine": "ngnix", "manager": "home",
        "ssh": {
            "address": "-o@web..example:22",
            "login": {"key": "ssh-ed25519 AAAA", "password": "x"},
            "host_keys": ["MD5:aa"],
            "jump": [{"address": "ops@bastion", "login": "guess"}],
        },
        "labels": {"Tier": "front", "a": "B"}, "zone": "EU", "groups": ["web", "-"],
        "ports": {"http": 0, "https": 8911},
        "paths": {"home": "/", "config": "nginx.conf", "logs": "/var/log/../x", "include": "/a b",
            "program": "nginx", "socket": "/run/a@b"},
        "trusted_proxies": ["10.0.0.0/8", "proxy"], "pinned": 0,
    });

    let found = errors("edge-1", spec);

    let expected = [
        ("", InvalidName),
        ("engine", InvalidValue),
        ("ssh.address", InvalidName),
        ("ssh.address", InvalidHost),
        ("ssh.login", Conflict),
        ("ssh.host_keys[0]", InvalidValue),
        ("ssh.jump[0].login", InvalidValue),
        ("manager", Conflict),
        ("labels.Tier", InvalidName),
        ("labels.a", InvalidName),
        ("zone", InvalidName),
        ("groups[1]", InvalidName),
        ("ports.http", InvalidValue),
        ("ports.probe", InvalidValue),
        ("paths.home", InvalidPath),
        ("paths.config", InvalidPath),
        ("paths.include", InvalidPath),
        ("paths.logs", InvalidPath),
        ("paths.socket", InvalidPath),
        ("paths.program", InvalidPath),
        ("trusted_proxies[1]", InvalidNetwork),
        ("pinned", InvalidValue),
    ];
    assert_eq!(found, expected.map(|(path, code)| (path.to_owned(), code)));
}

#[test]
fn an_address_says_as_whom_and_where() {
    for (text, code) in [
        ("", FindingCode::MissingField),
        ("web.example.org", FindingCode::MissingField),
        ("root@", FindingCode::InvalidHost),
        ("root@web:0", FindingCode::InvalidHost),
        ("a b@web", FindingCode::InvalidName),
        ("root@http://web", FindingCode::InvalidHost),
    ] {
        let spec = json!({"engine": "nginx", "ssh": text});
        assert_eq!(errors("web-1", spec), [("ssh".to_owned(), code)], "{text}");
    }
}

#[test]
fn a_login_is_whole_and_no_secret_is_repeated() {
    for (login, path) in [
        (json!({}), "ssh.login"),
        (json!({"passphrase": "geheim"}), "ssh.login.passphrase"),
        (json!({"key": "ssh-ed25519 geheim"}), "ssh.login.key"),
        (json!({"password": ""}), "ssh.login.password"),
        (json!({"password": {"secret": ""}}), "ssh.login.password"),
        (json!({"password": "geheim\u{0}"}), "ssh.login.password"),
    ] {
        let spec = json!({"engine": "nginx", "ssh": {"address": "root@web", "login": login}});
        let (_, findings) = checked("web-1", spec.clone());
        assert!(!format!("{findings:?}").contains("geheim"));
        assert_eq!(errors("web-1", spec)[0].0, path);
    }
}

#[test]
fn every_secret_is_found_and_host_keys_can_be_set() {
    let mut spec: NodeSpec = serde_json::from_value(json!({
        "engine": "nginx",
        "ssh": {
            "address": "root@web",
            "login": {"key": "k", "passphrase": "p"},
            "jump": ["a@b", {"address": "ops@bastion", "login": {"password": "x"}}],
        },
    }))
    .unwrap();
    let paths: Vec<_> = spec.secrets_mut().into_iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["ssh.login.key", "ssh.login.passphrase", "ssh.jump[1].login.password"]);

    let mut short: NodeSpec =
        serde_json::from_value(json!({"engine": "nginx", "ssh": "root@web"})).unwrap();
    short.set_host_keys(vec![pin()]);
    let (node, findings) = check(&"web-1".parse().unwrap(), &short);
    let Connection::Ssh(ssh) = node.unwrap().connection else { panic!() };
    assert_eq!((ssh.to.host_keys.len(), findings.len()), (1, 0));
}
