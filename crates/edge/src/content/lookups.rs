//! Look-ups of hosts and routes, held against matchers that are slow and plain to see through: they
//! walk over all that was declared. Sites and routes are made up of few words, so that names share
//! beginnings and ends, and from a seed, so that what fails, fails again.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use portway_model::{
    Id, Site,
    site::{Match, PathMatch},
};
use portway_policy::{Digest, NodeSettings};
use regex::Regex;

use super::{
    CompiledSite,
    made::compiled,
    routes::{HostTable, Located},
    snapshot::{HostEntry, Snapshot},
    state::Head,
};
use crate::canonical;

/// How many sites or routes there are. Around 100 hash tables of the kind used here grow.
const COUNTS: [usize; 4] = [1, 99, 101, 10_000];

/// How often the smaller counts are tried, each time with other sites.
const ROUNDS: u64 = 20;

/// How many requests are asked for each time.
const REQUESTS: usize = 400;

/// Where requests come in.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn every_host_finds_the_sites_that_a_walk_over_all_sites_finds() {
    for (count, seed) in tries() {
        let mut dice = Dice(seed);
        let mut world = Sites::made(&mut dice, count);
        world.compare(&mut dice, count);
        // What is left after changes is found as what was there from the start.
        world.change(&mut dice, count / 2);
        world.compare(&mut dice, count);
    }
}

#[test]
fn every_request_finds_the_route_that_a_walk_over_all_routes_finds() {
    for (count, seed) in tries() {
        let mut dice = Dice(seed);
        let sites = written_sites(&mut dice, count);
        let table = HostTable { sites: sites.iter().enumerate().map(compiled).collect() };
        let regexes = regexes_of(&sites);
        let mut found_some = false;
        for _ in 0..REQUESTS {
            let (path, request) = asked(&mut dice, &sites);
            let hidden = dice.one_in(4).then_some(0);
            let serves = |name: &str| hidden.is_none_or(|hidden| name != format!("s{hidden}"));

            let located = table.find(&path, &request, |site| serves(site.name.as_str()));

            let found = located.map(|located| place(&table, &located));
            let expected = walk(&sites, &regexes, hidden, &path, &request);
            found_some |= expected.is_some();
            assert_eq!(found, expected, "{} {path} {:?} ({count}, {seed})", request.method, hidden);
        }
        assert!(found_some || count == 1, "nothing was found ({count}, {seed})");
    }
}

/// Returns each count with a seed, the small counts often.
fn tries() -> impl Iterator<Item = (usize, u64)> {
    COUNTS.into_iter().flat_map(|count| {
        let rounds = if count > 1_000 { 1 } else { ROUNDS };
        (0..rounds).map(move |seed| (count, seed))
    })
}

/// A plain source of numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Sites by their hosts, as a snapshot has them and as a plain list.
struct Sites {
    snapshot: Snapshot,
    written: BTreeMap<Id<Site>, Vec<String>>,
    /// How many words names are made of.
    words: usize,
}

impl Sites {
    fn made(dice: &mut Dice, count: usize) -> Self {
        let snapshot = Snapshot::empty(NodeSettings::default(), Digest::of(b""));
        let mut world = Self { snapshot, written: BTreeMap::new(), words: 2 + count / 8 };
        for number in 0..count {
            world.put(dice, number);
        }
        world
    }

    fn put(&mut self, dice: &mut Dice, number: usize) {
        let id = id(number);
        let hosts: Vec<String> = (0..=dice.below(3)).map(|_| self.pattern(dice)).collect();
        self.written.insert(id, hosts.clone());
        let head = Head {
            digest: Digest::of(&number.to_be_bytes()),
            name: format!("s{number}").parse().unwrap(),
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            tls: None,
            matches: Vec::new(),
            limits: None,
        };
        self.snapshot.put(id, head);
    }

    /// Takes sites away, and gives others new hosts.
    fn change(&mut self, dice: &mut Dice, changes: usize) {
        let count = self.written.len();
        for _ in 0..changes {
            let number = dice.below(count);
            if dice.one_in(2) {
                self.written.remove(&id(number));
                self.snapshot.remove(id(number));
            } else {
                self.put(dice, number);
            }
        }
    }

    fn pattern(&self, dice: &mut Dice) -> String {
        match dice.below(20) {
            0 if dice.one_in(self.words) => "*".to_owned(),
            0..=5 => format!("*.{}", self.name(dice)),
            6 => address(dice).to_string(),
            7 => format!("2001:db8::{:x}", dice.below(16)),
            _ => self.name(dice),
        }
    }

    /// Names of one to four labels below few ends, of words that begin and end alike.
    fn name(&self, dice: &mut Dice) -> String {
        let mut name = (*dice.of(&["org", "example", "co.example", "xample"])).to_owned();
        for _ in 0..=dice.below(4) {
            let word = *dice.of(&["a", "aa", "b", "www", "api-", "-"]);
            let word = match word {
                "-" => format!("{}x", dice.below(self.words)),
                "api-" => format!("api-{}", dice.below(self.words)),
                word => word.to_owned(),
            };
            name = format!("{word}.{name}");
        }
        name
    }

