//! This machine again, by way of OpenSSH's server.

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::{HostPort, node::HostKeyPin};
use portway_testkit::sshd::{Sshd, SshdOptions};
use portway_transport::{Credential, Hop, PrivateKey, Ssh, Timing};

use crate::conformance::Place;

/// A server, and the way to it.
pub(crate) struct Far {
    pub(crate) sshd: Sshd,
    pub(crate) ssh: Ssh,
    pub(crate) dir: Utf8PathBuf,
}

impl Far {
    pub(crate) fn with(options: SshdOptions) -> Self {
        let sshd = options.start().unwrap();
        let ssh = Ssh::new(hop(&sshd), Vec::new());
        let dir = sshd.folder().join("work");
        std::fs::create_dir(&dir).unwrap();
        Self { sshd, ssh, dir }
    }

    pub(crate) fn run() -> Self {
        Self::with(SshdOptions::default())
    }
}

impl Place for Far {
    type Transport = Ssh;

    async fn begin(_test: &str) -> Option<Self> {
        Some(Self::run())
    }

    fn transport(&self) -> &Ssh {
        &self.ssh
    }

    fn dir(&self) -> &Utf8Path {
        &self.dir
    }
}

/// The way to a server as it should be: its key is known, and ours is let in.
pub(crate) fn hop(sshd: &Sshd) -> Hop {
    Hop {
        address: HostPort { host: "127.0.0.1".to_owned(), port: sshd.port() },
        user: sshd.user().parse().unwrap(),
        pins: vec![pin(sshd, "ed25519")],
        credentials: vec![Credential::Key(key(&sshd.key()))],
    }
}

pub(crate) fn pin(sshd: &Sshd, kind: &str) -> HostKeyPin {
    sshd.fingerprint(kind).unwrap().parse().unwrap()
}

pub(crate) fn key(file: &Utf8Path) -> PrivateKey {
    PrivateKey::read(&std::fs::read_to_string(file).unwrap(), None).unwrap()
}

/// Short times, for tests in which something does not answer.
pub(crate) fn hasty() -> Timing {
    use std::time::Duration;
    Timing {
        connect: Duration::from_secs(5),
        handshake: Duration::from_secs(5),
        login: Duration::from_secs(5),
        keepalive: Duration::from_secs(1),
        missed: 1,
        backoff: Duration::from_millis(50),
        backoff_limit: Duration::from_millis(200),
    }
}
