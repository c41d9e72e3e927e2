//! A change, from what arrived to what is live. A site that cannot be taken is refused with its
//! reasons and its last version serves on; the rest goes live. The digest that is answered covers
//! what is served, not what was asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, HostPattern, Id, ResourceKind, Site,
};
use portway_policy::{
    CertificateObject, Claim, Digest, FORMAT, Index, NodeSettings, OLDEST_FORMAT, Owner,
    SitePolicy, StickyKey,
    bundle::{Change, ChangeReport, PROTOCOL, Refused},
};
use serde::Deserialize;

use super::{
    Candidate, Content, Ledger, Snapshot, StateError,
    compile::{Ground, compile},
    site::SiteRuntime,
    state::{Batch, Head, Kept},
};
use crate::{balance::Moment, tls};

/// A change as it arrived: sites that cannot be read are known by their ids.
#[derive(Debug)]
pub(crate) struct IncomingChange {
    base: Option<Digest>,
    settings: Option<NodeSettings>,
    certificates: Vec<CertificateObject>,
    put: Vec<SitePolicy>,
    unreadable: Vec<Refused>,
    remove: Vec<Id<Site>>,
    claim: Option<Claim>,
}

/// Why nothing of a change was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Not a change.
    #[error("the change cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// Written in a format that this version does not know.
    #[error(
        "the change has format {found}, this edge reads format {PROTOCOL}; use a manager and an edge of versions next to each other"
    )]
    Format {
        /// What it says.
        found: u32,
    },
    /// Made for other content than the edge has.
    #[error("the edge has other content than the change was made for")]
    Conflict {
        /// What the edge has.
        digest: Digest,
    },
    /// Made by somebody whose edge it is not, or whose turn is over.
    #[error("the edge is that of manager `{}` (turn {})", .0.manager, .0.turn)]
    Owned(Box<Owner>),
    /// The certificate for handshakes without a site is missing or not valid.
    #[error("the fallback certificate cannot be used: {reason}")]
    Fallback {
        /// Why.
        reason: String,
    },
    /// Another edge took this one's place.
    #[error("another edge has taken the place of this one, nothing was changed; send it again")]
    Succeeded,
    /// The disk.
    #[error("the change could not be written, nothing was changed")]
    State(#[from] StateError),
}

/// A change whose sites are read one by one.
#[derive(Deserialize)]
struct LooseChange {
    format: u32,
    base: Option<Digest>,
    #[serde(default)]
    settings: Option<NodeSettings>,
    #[serde(default)]
    certificates: Vec<CertificateObject>,
    #[serde(default)]
    put: Vec<serde_json::Value>,
    #[serde(default)]
    remove: Vec<Id<Site>>,
    #[serde(default)]
    claim: Option<Claim>,
}

impl IncomingChange {
    /// Reads a change. Sites that cannot be read are refused alone.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ChangeError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(ChangeError::Unreadable)?;
        if format != PROTOCOL {
            return Err(ChangeError::Format { found: format });
        }
        match serde_json::from_slice::<Change>(bytes) {
            Ok(change) => Ok(change.into()),
            Err(_) => Self::parse_loosely(bytes),
        }
    }

    fn parse_loosely(bytes: &[u8]) -> Result<Self, ChangeError> {
        let loose: LooseChange = serde_json::from_slice(bytes).map_err(ChangeError::Unreadable)?;
        let mut change = Self::from(Change {
            format: loose.format,
            base: loose.base,
            settings: loose.settings,
            certificates: loose.certificates,
            put: Vec::with_capacity(loose.put.len()),
            remove: loose.remove,
            claim: loose.claim,
        });
        for value in loose.put {
            let name = value.get("name").and_then(|name| name.as_str()).unwrap_or_default();
            let name = name.to_owned();
            let id = value.get("id").cloned().unwrap_or_default();
            match serde_json::from_value(value) {
                Ok(policy) => change.put.push(policy),
                Err(error) => {
                    let site = serde_json::from_value(id).map_err(ChangeError::Unreadable)?;
                    let text = format!("the site cannot be read: {error}");
                    let refused = refuse(site, &name, FindingCode::Syntax, "", &text);
                    change.unreadable.push(refused);
                }
            }
        }
        Ok(change)
    }
}

impl From<Change> for IncomingChange {
    fn from(change: Change) -> Self {
        Self {
            base: change.base,
            settings: change.settings,
            certificates: change.certificates,
            put: change.put,
            unreadable: Vec::new(),
            remove: change.remove,
            claim: change.claim,
        }
    }
}

