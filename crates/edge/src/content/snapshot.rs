//! What is served at one moment. A snapshot never changes; a change makes another that shares all
//! but what changed. It knows which site answers to which host, and nothing of routes.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use imbl::{HashMap, OrdMap};
use portway_model::{
    HostPattern, Id, Site,
    site::{Limits, TlsVersion, defaults},
};
use portway_policy::{Digest, NodeSettings};

use super::{
    reading::{Reading, Unusual},
    routes::HostTable,
    site::{CompiledSite, SiteRuntime},
    state::{Head, TlsHead},
};
use crate::canonical::HostName;

/// Everything that is served at one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// The settings of the node.
    pub(crate) settings: Arc<NodeSettings>,
    /// The digest over everything.
    pub(crate) digest: Digest,
    /// How much of a request is read before its site is known.
    pub(crate) reading: Reading,
    unusual: Unusual,
    /// Names and addresses.
    exact: HashMap<Box<str>, Arc<HostEntry>>,
    /// What follows `*.`.
    wildcards: HashMap<Box<str>, Arc<HostEntry>>,
    any: Option<Arc<HostEntry>>,
    sites: OrdMap<Id<Site>, Arc<Slot>>,
}

/// A site, compiled when it is first asked for.
pub(crate) struct Slot {
    /// The site.
    pub(crate) id: Id<Site>,
    /// What routing needs.
    pub(crate) head: Head,
    /// What outlives a change of the site.
    pub(crate) runtime: Arc<SiteRuntime>,
    /// The rest, once it was needed.
    pub(crate) compiled: OnceLock<Arc<CompiledSite>>,
}

/// The sites that answer to one host, ordered by id: the oldest first.
pub(crate) struct HostEntry {
    /// The sites; at least one.
    pub(crate) slots: Box<[Arc<Slot>]>,
    /// Their routes in one table, once it was needed.
    pub(crate) table: OnceLock<Arc<HostTable>>,
}

/// How handshakes for a host are answered: what sites that share it have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlsChoice {
    /// The certificate.
    pub(crate) certificate: Digest,
    /// The oldest TLS version: of several sites, the strictest.
    pub(crate) min_version: TlsVersion,
    /// Whether HTTP/2 is offered: by several sites, only if by all.
    pub(crate) http2: bool,
}

impl Snapshot {
    /// Returns the snapshot of an edge that has nothing.
    pub(crate) fn empty(settings: NodeSettings, digest: Digest) -> Self {
        Self {
            settings: Arc::new(settings),
            digest,
            reading: Reading::default(),
            unusual: Unusual::default(),
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            any: None,
            sites: OrdMap::new(),
        }
    }

    /// Sets the settings of the node. Under another key cookies have other values, so sites are
    /// compiled anew.
    pub(crate) fn set_settings(&mut self, settings: NodeSettings) {
        let is_same_key = self.settings.sticky_key == settings.sticky_key;
        self.settings = Arc::new(settings);
        if !is_same_key {
            for (id, slot) in self.sites.clone() {
                self.put(id, slot.head.clone());
            }
        }
    }

