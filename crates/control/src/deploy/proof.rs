//! What a change of an edge is proven by: the probes that its sites declare. What is worse afterwards is
//! sent again as it was before.

use std::collections::BTreeMap;

use portway_deploy::{Answers, Doors};
use portway_model::{Finding, Id, Site};
use portway_policy::{
    Digest,
    bundle::{ListenerStatus, Status},
};
use portway_transport::Target as Door;

use super::{
    Known, Owners,
    batch::Batch,
    run::{Run, RunError},
};
use crate::fleet::{OnEdge, proof_of};

/// What probes said of sites, by site.
pub(super) type Said = BTreeMap<Id<Site>, Vec<Finding>>;

/// The probes of a batch, and what they said before it was sent.
pub(super) struct Asked<'a> {
    on: OnEdge<'a>,
    before: Answers,
}

/// What probes said of a batch that was sent.
#[derive(Default)]
pub(super) struct Judged {
    /// The digest over what the edge serves now; nothing where nothing was taken back.
    pub(super) digest: Option<Digest>,
    /// What is worse, and was taken back.
    pub(super) worse: Said,
    /// What else should be known.
    pub(super) told: Said,
}

impl Run<'_> {
    /// Asks the probes of a batch before it is sent. An earlier version, because of a rollout or a pin, is
    /// the way back and not judged.
    pub(super) async fn ask_before(&self, batch: &Batch) -> Result<Option<Asked<'_>>, RunError> {
        let mut proofs = Vec::new();
        for (row, _) in batch.put.iter().filter(|(row, _)| !batch.kept.contains_key(&row.id)) {
            let was = batch.before.get(&row.id).and_then(|before| before.revision);
            proofs.extend(proof_of(row, was.is_none())?);
        }
        if proofs.is_empty() {
            return Ok(None);
        }
        let doors = doors(&self.it.client.status().await?);
        let on = OnEdge { client: self.it.client, doors, proofs };
        let before = Box::pin(on.before()).await;
        Ok(Some(Asked { on, before }))
    }

    /// Asks the probes again, and takes back what is worse than it was. What the edge `refused` is as it
    /// was.
    pub(super) async fn judge(
        &self,
        known: &mut Known,
        batch: &Batch,
        asked: Asked<'_>,
        refused: &Said,
    ) -> Result<Judged, RunError> {
        let verdict = Box::pin(asked.on.judge(&asked.before, self.it.name)).await;
        let of = |findings| {
            let mut said = asked.on.by_site(findings);
            said.retain(|site, _| !refused.contains_key(site));
            said
        };
        let (worse, told) = (of(verdict.worse), of(verdict.told));
        let digest =
            if worse.is_empty() { None } else { Some(self.take_back(known, batch, &worse).await?) };
        Ok(Judged { digest, worse, told })
    }

    async fn take_back(
        &self,
        known: &mut Known,
        batch: &Batch,
        worse: &Said,
    ) -> Result<Digest, RunError> {
        let mut back = Batch::default();
        let mut owners = Owners::new();
        for (row, _) in batch.put.iter().filter(|(row, _)| worse.contains_key(&row.id)) {
            let before = batch.before.get(&row.id).and_then(|before| before.revision);
            let version = match before {
                Some(number) => self.control.version_of(row, number).await?,
                None => None,
            };
            let compiled = match &version {
                Some(version) => self.compile(version, &mut owners).await?.ok(),
                None => None,
            };
            match (version, compiled) {
                (Some(version), Some(compiled)) => back.put.push((version, compiled)),
                (_, None) | (None, _) => back.remove.push(row.id),
            }
        }
        Ok(self.activate(known, &back).await?.digest)
    }
}

/// Returns where an edge serves sites, as its machine reaches it.
fn doors(status: &Status) -> Doors {
    let door = |tls, usual| {
        let mut of: Vec<&ListenerStatus> =
            status.listeners.iter().filter(|listener| listener.tls == tls).collect();
        of.sort_by_key(|listener| listener.address.is_ipv6());
        of.first().map_or(Door::loopback(usual), |listener| match listener.address.ip() {
            ip if ip.is_unspecified() => Door::loopback(listener.address.port()),
            ip => Door::Tcp { host: ip.to_string(), port: listener.address.port() },
        })
    };
    Doors { http: door(false, 80), https: door(true, 443) }
}