impl Content {
    /// Checks a change, writes it and makes it live. Blocks on the disk.
    pub(crate) fn change(&self, change: IncomingChange) -> Result<ChangeReport, ChangeError> {
        let _turn = self.turn()?;
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = claimed(change.claim, &ledger)?;
        let digest = ledger.index.digest();
        if change.base.is_some_and(|base| base != digest) {
            return Err(ChangeError::Conflict { digest });
        }
        let current = self.snapshot.load_full();
        let offered = Offered::check(change.certificates);
        if let Some(settings) = &change.settings {
            check_fallback(settings, &offered, &ledger)?;
        }
        let mut refused = change.unreadable;
        let mut candidates = Vec::with_capacity(change.put.len());
        for policy in change.put {
            match check_site(policy, &offered, &ledger) {
                Ok(candidate) => candidates.push(candidate),
                Err(refusal) => refused.push(refusal?),
            }
        }
        let candidates = last_of_each(candidates);
        let remove: BTreeSet<Id<Site>> = change.remove.into_iter().collect();
        let accepted = refuse_conflicts(candidates, &remove, &current, &mut refused);
        let batch = Batch { settings: change.settings, owner, ..Batch::default() };
        self.carry_out(&mut ledger, &current, batch, accepted, remove, offered)?;
        refused.sort_by_key(|refused| refused.site);
        Ok(ChangeReport { digest: ledger.index.digest(), refused })
    }

    /// Writes what was accepted and makes it live. The batch has what concerns no site.
    fn carry_out(
        &self,
        ledger: &mut Ledger,
        current: &Arc<Snapshot>,
        mut batch: Batch,
        accepted: Vec<Candidate>,
        remove: BTreeSet<Id<Site>>,
        offered: Offered,
    ) -> Result<(), ChangeError> {
        let mut next = Snapshot::clone(current);
        let mut books = Books::default();
        if let Some(settings) = &batch.settings {
            books.release.extend(current.settings.fallback_certificate);
            books.refer.extend(settings.fallback_certificate);
            next.set_settings(settings.clone());
        }
        let put: HashSet<Id<Site>> = accepted.iter().map(|candidate| candidate.id).collect();
        for id in remove.into_iter().filter(|id| !put.contains(id)) {
            if let Some(old) = next.remove(id) {
                books.release.extend(old.head.certificate());
                batch.drop_policies.push(old.head.digest);
                batch.remove.push(id);
            }
        }
        let mut counted = Vec::new();
        for Candidate { id, head, policy, targets } in accepted {
            if let Some(old) = next.slot(id) {
                if old.head.digest == head.digest {
                    continue;
                }
                books.release.extend(old.head.certificate());
                batch.drop_policies.push(old.head.digest);
            }
            books.refer.extend(head.certificate());
            next.put(id, head.clone());
            // Only what had traffic is counted.
            let runtime = next.slot(id).map(|slot| Arc::clone(&slot.runtime));
            let metrics = runtime.and_then(|runtime| runtime.metrics.get().cloned());
            counted.extend(metrics.map(|metrics| (metrics, targets)));
            batch.put.push((id, head, policy));
        }
        books.certificates(ledger, offered, &mut batch);
        self.state.commit(&batch)?;
        books.close(ledger, &batch, next.settings.digest());
        if let Some(Kept(owner)) = &batch.owner {
            ledger.owner.clone_from(owner);
        }
        next.digest = ledger.index.digest();
        self.snapshot.store(Arc::new(next));
        if batch.settings.is_some() {
            self.go_on_checking(current, current.slots().map(|slot| slot.id));
        } else {
            self.go_on_checking(current, batch.put.iter().map(|(id, ..)| *id));
        }
        for (metrics, targets) in counted {
            metrics.keep_targets(&targets);
        }
        Ok(())
    }
}

/// The certificates that came with a change, with what is wrong with them.
struct Offered(HashMap<Digest, Result<Vec<u8>, String>>);

impl Offered {
    fn check(certificates: Vec<CertificateObject>) -> Self {
        let checked = certificates.into_iter().map(|certificate| {
            let digest = certificate.digest();
            let checked = match tls::check(&certificate) {
                Ok(()) => serde_json::to_vec(&certificate).map_err(|error| error.to_string()),
                Err(error) => Err(crate::body::chain(&error)),
            };
            (digest, checked)
        });
        Self(checked.collect())
    }

