//! The hosts to which a node's engine answers by what stands in its own configuration beside Portway's:
//! read when somebody looks at the node, and kept, so that a plan tells of them.

use std::{collections::BTreeMap, time::Duration};

use portway_import::{Imported, Options};
use portway_model::{HostPattern, Node};
use portway_store::{MachineRead, NodeRow};
use tokio::time::timeout;
use tracing::debug;

use super::{connect::Reach, reads::Machine, scan::Begin};
use crate::{Control, ControlError};

/// How long reading may take: a look at a node does not wait for a configuration of a thousand files.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many hosts are kept of one node.
const MOST: usize = 1_000;

/// Each host, and the file that has it.
pub(crate) type Hosts = BTreeMap<String, String>;

impl Control {
    /// Reads the hosts of a node's own configuration, and keeps them. What cannot be read is left as it
    /// was last seen: the engine's own test judges it all the same.
    pub(super) async fn look_at_hosts(
        &self,
        row: &NodeRow,
        node: &Node,
        reach: &Reach,
    ) -> Result<(), ControlError> {
        let Some(begin) = Begin::of(node) else { return Ok(()) };
        let options = Options { own: begin.own.clone(), ..Options::default() };
        match timeout(PATIENCE, begin.read(reach, &options)).await {
            Ok(Ok(imported)) => return self.keep_hosts(row, hosts_in(&imported)).await,
            Ok(Err(error)) => {
                debug!(node.name = %row.name, %error, "its own configuration is not known");
            }
            Err(late) => debug!(node.name = %row.name, %late, "its own configuration is not known"),
        }
        Ok(())
    }

    /// Keeps the hosts of a node whose machine was seen before.
    pub(super) async fn keep_hosts(&self, row: &NodeRow, hosts: Hosts) -> Result<(), ControlError> {
        let Some(read) = self.machine_read(row).await? else { return Ok(()) };
        let Ok(mut machine) = serde_json::from_value::<Machine>(read.machine.clone()) else {
            return Ok(());
        };
        if std::mem::replace(&mut machine.hosts, hosts) == machine.hosts {
            return Ok(());
        }
        let machine = serde_json::to_value(machine)
            .map_err(|error| ControlError::internal("noting the hosts of a node", error))?;
        let read = MachineRead { machine, ..read };
        self.inner.store.nodes().put_machine(row.id, &read).await?;
        Ok(())
    }

    /// Returns the hosts that were last seen on a node.
    pub(crate) async fn hosts_of(&self, row: &NodeRow) -> Result<Hosts, ControlError> {
        let read = self.machine_read(row).await?;
        Ok(read.as_ref().map(hosts_kept).unwrap_or_default())
    }

    async fn machine_read(&self, row: &NodeRow) -> Result<Option<MachineRead>, ControlError> {
        let mut reads = self.inner.store.nodes().reads(&[row.id]).await?;
        Ok(reads.remove(&row.id).and_then(|reads| reads.machine))
    }
}

/// Returns the hosts that were seen with a node's machine.
pub(crate) fn hosts_kept(read: &MachineRead) -> Hosts {
    serde_json::from_value(read.machine.clone())
        .map(|machine: Machine| machine.hosts)
        .unwrap_or_default()
}

/// Returns the hosts of what was read, each with the first file that is about it.
pub(super) fn hosts_in(imported: &Imported) -> Hosts {
    let mut hosts = Hosts::new();
    for (name, spec) in &imported.sites {
        let about = imported.entries.iter().find(|entry| entry.sites.contains(name));
        let file = about.map(|entry| entry.file.clone()).unwrap_or_default();
        let parsed = spec.hosts.iter().filter_map(|host| host.parse::<HostPattern>().ok());
        for host in parsed.take(MOST.saturating_sub(hosts.len())) {
            hosts.entry(host.to_string()).or_insert_with(|| file.clone());
        }
    }
    hosts
}
