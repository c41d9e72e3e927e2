//! The way to a node, from what was declared of its connection.

use std::{sync::Arc, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::{
    Node, RevisionNumber,
    node::{Connection, Login, NodeSecret, SshHop},
};
use portway_secrets::Redacted;
use portway_store::NodeRow;
use portway_transport::{
    Argv, BoxStream, Credential, Done, Entry, Hop, Local, Op, Output, PrivateKey, Ssh, Target,
    Transport, TransportError, Upload,
};

use super::Reached;
use crate::{Control, ControlError, deploy::lock};

/// The socket of the agent that the manager was started with.
const AGENT: &str = "SSH_AUTH_SOCK";

/// A way to a node.
#[derive(Clone)]
pub(crate) enum Reach {
    /// It is this machine.
    Local(Local),
    /// It is reached over SSH.
    Ssh(Ssh),
}

impl Reach {
    /// Lets the next attempt to connect be made at once.
    pub(super) fn forget_failure(&self) {
        match self {
            Self::Local(_) => {}
            Self::Ssh(ssh) => ssh.forget_failure(),
        }
    }
}

/// Why there is no way to a node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReachError {
    /// It is on the machine of another manager.
    #[error("the node is on the machine of manager `{0}`, which looks after it")]
    Elsewhere(String),
    /// A key cannot be read.
    #[error("the key of {to} cannot be read: {why}; give it again")]
    Key { to: String, why: String },
    /// There is no agent.
    #[error(
        "the agent that {to} is to be logged in to with is not there: `SSH_AUTH_SOCK` was not set when the manager was started"
    )]
    NoAgent { to: String },
    /// The manager failed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Control {
    /// Returns the way to a node. It is kept, with its connection, until the node is declared anew.
    pub(crate) async fn reach(&self, row: &NodeRow, node: &Node) -> Result<Arc<Reach>, ReachError> {
        let revision =
            row.declared.as_ref().map_or(RevisionNumber(0), |declared| declared.revision);
        if let Some(kept) = lock(&self.inner.fleet.reaches).get(&row.id)
            && kept.revision == revision
        {
            return Ok(Arc::clone(&kept.reach));
        }
        let reach = Arc::new(self.new_reach(node).await?);
        let mut reaches = lock(&self.inner.fleet.reaches);
        // Of two that made one at the same time, both use the first: there is one connection.
        if let Some(kept) = reaches.get(&row.id)
            && kept.revision == revision
        {
            return Ok(Arc::clone(&kept.reach));
        }
        reaches.insert(row.id, Reached { revision, reach: Arc::clone(&reach) });
        Ok(reach)
    }

    async fn new_reach(&self, node: &Node) -> Result<Reach, ReachError> {
        match &node.connection {
            Connection::Local(Some(manager)) if *manager != self.inner.manager.name => {
                Err(ReachError::Elsewhere(manager.to_string()))
            }
            Connection::Local(_) => Ok(Reach::Local(Local::new())),
            Connection::Ssh(ssh) => {
                let mut jumps = Vec::new();
                for jump in &ssh.jump {
                    jumps.push(self.hop(jump).await?);
                }
                let to = self.hop(&ssh.to).await?;
                Ok(Reach::Ssh(over_ssh(to, jumps, ssh.become_root)))
            }
        }
    }

    async fn hop(&self, hop: &SshHop) -> Result<Hop, ReachError> {
        let to = format!("{}@{}", hop.user.as_str(), hop.address);
        Ok(Hop {
            address: hop.address.clone(),
            user: hop.user.clone(),
            pins: hop.host_keys.clone(),
            credentials: vec![self.credential(&hop.login, &to).await?],
        })
    }

    async fn credential(&self, login: &Login, to: &str) -> Result<Credential, ReachError> {
        let unreadable = |error: portway_transport::KeyError| ReachError::Key {
            to: to.to_owned(),
            why: error.to_string(),
        };
        match login {
            Login::Manager => {
                let key = PrivateKey::read(self.inner.ssh_key.private().expose(), None);
                key.map(Credential::Key).map_err(unreadable)
            }
            Login::Agent => std::env::var(AGENT)
                .map(|socket| Credential::Agent(Utf8PathBuf::from(socket)))
                .map_err(|_| ReachError::NoAgent { to: to.to_owned() }),
            Login::Key { key, passphrase } => {
                let key = self.opened(key).await?;
                let passphrase = match passphrase {
                    Some(passphrase) => Some(self.opened(passphrase).await?),
                    None => None,
                };
                let passphrase = passphrase.as_ref().map(|passphrase| passphrase.expose().as_str());
                PrivateKey::read(key.expose(), passphrase).map(Credential::Key).map_err(unreadable)
            }
            Login::Password(password) => Ok(Credential::Password(self.opened(password).await?)),
        }
    }

    async fn opened(&self, secret: &NodeSecret) -> Result<Redacted<String>, ControlError> {
        match secret {
            NodeSecret::Kept(reference) => self.open_node_secret(reference).await,
            NodeSecret::Plain(value) => Ok(Redacted::new(value.clone())),
        }
    }
}