    /// Tells why a certificate cannot be used, if it cannot.
    fn fault(&self, digest: Digest, ledger: &Ledger) -> Option<String> {
        match self.0.get(&digest) {
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(format!("the certificate cannot be used: {reason}")),
            None if ledger.certificates.contains_key(&digest) => None,
            None => Some(format!("certificate {digest} is neither held nor part of the change")),
        }
    }
}

/// Returns whose the edge is from now on; nothing where that stays as it is.
fn claimed(claim: Option<Claim>, ledger: &Ledger) -> Result<Option<Kept>, ChangeError> {
    let Some(claim) = claim else { return Ok(None) };
    let owner = claim.settle(ledger.owner.as_ref());
    let owner = owner.map_err(|kept| ChangeError::Owned(Box::new(kept)))?;
    Ok((owner != ledger.owner).then_some(Kept(owner)))
}

fn check_fallback(
    settings: &NodeSettings,
    offered: &Offered,
    ledger: &Ledger,
) -> Result<(), ChangeError> {
    match settings.fallback_certificate.and_then(|digest| offered.fault(digest, ledger)) {
        Some(reason) => Err(ChangeError::Fallback { reason }),
        None => Ok(()),
    }
}

/// Checks a site by itself. The outer error is a refusal, the inner one a fault of ours.
fn check_site(
    policy: SitePolicy,
    offered: &Offered,
    ledger: &Ledger,
) -> Result<Candidate, Result<Refused, ChangeError>> {
    let id = policy.id;
    let name = policy.name.to_string();
    let refusal = |code, field, text: &str| Err(Ok(refuse(id, &name, code, field, text)));
    if !(OLDEST_FORMAT..=FORMAT).contains(&policy.format) {
        let text = format!(
            "the site has format {}, this edge reads formats {OLDEST_FORMAT} to {FORMAT}; bring \
             the edge to the manager's version",
            policy.format
        );
        return refusal(FindingCode::Held, "", &text);
    }
    if policy.hosts.is_empty() {
        return refusal(FindingCode::MissingField, "hosts", "the site answers to no host");
    }
    let certificate = policy.https.as_ref().and_then(|https| https.certificate);
    if let Some(reason) = certificate.and_then(|digest| offered.fault(digest, ledger)) {
        return refusal(FindingCode::CertificateFailed, "https", &reason);
    }
    let state_fault = |error: StateError| Err(ChangeError::State(error));
    let head = Head::of(&policy).map_err(state_fault)?;
    let bytes = serde_json::to_vec(&policy)
        .map_err(|source| state_fault(StateError::Encode { what: "site", source }))?;
    // Compiled to be judged only: memory is spent on sites that get requests.
    let runtime = Arc::<SiteRuntime>::default();
    let ground = Ground { runtime: &runtime, key: &StickyKey::new([0; 32]), now: Moment::ZERO };
    match compile(policy, &ground) {
        Ok(site) => Ok(Candidate { id, head, policy: bytes, targets: site.targets() }),
        Err(findings) => Err(Ok(Refused { site: id, findings })),
    }
}

/// Of a site that is given more than once, the last counts.
fn last_of_each(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let last: HashMap<Id<Site>, usize> =
        candidates.iter().enumerate().map(|(place, candidate)| (candidate.id, place)).collect();
    let is_last = |(place, candidate): &(usize, Candidate)| last.get(&candidate.id) == Some(place);
    candidates.into_iter().enumerate().filter(is_last).map(|(_, candidate)| candidate).collect()
}

/// Takes out the candidates that match the same requests as another site on the same host. A
/// refused one leaves its last version in place, which may stand in the way of another, so this
/// goes on until nothing more is refused. What is live is free of conflicts, so it ends.
fn refuse_conflicts(
    mut candidates: Vec<Candidate>,
    remove: &BTreeSet<Id<Site>>,
    current: &Snapshot,
    refused: &mut Vec<Refused>,
) -> Vec<Candidate> {
    loop {
        let replaced: HashSet<Id<Site>> = candidates.iter().map(|candidate| candidate.id).collect();
        let stays = |id: Id<Site>| !replaced.contains(&id) && !remove.contains(&id);
        let mut taken: HashMap<(&HostPattern, u64), &str> = HashMap::new();
        let mut refusals = HashMap::new();
        for candidate in &candidates {
            match conflict(candidate, &taken, current, stays) {
                Some(text) => {
                    let name = candidate.head.name.as_str();
                    let code = FindingCode::RouteTaken;
                    let refusal = refuse(candidate.id, name, code, "routes", &text);
                    refusals.insert(candidate.id, refusal);
                }
                None => {
                    let head = &candidate.head;
                    let places = places(head);
                    taken.extend(places.map(|place| (place, head.name.as_str())));
                }
            }
        }
        if refusals.is_empty() {
            return candidates;
        }
        candidates.retain(|candidate| !refusals.contains_key(&candidate.id));
        refused.extend(refusals.into_values());
    }
}