    fn compare(&self, dice: &mut Dice, count: usize) {
        let all: Vec<&String> = self.written.values().flatten().collect();
        for _ in 0..REQUESTS {
            let (host, header) = self.host(dice, &all);
            let request = http::Request::get("/").header("host", &header).body(()).unwrap();
            let asked = canonical::host(&request.into_parts().0).unwrap();

            let found = ids(self.snapshot.find(&asked.name, LOCAL));

            let expected = self.walk(&host);
            assert_eq!(found, expected, "{header:?} among {count}");
            if host.parse::<IpAddr>().is_err() {
                let name = (!host.is_empty()).then_some(host.as_str());
                let found = ids(self.snapshot.find_tls(name, LOCAL));
                assert_eq!(found, expected, "{name:?} among {count}, by TLS");
            }
        }
    }

    /// Returns a host, and one way in which clients write it.
    fn host(&self, dice: &mut Dice, all: &[&String]) -> (String, String) {
        let known = if all.is_empty() { "a.org" } else { dice.of(all).as_str() };
        let known = known.trim_start_matches("*.").replace('*', "a.org");
        let is_name = known.parse::<IpAddr>().is_err();
        let host = match dice.below(8) {
            0 | 1 => known,
            2 | 3 if is_name => format!("x{}.{known}", dice.below(9)),
            4 if is_name => format!("x.{known}").split_once('.').unwrap().1.to_owned(),
            5 if is_name => format!("x{known}"),
            6 if is_name => format!("a.b.{known}"),
            6 => String::new(),
            7 => address(dice).to_string(),
            _ => self.name(dice),
        };
        let mut header = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if dice.one_in(3) {
            header = header.to_ascii_uppercase();
        }
        if dice.one_in(4) && !host.is_empty() && host.parse::<IpAddr>().is_err() {
            header.push('.');
        }
        if dice.one_in(3) && !host.is_empty() {
            header += *dice.of(&[":80", ":8443", ":1"]);
        }
        (host, header)
    }

    /// The plain matcher: of all patterns that answer to a host, those of the best kind.
    fn walk(&self, host: &str) -> Vec<Id<Site>> {
        let host = if host.is_empty() { LOCAL.to_string() } else { host.to_owned() };
        let mut best = (0, Vec::new());
        for (id, patterns) in &self.written {
            for pattern in patterns {
                let rank = rank(pattern, &host);
                if rank > best.0 {
                    best = (rank, vec![*id]);
                } else if rank > 0 && rank == best.0 && best.1.last() != Some(id) {
                    best.1.push(*id);
                }
            }
        }
        best.1
    }
}

/// Says how well a pattern answers to a host; 0 means not at all.
fn rank(pattern: &str, host: &str) -> u8 {
    if pattern == host {
        return 3;
    }
    if pattern == "*" {
        return 1;
    }
    let Some(below) = pattern.strip_prefix('*') else { return 0 };
    let label = host.strip_suffix(below).unwrap_or_default();
    if label.is_empty() || label.contains('.') { 0 } else { 2 }
}

fn address(dice: &mut Dice) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(dice.below(6)).unwrap())
}

/// Ids whose order is that of their numbers.
fn id(number: usize) -> Id<Site> {
    Id::from_uuid(uuid::Uuid::from_u128(u128::try_from(number + 1).unwrap()))
}

fn ids(entry: Option<&Arc<HostEntry>>) -> Vec<Id<Site>> {
    entry.map_or_else(Vec::new, |entry| entry.slots.iter().map(|slot| slot.id).collect())
}

/// One to three sites that have this many routes together.
fn written_sites(dice: &mut Dice, count: usize) -> Vec<Vec<Match>> {
    let sites = 1 + dice.below(3);
    let mut written = vec![Vec::new(); sites];
    for number in 0..count {
        // Expressions are tried one by one, here as there; so there are few.
        let may_be_regex = number < 12;
        let matches = written_match(dice, count, may_be_regex);
        written[dice.below(sites)].push(matches);
    }
    written
}

fn written_match(dice: &mut Dice, count: usize, may_be_regex: bool) -> Match {
    let path = path(dice, count);
    let path = match dice.below(6) {
        0 if may_be_regex => {
            PathMatch::Regex((*dice.of(&["^/a/b", "b$", "^/api(/|$)", "x[0-3]/", "/v1/"])).into())
        }
        0..=2 => PathMatch::Exact(path),
        _ => PathMatch::Prefix(path.parse().unwrap()),
    };
    let methods = match dice.below(4) {
        0 => vec!["POST".to_owned()],
        1 => vec!["GET".to_owned(), "PUT".to_owned()],
        _ => Vec::new(),
    };
    let some = |dice: &mut Dice, name: &str| match dice.below(5) {
        value @ 0..=1 => BTreeMap::from([(name.to_owned(), value.to_string())]),
        _ => BTreeMap::new(),
    };
    Match { path, methods, headers: some(dice, "x-a"), query: some(dice, "q") }
}