fn over_ssh(to: Hop, jumps: Vec<Hop>, may_use_sudo: bool) -> Ssh {
    let way = Ssh::new(to, jumps);
    if may_use_sudo { way } else { way.without_sudo() }
}

impl Transport for Reach {
    async fn run(
        &self,
        argv: &Argv,
        stdin: &[u8],
        deadline: Duration,
    ) -> Result<Output, TransportError> {
        match self {
            Self::Local(local) => local.run(argv, stdin, deadline).await,
            Self::Ssh(ssh) => ssh.run(argv, stdin, deadline).await,
        }
    }

    async fn put(&self, files: &[Upload]) -> Result<(), TransportError> {
        match self {
            Self::Local(local) => local.put(files).await,
            Self::Ssh(ssh) => ssh.put(files).await,
        }
    }

    async fn get(&self, path: &Utf8Path) -> Result<Option<Vec<u8>>, TransportError> {
        match self {
            Self::Local(local) => local.get(path).await,
            Self::Ssh(ssh) => ssh.get(path).await,
        }
    }

    async fn list(&self, folder: &Utf8Path) -> Result<Option<Vec<Entry>>, TransportError> {
        match self {
            Self::Local(local) => local.list(folder).await,
            Self::Ssh(ssh) => ssh.list(folder).await,
        }
    }

    async fn remove(&self, paths: &[Utf8PathBuf]) -> Result<(), TransportError> {
        match self {
            Self::Local(local) => local.remove(paths).await,
            Self::Ssh(ssh) => ssh.remove(paths).await,
        }
    }

    async fn relink(&self, link: &Utf8Path, target: &Utf8Path) -> Result<(), TransportError> {
        match self {
            Self::Local(local) => local.relink(link, target).await,
            Self::Ssh(ssh) => ssh.relink(link, target).await,
        }
    }

    async fn several(&self, work: &[Op]) -> Vec<Result<Done, TransportError>> {
        match self {
            Self::Local(local) => local.several(work).await,
            Self::Ssh(ssh) => ssh.several(work).await,
        }
    }

    async fn dial(&self, target: &Target) -> Result<BoxStream, TransportError> {
        match self {
            Self::Local(local) => local.dial(target).await,
            Self::Ssh(ssh) => ssh.dial(target).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use portway_model::HostPort;
    use portway_transport::SudoRefusal;

    use super::*;

    #[tokio::test]
    async fn a_node_without_sudo_is_asked_nothing_as_root() {
        let to = Hop {
            address: HostPort { host: "127.0.0.1".to_owned(), port: 1 },
            user: "deploy".parse().unwrap(),
            pins: Vec::new(),
            credentials: Vec::new(),
        };
        let argv = Argv::new("id", ["-u"]).unwrap().as_root();
        let patience = Duration::from_secs(1);

        let with = over_ssh(to.clone(), Vec::new(), true).run(&argv, b"", patience).await;
        let without = over_ssh(to, Vec::new(), false).run(&argv, b"", patience).await;

        assert!(matches!(with, Err(TransportError::Unreachable { .. })), "{with:?}");
        let Err(TransportError::Sudo { refusal, .. }) = without else { panic!("{without:?}") };
        assert_eq!(refusal, SudoRefusal::SwitchedOff);
    }
}