/// Says who else has a route of a candidate, if anyone has.
fn conflict(
    candidate: &Candidate,
    taken: &HashMap<(&HostPattern, u64), &str>,
    current: &Snapshot,
    stays: impl Fn(Id<Site>) -> bool,
) -> Option<String> {
    let say = |host: &HostPattern, other: &str| {
        format!("site `{other}` has a route on `{host}` that matches the same requests")
    };
    for place @ (host, _) in places(&candidate.head) {
        if let Some(other) = taken.get(&place) {
            return Some(say(host, other));
        }
    }
    for host in &candidate.head.hosts {
        let Some(entry) = current.entry(host) else { continue };
        for other in entry.slots.iter().filter(|other| stays(other.id)) {
            if other.head.matches.iter().any(|m| candidate.head.matches.contains(m)) {
                return Some(say(host, other.head.name.as_str()));
            }
        }
    }
    None
}

fn places(head: &Head) -> impl Iterator<Item = (&HostPattern, u64)> {
    head.hosts.iter().flat_map(|host| head.matches.iter().map(move |matches| (host, *matches)))
}

fn refuse(site: Id<Site>, name: &str, code: FindingCode, field: &str, text: &str) -> Refused {
    let mut findings = Findings::about(ResourceKind::Site, name);
    let at = if field.is_empty() { FieldPath::root() } else { FieldPath::root().key(field) };
    findings.error(code, &at, text);
    let findings: Vec<Finding> = findings.into_vec();
    Refused { site, findings }
}

/// What a change does to the references to certificates, kept until it is written.
#[derive(Default)]
struct Books {
    refer: Vec<Digest>,
    release: Vec<Digest>,
}

impl Books {
    /// Decides which certificates are written and which are dropped.
    fn certificates(&self, ledger: &Ledger, offered: Offered, batch: &mut Batch) {
        let mut counts: HashMap<Digest, i64> = HashMap::new();
        for digest in &self.refer {
            *counts.entry(*digest).or_default() += 1;
        }
        for digest in &self.release {
            *counts.entry(*digest).or_default() -= 1;
        }
        let held = |digest: &Digest| ledger.certificates.get(digest).copied();
        for (digest, change) in &counts {
            let before = held(digest).and_then(|count| i64::try_from(count).ok()).unwrap_or(0);
            if before + change <= 0 && held(digest).is_some() {
                batch.drop_certificates.push(*digest);
            }
        }
        for (digest, certificate) in offered.0 {
            let wanted = counts.get(&digest).is_some_and(|change| *change > 0);
            if let (Ok(bytes), true, None) = (certificate, wanted, held(&digest)) {
                batch.certificates.push((digest, bytes));
            }
        }
    }

    /// Enters into the ledger what was written.
    fn close(self, ledger: &mut Ledger, batch: &Batch, settings: Digest) {
        self.refer.into_iter().for_each(|digest| ledger.refer(Some(digest)));
        self.release.into_iter().for_each(|digest| ledger.release(Some(digest)));
        for digest in &batch.drop_certificates {
            ledger.certificates.remove(digest);
        }
        ledger.index.set_settings(settings);
        if batch.put.len() + batch.remove.len() > REBUILD_ABOVE {
            ledger.index = rebuilt(&ledger.index, batch, settings);
            return;
        }
        for id in &batch.remove {
            ledger.index.remove(*id);
        }
        for (id, head, _) in &batch.put {
            ledger.index.put(*id, head.digest);
        }
    }
}

/// The size of a change above which the index is built anew: each single change of it reads a
/// 256th of it.
const REBUILD_ABOVE: usize = 256;

fn rebuilt(index: &Index, batch: &Batch, settings: Digest) -> Index {
    let mut sites: BTreeMap<Id<Site>, Digest> = index.iter().collect();
    for id in &batch.remove {
        sites.remove(id);
    }
    sites.extend(batch.put.iter().map(|(id, head, _)| (*id, head.digest)));
    Index::from_sites(settings, sites)
}
