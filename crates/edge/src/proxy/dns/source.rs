//! Who knows the addresses of names: name servers, as `/etc/resolv.conf` and `/etc/hosts` say, and for
//! names that they do not know, whatever else the machine asks (`/etc/nsswitch.conf`).

use std::{
    cell::{Cell, RefCell},
    fs, io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
};
use tokio::time::Instant;

/// The bounds of how long an answer is good, whatever it says.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// How long an answer of the machine is good, which does not say.
const UNSAID: Duration = Duration::from_secs(10);

/// How often the machine's files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The files that say who is asked, and what need not be asked.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Who is asked for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameServers {
    /// Those of the machine.
    #[default]
    Machine,
    /// These, and nobody else.
    These(Vec<SocketAddr>),
}

/// An answer.
#[derive(Clone)]
pub(super) struct Found {
    /// At least one.
    pub(super) addresses: Rc<[IpAddr]>,
    pub(super) good_until: Instant,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// It has none.
    #[error("the name has no address")]
    Unknown,
    /// Name servers do not answer, or with a failure.
    #[error("the name servers do not answer")]
    Servers(#[source] NetError),
    /// The machine's own resolver failed.
    #[error("the machine cannot look it up")]
    Machine(#[source] io::Error),
    /// It takes too long.
    #[error("the name servers take too long")]
    Slow,
    /// There is no room for more names.
    #[error("too many names are in use at once")]
    Full,
}

impl LookupError {
    /// Tells whether somebody said that the name has no address, and not only nobody that it has.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// Who is asked, with the machine's settings as last read.
pub(super) struct Source {
    servers: NameServers,
    resolver: RefCell<Option<TokioResolver>>,
    files: Cell<[Option<SystemTime>; 2]>,
    look_at: Cell<Instant>,
}

impl Source {
    pub(super) fn new(servers: &NameServers) -> Self {
        Self {
            resolver: RefCell::new(resolver(servers)),
            servers: servers.clone(),
            files: Cell::new(modified()),
            look_at: Cell::new(Instant::now() + LOOK_INTERVAL),
        }
    }

    /// Reads the machine's files again if they were changed, and tells whether they were.
    pub(super) fn has_changed(&self) -> bool {
        let now = Instant::now();
        if self.servers != NameServers::Machine || now < self.look_at.get() {
            return false;
        }
        self.look_at.set(now + LOOK_INTERVAL);
        let files = modified();
        if self.files.replace(files) == files {
            return false;
        }
        self.resolver.replace(resolver(&self.servers));
        true
    }

    /// Asks for a name.
    pub(super) fn look_up(
        &self,
        host: String,
    ) -> impl Future<Output = Result<Found, Arc<LookupError>>> + 'static {
        let resolver = self.resolver.borrow().clone();
        let alone = self.servers != NameServers::Machine;
        async move {
            let asked = match resolver {
                Some(resolver) => ask_servers(&resolver, &host).await,
                None => Err(LookupError::Unknown),
            };
            match asked {
                Err(LookupError::Unknown) if !alone => Ok(ask_machine(&host).await?),
                asked => Ok(asked?),
            }
        }
    }
}

fn modified() -> [Option<SystemTime>; 2] {
    FILES.map(|file| fs::metadata(file).and_then(|found| found.modified()).ok())
}

/// Returns who asks name servers; nobody where the machine names none.
fn resolver(servers: &NameServers) -> Option<TokioResolver> {
    let mut builder = match servers {
        NameServers::Machine => TokioResolver::builder_tokio(),
        NameServers::These(servers) => {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            let provider = TokioRuntimeProvider::default();
            Ok(TokioResolver::builder_with_config(config, provider))
        }
    }
    .inspect_err(|error| tracing::debug!(%error, "the machine names no name servers"))
    .ok()?;
    // What is kept is kept by us.
    builder.options_mut().cache_size = 0;
    builder
        .build()
        .inspect_err(|error| tracing::warn!(%error, "the machine's name servers cannot be asked"))
        .ok()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

async fn ask_servers(resolver: &TokioResolver, host: &str) -> Result<Found, LookupError> {
    match resolver.lookup_ip(host).await {
        Ok(found) => {
            let time = found.valid_until().saturating_duration_since(std::time::Instant::now());
            of(found.iter().collect(), time.clamp(SHORTEST, LONGEST))
        }
        // What is no name to DNS may be one to the machine.
        Err(error) if error.is_no_records_found() || is_no_name(&error) => {
            Err(LookupError::Unknown)
        }
        Err(error) => Err(LookupError::Servers(error)),
    }
}

fn is_no_name(error: &NetError) -> bool {
    matches!(error, NetError::Proto(_))
}

async fn ask_machine(host: &str) -> Result<Found, LookupError> {
    let found = tokio::net::lookup_host((host, 0)).await.map_err(LookupError::Machine)?;
    of(found.map(|address| address.ip()).collect(), UNSAID)
}

fn of(mut addresses: Vec<IpAddr>, time: Duration) -> Result<Found, LookupError> {
    addresses = alternate(addresses);
    if addresses.is_empty() {
        return Err(LookupError::Unknown);
    }
    Ok(Found { addresses: addresses.into(), good_until: Instant::now() + time })
}

/// Returns the addresses with the families taking turns, so that one that is broken costs one attempt
/// (RFC 8305 §4).
fn alternate(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (one, other): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(one.len() + other.len());
    while one.len() + other.len() > 0 {
        mixed.extend(one.next());
        mixed.extend(other.next());
    }
    mixed.dedup();
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let mixed = alternate(addresses(&["::1", "::2", "::3", "10.0.0.1"]));
        assert_eq!(mixed, addresses(&["::1", "10.0.0.1", "::2", "::3"]));
        assert_eq!(alternate(addresses(&["10.0.0.1"])), addresses(&["10.0.0.1"]));
        assert!(alternate(Vec::new()).is_empty());
    }
}
