//! A node as an operator writes it, in `nodes.yaml` or through the API. Nothing here is checked
//! beyond its shape; [`super::check()`] turns it into a [`super::Node`].

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FieldPath, site::spec::DurationSpec};

/// A node: an engine and a way to reach it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSpec {
    /// What serves the sites: `nginx`, `caddy`, `traefik` or `edge`.
    pub engine: String,
    /// How it is reached over SSH: `user@host`, `user@host:port`, or settings. Without it the
    /// engine is on the machine of a manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshSpec>,
    /// The manager on whose machine it is, where it is not reached over SSH (default: the one that
    /// is told of it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Words with values, by which sites choose nodes (`label:KEY=VALUE`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it stands (`zone:NAME`): what fails together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The groups that it belongs to (`group:NAME`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Bring it to what it should have (default `true`; in `nodes.yaml` `false`). An inactive one
    /// serves on what it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The revision at which its sites are kept (`portway node pin`); without it they follow what is
    /// declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<i64>,
    /// Tell balancers in front of it to send it nothing new (`portway node drain`); it serves on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    /// Where the engine listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortsSpec>,
    /// Where its files are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<NodePathsSpec>,
    /// From where on something about it deserves attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<ThresholdsSpec>,
    /// Networks whose `X-Forwarded-*` headers the engine believes, and CDNs, which stand for the
    /// networks they publish: `cloudflare`, `fastly` (default none).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// An SSH server, or one with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SshSpec {
    /// `user@host` or `user@host:port`.
    Address(String),
    /// With settings.
    Settings(Box<SshSettingsSpec>),
}

/// How a node is reached over SSH.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshSettingsSpec {
    /// `user@host` or `user@host:port`.
    pub address: String,
    /// How to log in: `manager` (the manager's own key, the default), `agent`, a private key, or a
    /// password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginSpec>,
    /// The fingerprints of the keys that the host may have: `SHA256:…`, as `ssh-keygen -lf` prints
    /// them. Without one, the key is shown and confirmed before anything is sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
    /// The SSH servers before it, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jump: Vec<SshHopSpec>,
    /// Put `sudo -n` before what only root may do (default: unless the user is `root`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo: Option<bool>,
}

/// An SSH server on the way, or one with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SshHopSpec {
    /// `user@host` or `user@host:port`.
    Address(String),
    /// With settings.
    Settings(SshHopSettingsSpec),
}

/// An SSH server on the way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshHopSettingsSpec {
    /// `user@host` or `user@host:port`.
    pub address: String,
    /// How to log in (default `manager`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginSpec>,
    /// The fingerprints of the keys that the host may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// A word, or what to log in with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LoginSpec {
    /// `manager` or `agent`.
    Word(String),
    /// A key or a password.
    Secret(LoginSecretSpec),
}

/// What to log in with; one of `key` and `password`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginSecretSpec {
    /// A private key in OpenSSH's or PEM form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<NodeSecretSpec>,
    /// What opens the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<NodeSecretSpec>,
    /// A password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<NodeSecretSpec>,
}

/// A secret, or a reference to one that is kept. The secret itself is sealed at once and never shown.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NodeSecretSpec {
    /// The secret itself.
    Plain(String),
    /// A reference to one that is kept.
    Kept(KeptSecretSpec),
}

/// A reference to a secret that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeptSecretSpec {
    /// The name that Portway gave it.
    pub secret: String,
}

/// Where an engine listens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PortsSpec {
    /// Plain HTTP (default 80).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<u16>,
    /// HTTPS (default 443).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<u16>,
    /// What it runs, told on loopback only (default 8911).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<u16>,
}