/// Paths of segments that begin and end alike.
fn path(dice: &mut Dice, count: usize) -> String {
    let segment = |dice: &mut Dice| match *dice.of(&["a", "b", "ab", "api", "v1", "-"]) {
        "-" => format!("/x{}", dice.below(2 + count / 20)),
        word => format!("/{word}"),
    };
    let path: String = (0..dice.below(5)).map(|_| segment(dice)).collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

/// Returns a decoded canonical path, and the rest of a request for it.
fn asked(dice: &mut Dice, sites: &[Vec<Match>]) -> (String, http::request::Parts) {
    let count = sites.iter().map(Vec::len).sum();
    let all = dice.of(sites);
    let known = match all.get(dice.below(all.len())).map(|matches| &matches.path) {
        Some(PathMatch::Exact(path)) => path.clone(),
        Some(PathMatch::Prefix(prefix)) => prefix.as_str().to_owned(),
        Some(PathMatch::Regex(_)) | None => path(dice, count),
    };
    let slash = |path: &str| if path == "/" { String::new() } else { path.to_owned() };
    let path = match dice.below(6) {
        0 | 1 => known,
        2 => slash(&known) + "/",
        3 => slash(&known) + &path(dice, count),
        4 => known + "b",
        _ => path(dice, count),
    };
    let method = *dice.of(&["GET", "POST", "PUT", "HEAD"]);
    let query = *dice.of(&["", "?q=0", "?q=1&q=0", "?r=0"]);
    let request = http::Request::builder().method(method).uri(format!("{path}{query}"));
    let request = match dice.below(4) {
        value @ 0..=1 => request.header("x-a", value.to_string()),
        2 => request.header("x-a", "1").header("x-a", "0"),
        _ => request,
    };
    (path, request.body(()).unwrap().into_parts().0)
}

/// Returns the number of a route's site, and its place there.
fn place(table: &HostTable, located: &Located) -> (usize, usize) {
    let is_site = |site: &Arc<CompiledSite>| Arc::ptr_eq(site, &located.site);
    let route = located.route().unwrap();
    let place = located.site.routes.iter().position(|other| std::ptr::eq(other, route));
    (table.sites.iter().position(is_site).unwrap(), place.unwrap())
}

/// Compiles the expressions once, or the walk would take minutes.
fn regexes_of(sites: &[Vec<Match>]) -> BTreeMap<String, Regex> {
    let all = sites.iter().flatten().filter_map(|matches| match &matches.path {
        PathMatch::Regex(text) => Some((text.clone(), Regex::new(text).unwrap())),
        PathMatch::Exact(_) | PathMatch::Prefix(_) => None,
    });
    all.collect()
}

/// The plain matcher: of all routes that take a request the first by kind of path, length of prefix,
/// conditions, site, place. Of expressions, the first one of a site counts where it is first written.
fn walk(
    sites: &[Vec<Match>],
    regexes: &BTreeMap<String, Regex>,
    hidden: Option<usize>,
    path: &str,
    request: &http::request::Parts,
) -> Option<(usize, usize)> {
    let mut best = None;
    for (site, routes) in sites.iter().enumerate().filter(|(site, _)| Some(*site) != hidden) {
        for (place, route) in routes.iter().enumerate() {
            let takes = match &route.path {
                PathMatch::Exact(exact) => path == exact,
                PathMatch::Regex(text) => regexes[text].is_match(path),
                PathMatch::Prefix(prefix) => {
                    let prefix = prefix.as_str();
                    prefix == "/" || path == prefix || path.starts_with(&format!("{prefix}/"))
                }
            };
            if !takes || !holds(route, request) {
                continue;
            }
            let conditions = usize::from(!route.methods.is_empty())
                + usize::from(!route.headers.is_empty())
                + usize::from(!route.query.is_empty());
            let fewer = usize::MAX - conditions;
            let order = match &route.path {
                PathMatch::Exact(_) => (0, 0, 0, fewer, site, place),
                PathMatch::Regex(_) => {
                    let first = routes.iter().position(|other| other.path == route.path);
                    (1, site, first.unwrap_or(place), fewer, 0, place)
                }
                PathMatch::Prefix(prefix) => {
                    (2, usize::MAX - prefix.as_str().len(), 0, fewer, site, place)
                }
            };
            if best.is_none_or(|(least, _)| order < least) {
                best = Some((order, (site, place)));
            }
        }
    }
    best.map(|(_, found)| found)
}

fn holds(route: &Match, request: &http::request::Parts) -> bool {
    let query = request.uri.query().unwrap_or_default();
    let has = |name: &str, value: &str| {
        request.headers.get_all(name).into_iter().any(|found| found == value)
    };
    (route.methods.is_empty() || route.methods.iter().any(|method| request.method == **method))
        && route.headers.iter().all(|(name, value)| has(name, value))
        && route
            .query
            .iter()
            .all(|(name, value)| query.split('&').any(|pair| pair == format!("{name}={value}")))
}
