//! How many requests may come, and how many at the same time.
//!
//! What a route's limits count is kept in its site's [`Tally`]. A request that one of several limits
//! refuses is counted by none. A limit that is only tried out refuses nothing: what it would refuse is
//! told, and goes on.

mod quota;
mod table;
mod tally;
mod told;

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use portway_model::site::{ConnectionLimit, CountedBy, LimitScope, RateLimit};

use self::{
    quota::{Quota, Taken},
    tally::Counted,
    told::{Telling, whole_seconds},
};
pub(crate) use self::{
    tally::{Flight, Tally},
    told::Told,
};

/// After how many seconds a client should come again that had too many requests at the same time.
const SOON: u64 = 1;

/// The limits of a route.
#[derive(Debug)]
pub(crate) struct Admission {
    rates: Vec<Rate>,
    connections: Option<Connections>,
    policy: Option<HeaderValue>,
}

#[derive(Debug)]
struct Rate {
    rule: Rule,
    quota: Quota,
    /// As people write it.
    text: String,
    /// Whether answers tell of it.
    is_told: bool,
}

#[derive(Debug)]
struct Connections {
    rule: Rule,
    most: u32,
}

/// Who is counted, and how.
#[derive(Debug)]
struct Rule {
    id: u64,
    name: String,
    by: By,
    exempt: Vec<IpNet>,
    dry_run: bool,
}

#[derive(Debug)]
enum By {
    Client { ipv6_prefix: u8 },
    Header(HeaderName),
    Site,
}

/// Whom limits judge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Who asks.
    pub(crate) client: IpAddr,
    /// The headers.
    pub(crate) headers: &'a HeaderMap,
    /// The time, in nanoseconds since the edge began.
    pub(crate) now: u64,
}

/// A request that may come.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    /// Counts it while it is answered.
    pub(crate) flight: Option<Flight>,
    /// What its answer tells.
    pub(crate) told: Option<Told>,
    /// The limits that it exceeds and that are only tried out.
    pub(crate) tried: Vec<(Kind, String)>,
}

/// A request that is too much.
#[derive(Debug)]
pub(crate) struct Exceeded {
    /// The kind of the limit.
    pub(crate) kind: Kind,
    /// The name of the limit.
    pub(crate) limit: String,
    /// What is too much, for the operator.
    pub(crate) reason: String,
    /// After how many seconds the client may come again.
    pub(crate) retry_after: u64,
    /// What the answer tells.
    pub(crate) told: Option<Told>,
}

/// The kinds of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Requests in a time.
    Rate,
    /// Requests at the same time.
    Connections,
}

/// A limit names a header that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a header name")]
pub(crate) struct NoHeader(String);

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 2] = [Self::Rate, Self::Connections];

    /// Returns its name, as metrics have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Connections => "connections",
        }
    }
}

impl Admission {
    /// Compiles the limits of a route; nothing where it has none. `place` tells the route from others,
    /// also after a change of the site.
    pub(crate) fn compile(
        rates: &[RateLimit],
        connections: Option<&ConnectionLimit>,
        place: &str,
    ) -> Result<Option<Self>, NoHeader> {
        if rates.is_empty() && connections.is_none() {
            return Ok(None);
        }
        let mut compiled = Vec::with_capacity(rates.len());
        for (number, limit) in rates.iter().enumerate() {
            let RateLimit { rate, burst, by, exempt, dry_run, headers, scope } = limit;
            let id = id((Kind::Rate, number), *scope, place);
            let earlier = rates.iter().take(number).filter(|other| other.by.name() == by.name());
            let name = match earlier.count() {
                0 => by.name().to_owned(),
                before => format!("{}-{}", by.name(), before + 1),
            };
            compiled.push(Rate {
                rule: Rule::new((id, name), by, exempt, *dry_run)?,
                quota: Quota::new(rate.requests, rate.period.duration(), *burst),
                text: rate.to_string(),
                is_told: *headers && !dry_run,
            });
        }
        let told = rates.iter().zip(&compiled).filter(|(_, rate)| rate.is_told);
        let policy = told::policy(told.map(|(limit, rate)| {
            (rate.rule.name.as_str(), limit.rate.requests, limit.rate.period.duration())
        }));
        let connections = connections.map(|limit| Connections::new(limit, place)).transpose()?;
        Ok(Some(Self { rates: compiled, connections, policy }))
    }