/// Where the files of a node are; what is not given is where the engine's packages put it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodePathsSpec {
    /// The folder of what is Portway's own (default `/var/lib/portway`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// What the engine reads first: `nginx.conf`, the Caddyfile, Traefik's static configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// What stands in the engine's own configuration for Portway's: a file that nginx includes, or
    /// one in the folder that Traefik watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include: Option<String>,
    /// The folder of the logs of sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
    /// The control socket of an edge (default `/run/portway-edge/edge.sock`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The engine's program, where it is in none of the usual folders for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// From where on something about a node deserves attention.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdsSpec {
    /// The least that should be left of each disk, in percent (default 10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u8>,
    /// The least memory that programs should still get, in percent (default 5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u8>,
    /// The least time that certificates should be good for (default `7d`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DurationSpec>,
    /// The most by which its clock may be off (default `30s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<DurationSpec>,
    /// So many readings in a row change its state (default 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readings: Option<u32>,
}

impl ThresholdsSpec {
    /// Returns what is said here, and of the rest what is usual.
    #[must_use]
    pub fn over(&self, usual: &Self) -> Self {
        Self {
            disk: self.disk.or(usual.disk),
            memory: self.memory.or(usual.memory),
            certificate: self.certificate.clone().or_else(|| usual.certificate.clone()),
            clock: self.clock.clone().or_else(|| usual.clock.clone()),
            readings: self.readings.or(usual.readings),
        }
    }
}

impl fmt::Debug for NodeSecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Kept(kept) => kept.fmt(f),
        }
    }
}

impl NodeSpec {
    /// Returns every secret in it with the path that leads to it.
    pub fn secrets_mut(&mut self) -> Vec<(FieldPath, &mut NodeSecretSpec)> {
        let path = FieldPath::root().key("ssh");
        let mut found = Vec::new();
        let Some(SshSpec::Settings(ssh)) = &mut self.ssh else { return found };
        secrets_at(&path.key("login"), &mut ssh.login, &mut found);
        for (index, hop) in ssh.jump.iter_mut().enumerate() {
            if let SshHopSpec::Settings(hop) = hop {
                let path = path.key("jump").index(index).key("login");
                secrets_at(&path, &mut hop.login, &mut found);
            }
        }
        found
    }

    /// Sets the keys that the host itself may have.
    pub fn set_host_keys(&mut self, keys: Vec<String>) {
        match &mut self.ssh {
            Some(SshSpec::Settings(ssh)) => ssh.host_keys = keys,
            Some(SshSpec::Address(address)) => {
                let address = std::mem::take(address);
                let settings =
                    SshSettingsSpec { address, host_keys: keys, ..SshSettingsSpec::default() };
                self.ssh = Some(SshSpec::Settings(Box::new(settings)));
            }
            None => {}
        }
    }
}

impl SshHopSpec {
    /// Returns `user@host:port`, as it was written.
    pub fn address(&self) -> &str {
        match self {
            Self::Address(address) => address,
            Self::Settings(hop) => &hop.address,
        }
    }

    /// Returns the keys that the host may have.
    pub fn host_keys(&self) -> &[String] {
        match self {
            Self::Address(_) => &[],
            Self::Settings(hop) => &hop.host_keys,
        }
    }

    /// Sets the keys that the host may have.
    pub fn set_host_keys(&mut self, keys: Vec<String>) {
        match self {
            Self::Settings(hop) => hop.host_keys = keys,
            Self::Address(address) => {
                let address = std::mem::take(address);
                let hop = SshHopSettingsSpec {
                    address,
                    host_keys: keys,
                    ..SshHopSettingsSpec::default()
                };
                *self = Self::Settings(hop);
            }
        }
    }
}

fn secrets_at<'a>(
    path: &FieldPath,
    login: &'a mut Option<LoginSpec>,
    found: &mut Vec<(FieldPath, &'a mut NodeSecretSpec)>,
) {
    let Some(LoginSpec::Secret(LoginSecretSpec { key, passphrase, password })) = login else {
        return;
    };
    let all = [("key", key), ("passphrase", passphrase), ("password", password)];
    found.extend(
        all.into_iter().filter_map(|(name, secret)| Some((path.key(name), secret.as_mut()?))),
    );
}