    /// Returns all sites.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.sites.values()
    }

    /// Returns a site.
    pub(crate) fn slot(&self, id: Id<Site>) -> Option<&Arc<Slot>> {
        self.sites.get(&id)
    }

    /// Returns the sites that answer to a request: by its host, or without one by the address it
    /// came in on, or those of `*`.
    pub(crate) fn find(&self, host: &HostName, local: IpAddr) -> Option<&Arc<HostEntry>> {
        let specific = match host {
            HostName::Dns(name) => self.find_name(name),
            HostName::Ip(address) => self.exact.get(address.to_string().as_str()),
            HostName::Nothing => self.exact.get(local.to_string().as_str()),
        };
        specific.or(self.any.as_ref())
    }

    /// Returns the sites that a handshake means.
    pub(crate) fn find_tls(&self, name: Option<&str>, local: IpAddr) -> Option<&Arc<HostEntry>> {
        let specific = match name {
            Some(name) => self.find_name(name),
            None => self.exact.get(local.to_string().as_str()),
        };
        specific.or(self.any.as_ref())
    }

    /// Returns the sites of exactly one pattern.
    pub(crate) fn entry(&self, pattern: &HostPattern) -> Option<&Arc<HostEntry>> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name.as_str()),
            HostPattern::Ip(address) => self.exact.get(address.to_string().as_str()),
            HostPattern::Wildcard(base) => self.wildcards.get(base.as_str()),
            HostPattern::Any => self.any.as_ref(),
        }
    }

    /// Sets or replaces a site. What outlives a change is taken over, unless the name under which
    /// it is counted is another.
    pub(crate) fn put(&mut self, id: Id<Site>, head: Head) {
        let old = self.remove(id).filter(|old| old.head.name == head.name);
        let runtime = old.map(|old| Arc::clone(&old.runtime)).unwrap_or_default();
        if let Some(limits) = &head.limits {
            self.unusual.add(limits);
            self.reading = self.unusual.reading();
        }
        let slot = Arc::new(Slot { id, head, runtime, compiled: OnceLock::new() });
        for pattern in &slot.head.hosts {
            self.edit_entry(pattern, |slots| {
                slots.retain(|other| other.id != id);
                let at = slots.partition_point(|other| other.id < id);
                slots.insert(at, Arc::clone(&slot));
            });
        }
        self.sites.insert(id, slot);
    }

    /// Takes a site away and returns it.
    pub(crate) fn remove(&mut self, id: Id<Site>) -> Option<Arc<Slot>> {
        let old = self.sites.remove(&id)?;
        if let Some(limits) = &old.head.limits {
            self.unusual.remove(limits);
            self.reading = self.unusual.reading();
        }
        for pattern in &old.head.hosts {
            self.edit_entry(pattern, |slots| slots.retain(|other| other.id != id));
        }
        Some(old)
    }

    fn find_name(&self, name: &str) -> Option<&Arc<HostEntry>> {
        if let Some(entry) = self.exact.get(name) {
            return Some(entry);
        }
        let (_, base) = name.split_once('.')?;
        self.wildcards.get(base)
    }

    fn edit_entry(&mut self, pattern: &HostPattern, edit: impl FnOnce(&mut Vec<Arc<Slot>>)) {
        let mut slots = self.entry(pattern).map_or_else(Vec::new, |entry| entry.slots.to_vec());
        edit(&mut slots);
        let entry = (!slots.is_empty()).then(|| {
            Arc::new(HostEntry { slots: slots.into_boxed_slice(), table: OnceLock::new() })
        });
        match pattern {
            HostPattern::Exact(name) => set(&mut self.exact, name.as_str(), entry),
            HostPattern::Ip(address) => set(&mut self.exact, &address.to_string(), entry),
            HostPattern::Wildcard(base) => set(&mut self.wildcards, base.as_str(), entry),
            HostPattern::Any => self.any = entry,
        }
    }
}

fn set(map: &mut HashMap<Box<str>, Arc<HostEntry>>, key: &str, entry: Option<Arc<HostEntry>>) {
    match entry {
        Some(entry) => map.insert(key.into(), entry),
        None => map.remove(key),
    };
}

impl HostEntry {
    /// Returns how handshakes are answered, or nothing while no site here has a certificate.
    pub(crate) fn tls(&self) -> Option<TlsChoice> {
        let heads = || self.slots.iter().filter_map(|slot| slot.head.tls);
        let certificate = heads().find_map(|tls: TlsHead| tls.certificate)?;
        Some(TlsChoice {
            certificate,
            min_version: heads().map(|tls| tls.min_version).max()?,
            http2: heads().all(|tls| tls.http2),
        })
    }

    /// Returns the most streams of an HTTP/2 connection that was made for this host.
    pub(crate) fn http2_streams(&self) -> u32 {
        self.greatest(|limits| {
            limits.map_or(defaults::HTTP2_STREAMS, |limits| limits.http2_streams)
        })
    }

    /// Returns the time that a head may take on a connection that was made for this host.
    pub(crate) fn head_time(&self) -> Duration {
        let time =
            |limits: Option<&Limits>| limits.map_or(defaults::HEADER_TIME, |l| l.header_time);
        self.greatest(|limits| time(limits).duration())
    }

    fn greatest<T: Ord + Default>(&self, of: impl Fn(Option<&Limits>) -> T) -> T {
        let limits = self.slots.iter().map(|slot| slot.head.limits.as_deref());
        limits.map(of).max().unwrap_or_default()
    }
}

impl std::hash::Hash for TlsChoice {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.certificate.hash(state);
        (self.min_version as u8, self.http2).hash(state);
    }
}