    /// Judges a request and counts it.
    pub(crate) fn admit(
        &self,
        tally: &Arc<Tally>,
        asked: &Asked<'_>,
    ) -> Result<Admitted, Box<Exceeded>> {
        if self.rates.len() > 1 {
            self.refuse_uncounted(tally, asked)?;
        }
        let mut admitted = Admitted::default();
        let mut telling = Telling::default();
        for rate in &self.rates {
            let Some(counted) = rate.rule.counted(asked) else { continue };
            let key = tally.key(rate.rule.id, counted.as_counted());
            match tally.take(key, rate.quota, asked.now) {
                Taken::Yes(left) if rate.is_told => telling.say(&rate.rule.name, left),
                Taken::Yes(_) => {}
                Taken::No { .. } if rate.rule.dry_run => {
                    admitted.tried.push((Kind::Rate, rate.rule.name.clone()));
                }
                Taken::No { wait, whole } => {
                    return Err(Box::new(self.exceeded(rate, &counted, (wait, whole))));
                }
            }
        }
        admitted.told = telling.end(self.policy.as_ref());
        if let Some(limit) = &self.connections {
            limit.admit(tally, asked, &mut admitted)?;
        }
        Ok(admitted)
    }

    /// Tells what would become of a request, in words, and counts nothing.
    pub(crate) fn foretell(
        &self,
        tally: &Tally,
        asked: &Asked<'_>,
        mut say: impl FnMut(String),
    ) -> Result<(), Box<Exceeded>> {
        for rate in &self.rates {
            let (name, text) = (&rate.rule.name, &rate.text);
            let Some(counted) = rate.rule.counted(asked) else {
                say(format!("limit {name} ({text}) does not count this address"));
                continue;
            };
            let key = tally.key(rate.rule.id, counted.as_counted());
            match tally.look(key, rate.quota, asked.now) {
                Taken::Yes(left) => {
                    let left = left.requests;
                    say(format!("limit {name} ({text}): {left} more at once after this one"));
                }
                Taken::No { .. } if rate.rule.dry_run => {
                    say(format!("limit {name} ({text}) is exceeded, and only tried out"));
                }
                Taken::No { wait, whole } => {
                    return Err(Box::new(self.exceeded(rate, &counted, (wait, whole))));
                }
            }
        }
        self.connections.as_ref().map_or(Ok(()), |limit| limit.foretell(tally, asked, say))
    }

    /// Refuses what a later limit would refuse before an earlier one counts it.
    fn refuse_uncounted(&self, tally: &Tally, asked: &Asked<'_>) -> Result<(), Box<Exceeded>> {
        for rate in self.rates.iter().filter(|rate| !rate.rule.dry_run) {
            let Some(counted) = rate.rule.counted(asked) else { continue };
            let key = tally.key(rate.rule.id, counted.as_counted());
            if let Taken::No { wait, whole } = tally.look(key, rate.quota, asked.now) {
                return Err(Box::new(self.exceeded(rate, &counted, (wait, whole))));
            }
        }
        Ok(())
    }

    fn exceeded(
        &self,
        rate: &Rate,
        counted: &Who<'_>,
        (wait, whole): (Duration, Duration),
    ) -> Exceeded {
        let mut telling = Telling::default();
        if rate.is_told {
            telling.say(&rate.rule.name, quota::Left { requests: 0, whole });
        }
        Exceeded {
            kind: Kind::Rate,
            limit: rate.rule.name.clone(),
            reason: format!("more than {} by {}", rate.text, counted.in_words()),
            retry_after: whole_seconds(wait).max(1),
            told: telling.end(self.policy.as_ref()),
        }
    }
}

impl Connections {
    fn new(limit: &ConnectionLimit, place: &str) -> Result<Self, NoHeader> {
        let ConnectionLimit { most, by, exempt, dry_run, scope } = limit;
        let id = id((Kind::Connections, 0), *scope, place);
        let name = format!("{}-connections", by.name());
        Ok(Self { rule: Rule::new((id, name), by, exempt, *dry_run)?, most: *most })
    }

