//! Machines with nginx, on this machine: each an SSH server with a host key of its own and an nginx in a
//! folder and on ports of its own. What is in one sees its own processes alone, as on a machine of its own.

mod page;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use portway_testkit::{
    nginx::Nginx,
    processes::ProcessTable,
    sshd::{Sshd, SshdOptions},
};
use portway_wire::{client::Client, node::NewNode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) use self::page::Page;
use crate::process::CpuTime;

/// The group that all of them are in.
pub(crate) const GROUP: &str = "bench";
/// How long all of them may take to answer with a new page.
const PATIENCE: Duration = Duration::from_secs(600);

/// One of them.
pub(crate) struct Machine {
    pub(crate) sshd: Sshd,
    pub(crate) nginx: Nginx,
    /// Ends after the others.
    _processes: ProcessTable,
}

/// All of them.
pub(crate) struct Fleet {
    pub(crate) machines: Vec<Machine>,
}

/// Where a page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// On the port that Portway is given.
    Portway,
    /// On one that it is not.
    Peer,
}

impl Fleet {
    /// Starts as many.
    pub(crate) fn start(count: usize) -> anyhow::Result<Self> {
        let machine = |_| {
            let processes = ProcessTable::make()?;
            let options = SshdOptions::default().with("UseDNS no").within(&processes);
            let (sshd, nginx) = (options.start()?, Nginx::start_in(Some(&processes))?);
            anyhow::Ok(Machine { sshd, nginx, _processes: processes })
        };
        Ok(Self { machines: (0..count).map(machine).collect::<anyhow::Result<_>>()? })
    }

    /// Declares them all as nodes of one group.
    pub(crate) async fn declare(&self, client: &Client) -> anyhow::Result<()> {
        let key = client.ssh_key().await?.public_key;
        for (number, machine) in self.machines.iter().enumerate() {
            machine.sshd.authorize(&key)?;
            let name = format!("web-{number}");
            let new = NewNode { name, spec: machine.spec()?, message: None };
            client.create_node(&new, uuid::Uuid::now_v7()).await?;
        }
        Ok(())
    }

    /// Asks all of them for a page, again and again, until each has answered with the new text. What is
    /// returned waits for that, and returns when the last of them did.
    pub(crate) fn watch(&self, at: At, text: &str) -> JoinSet<anyhow::Result<Instant>> {
        // So often that the questions cost little beside what is measured.
        let every = Duration::from_millis(10).max(Duration::from_millis(1) * self.size());
        let mut watching = JoinSet::new();
        for machine in &self.machines {
            let page = Page::of(machine.port(at));
            let text = text.to_owned();
            watching.spawn(async move { page.until(&text, every, PATIENCE).await });
        }
        watching
    }

    /// Returns what all servers and what they started have spent.
    pub(crate) fn spent(&self) -> anyhow::Result<Duration> {
        let mut all = Duration::ZERO;
        for machine in &self.machines {
            for pid in [machine.sshd.pid()?, machine.nginx.pid()] {
                all += CpuTime::of_changing(pid)?;
            }
        }
        Ok(all)
    }

    /// Returns how many connections were let in so far.
    pub(crate) fn logins(&self) -> usize {
        self.machines.iter().map(|machine| machine.sshd.logins()).sum()
    }

    /// Returns how many commands were run over SSH so far.
    pub(crate) fn commands(&self) -> usize {
        self.machines.iter().map(|machine| machine.sshd.commands()).sum()
    }

    fn size(&self) -> u32 {
        u32::try_from(self.machines.len()).unwrap_or(u32::MAX)
    }
}

/// Waits for all that watch. Returns when the last of them saw the new page.
pub(crate) async fn last(
    mut watching: JoinSet<anyhow::Result<Instant>>,
) -> anyhow::Result<Instant> {
    let mut last = None;
    while let Some(seen) = watching.join_next().await {
        last = last.max(Some(seen??));
    }
    last.context("nobody watched")
}

impl Machine {
    /// Returns it as a node is declared.
    pub(crate) fn spec(&self) -> anyhow::Result<Value> {
        let folder = self.nginx.folder();
        Ok(json!({
            "engine": "nginx",
            "ssh": {
                "address": format!("{}@127.0.0.1:{}", self.sshd.user(), self.sshd.port()),
                "host_keys": [self.sshd.fingerprint("ed25519")?],
            },
            "groups": [GROUP],
            "ports": {
                "http": self.nginx.http(), "https": self.nginx.https(), "probe": self.nginx.probe(),
            },
            "paths": {
                "home": folder.join("portway"),
                "config": self.nginx.top_level(),
                "include": folder.join("conf.d/portway.conf"),
                "logs": folder.join("logs"),
            },
        }))
    }

    /// Returns the port on which a page is asked for.
    pub(crate) fn port(&self, at: At) -> u16 {
        match at {
            At::Portway => self.nginx.http(),
            At::Peer => self.nginx.https(),
        }
    }
}
