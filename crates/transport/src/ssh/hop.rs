//! Where a server is, how it is recognised, and how one logs in there.

use std::time::Duration;

use camino::Utf8PathBuf;
use portway_model::{
    HostPort,
    node::{HostKeyPin, SshUser},
};
use portway_secrets::Redacted;

use super::key::PrivateKey;

/// One SSH server on the way to a node, or the node itself.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Where it listens. Beyond a jump host, as that one understands it.
    pub address: HostPort,
    /// As whom to log in.
    pub user: SshUser,
    /// The keys that it may have. While there are none, nobody logs in.
    pub pins: Vec<HostKeyPin>,
    /// How to log in; tried in this order.
    pub credentials: Vec<Credential>,
}

/// A way to log in.
#[derive(Clone, Debug)]
pub enum Credential {
    /// By a private key.
    Key(PrivateKey),
    /// By the keys of an agent that listens on this socket (`SSH_AUTH_SOCK`).
    Agent(Utf8PathBuf),
    /// By a password, also where the server asks for it in a dialogue.
    Password(Redacted<String>),
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until there is a connection, for each server on the way.
    pub connect: Duration,
    /// Until both sides have agreed on keys.
    pub handshake: Duration,
    /// Until one is logged in, all ways together.
    pub login: Duration,
    /// After how long a silence a server is asked whether it is there.
    pub keepalive: Duration,
    /// How many such questions may stay without an answer.
    pub missed: u8,
    /// How long to wait after a first failure until the next attempt. It doubles with each.
    pub backoff: Duration,
    /// How long to wait at most.
    pub backoff_limit: Duration,
}

impl Default for Timing {
    /// A node that is frozen is noticed within nine seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            login: Duration::from_secs(20),
            keepalive: Duration::from_secs(3),
            missed: 2,
            backoff: Duration::from_secs(1),
            backoff_limit: Duration::from_secs(30),
        }
    }
}

impl Timing {
    /// Returns after how long a silence a connection is given up.
    pub(super) fn silence(&self) -> Duration {
        self.keepalive * (u32::from(self.missed) + 1)
    }

    /// Returns how long to wait after so many failures.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.backoff.saturating_mul(1 << doublings).min(self.backoff_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let timing = Timing::default();

        let waits = [1, 2, 3, 5, 6, 7, 1000].map(|failures| timing.wait(failures).as_secs());

        assert_eq!(waits, [1, 2, 4, 16, 30, 30, 30]);
        assert_eq!(timing.silence(), Duration::from_secs(9));
    }
}