    fn admit(
        &self,
        tally: &Arc<Tally>,
        asked: &Asked<'_>,
        admitted: &mut Admitted,
    ) -> Result<(), Box<Exceeded>> {
        let Some(counted) = self.rule.counted(asked) else { return Ok(()) };
        match tally.enter(tally.key(self.rule.id, counted.as_counted()), self.most) {
            Ok(flight) => admitted.flight = flight,
            Err(tally::Full) if self.rule.dry_run => {
                admitted.tried.push((Kind::Connections, self.rule.name.clone()));
            }
            Err(tally::Full) => {
                let told = admitted.told.take();
                return Err(Box::new(Exceeded { told, ..self.exceeded(&counted) }));
            }
        }
        Ok(())
    }

    fn foretell(
        &self,
        tally: &Tally,
        asked: &Asked<'_>,
        mut say: impl FnMut(String),
    ) -> Result<(), Box<Exceeded>> {
        let name = &self.rule.name;
        let Some(counted) = self.rule.counted(asked) else {
            say(format!("limit {name} does not count this address"));
            return Ok(());
        };
        let key = tally.key(self.rule.id, counted.as_counted());
        let (now, most) = (tally.in_flight(key), self.most);
        if now < u64::from(most) || self.rule.dry_run {
            say(format!("limit {name}: {now} of {most} requests are being answered"));
            return Ok(());
        }
        Err(Box::new(self.exceeded(&counted)))
    }

    fn exceeded(&self, counted: &Who<'_>) -> Exceeded {
        Exceeded {
            kind: Kind::Connections,
            limit: self.rule.name.clone(),
            reason: format!("more than {} at the same time by {}", self.most, counted.in_words()),
            retry_after: SOON,
            told: None,
        }
    }
}

impl Rule {
    fn new(
        (id, name): (u64, String),
        by: &CountedBy,
        exempt: &[IpNet],
        dry_run: bool,
    ) -> Result<Self, NoHeader> {
        let by = match by {
            CountedBy::Client { ipv6_prefix } => By::Client { ipv6_prefix: *ipv6_prefix },
            CountedBy::Header(name) => {
                let typed = HeaderName::from_bytes(name.as_bytes());
                By::Header(typed.map_err(|_| NoHeader(name.clone()))?)
            }
            CountedBy::Site => By::Site,
        };
        Ok(Self { id, name, by, exempt: exempt.to_vec(), dry_run })
    }

    /// Returns who is counted; nothing for whom this does not count.
    fn counted<'a>(&self, asked: &Asked<'a>) -> Option<Who<'a>> {
        if self.exempt.iter().any(|network| network.contains(&asked.client)) {
            return None;
        }
        Some(match &self.by {
            By::Client { ipv6_prefix } => Who::Client(network(asked.client, *ipv6_prefix)),
            By::Header(name) => Who::Header(joined(asked.headers, name)),
            By::Site => Who::All,
        })
    }
}

/// Who is counted together.
enum Who<'a> {
    Client(IpAddr),
    Header(Cow<'a, [u8]>),
    All,
}

impl Who<'_> {
    fn as_counted(&self) -> Counted<'_> {
        match self {
            Self::Client(address) => Counted::Client(*address),
            Self::Header(value) => Counted::Header(value),
            Self::All => Counted::All,
        }
    }

    /// Values of headers are often secrets, so they are not repeated.
    fn in_words(&self) -> String {
        match self {
            Self::Client(address) => address.to_string(),
            Self::Header(value) if value.is_empty() => "those without the header".to_owned(),
            Self::Header(_) => "one value of the header".to_owned(),
            Self::All => "all together".to_owned(),
        }
    }
}

/// Returns the values of a header; several are one, in their order.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, [u8]> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let Some(first) = values.next() else { return Cow::Borrowed(&[]) };
    values.fold(Cow::Borrowed(first), |all, value| {
        Cow::Owned([&all, b", ".as_slice(), value].concat())
    })
}

/// Returns the network that is one client.
fn network(client: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let host_bits = 128 - u32::from(ipv6_prefix.min(128));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

/// Returns the number under which a limit counts, the same for as long as it stands where it stands.
fn id((kind, number): (Kind, usize), scope: LimitScope, place: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let place = match scope {
        LimitScope::Site => "",
        LimitScope::Route => place,
    };
    (kind.name(), number, place).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
