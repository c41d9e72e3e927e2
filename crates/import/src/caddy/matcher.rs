//! Matchers of requests: paths, methods, headers, queries, hosts and addresses.

use std::collections::BTreeMap;

use crate::{networks::Who, node::Node, ordered::Paths, paths::escape};

/// Which requests are meant. Everything that is given must hold.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    /// One of these; all paths where there is none.
    pub(super) paths: Vec<Paths>,
    pub(super) methods: Vec<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) hosts: Vec<String>,
    /// Clients at, or not at, addresses.
    pub(super) clients: Option<Clients>,
}

/// Clients by their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clients {
    pub(super) is_negated: bool,
    pub(super) nets: Vec<String>,
}

impl Matcher {
    /// Returns the matcher of every request.
    pub(super) fn all() -> Self {
        Self {
            paths: vec![Paths::All],
            methods: Vec::new(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            hosts: Vec::new(),
            clients: None,
        }
    }

    pub(super) fn is_all(&self) -> bool {
        self.paths == [Paths::All] && self.is_about_paths()
    }

    /// Tells whether only paths decide.
    pub(super) fn is_about_paths(&self) -> bool {
        self.methods.is_empty()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.hosts.is_empty()
            && self.clients.is_none()
    }

    pub(super) fn of_path(text: &str) -> Option<Self> {
        Some(Self { paths: vec![path(text)?], ..Self::all() })
    }

    /// Reads the definition of a named matcher; nothing where it says more than is known.
    pub(super) fn read(node: &Node) -> Option<Self> {
        let mut matcher = Self::all();
        let inline = node.args().to_vec();
        if !inline.is_empty() {
            let inner = Node { words: inline, ..node.clone() };
            matcher.take(&inner)?;
            return Some(matcher);
        }
        for inner in node.inner() {
            matcher.take(inner)?;
        }
        Some(matcher)
    }

    fn take(&mut self, node: &Node) -> Option<()> {
        let args = node.args();
        match node.name() {
            "path" if self.paths == [Paths::All] => {
                self.paths = args.iter().map(|text| path(text)).collect::<Option<_>>()?;
            }
            "path_regexp" if self.paths == [Paths::All] => {
                self.paths = vec![Paths::Regex(args.last()?.clone())];
            }
            "method" if self.methods.is_empty() => self.methods = args.to_vec(),
            "host" if self.hosts.is_empty() => self.hosts = args.to_vec(),
            "header" => {
                let [name, value] = args else { return None };
                let is_fixed = !value.contains(['*', '{']) && !name.starts_with('!');
                if !is_fixed || self.headers.insert(name.clone(), value.clone()).is_some() {
                    return None;
                }
            }
            "query" => {
                let [pair] = args else { return None };
                let (name, value) = pair.split_once('=')?;
                if value.contains(['*', '{'])
                    || self.query.insert(name.to_owned(), value.to_owned()).is_some()
                {
                    return None;
                }
            }
            "remote_ip" if self.clients.is_none() => self.clients = Some(clients(args, false)?),
            "not" if self.clients.is_none() => {
                let inner = match node.inner() {
                    [] => Node { words: args.to_vec(), block: None, id: node.id },
                    [only] => only.clone(),
                    _ => return None,
                };
                if inner.name() != "remote_ip" {
                    return None;
                }
                self.clients = Some(clients(inner.args(), true)?);
            }
            _ => return None,
        }
        Some(())
    }

    /// Returns what both match; nothing where that cannot be said.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let mut paths = Vec::new();
        for one in &self.paths {
            for two in &other.paths {
                paths.extend(both(one, two)?);
            }
        }
        let merged = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| {
            let clash =
                a.iter().any(|(name, value)| b.get(name).is_some_and(|other| other != value));
            (!clash).then(|| a.iter().chain(b).map(|(k, v)| (k.clone(), v.clone())).collect())
        };
        let either = |a: &Vec<String>, b: &Vec<String>| match (a.is_empty(), b.is_empty()) {
            (true, _) => Some(b.clone()),
            (_, true) => Some(a.clone()),
            (false, false) => (a == b).then(|| a.clone()),
        };
        if self.clients.is_some() || other.clients.is_some() {
            return None;
        }
        Some(Self {
            paths,
            methods: either(&self.methods, &other.methods)?,
            headers: merged(&self.headers, &other.headers)?,
            query: merged(&self.query, &other.query)?,
            hosts: either(&self.hosts, &other.hosts)?,
            clients: None,
        })
    }
}

fn clients(args: &[String], is_negated: bool) -> Option<Clients> {
    let mut nets = Vec::new();
    for arg in args {
        if arg == "private_ranges" {
            let private =
                ["192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1"];
            nets.extend(private.map(str::to_owned));
            continue;
        }
        match Who::parse(arg)? {
            Who::Net(net) => nets.push(crate::networks::text(net)),
            Who::All | Who::Nobody => return None,
        }
    }
    (!nets.is_empty()).then_some(Clients { is_negated, nets })
}

/// Reads a path as Caddy matches it: with a star at its end a text that paths begin with, without one a
/// whole path. It has no case there, and one here.
fn path(text: &str) -> Option<Paths> {
    if matches!(text, "*" | "/*") {
        return Some(Paths::All);
    }
    let inner = text.strip_suffix('*').unwrap_or(text);
    if inner.contains(['*', '{', '?', '[']) || !inner.starts_with('/') {
        let ending = text.strip_prefix('*').filter(|rest| !rest.contains(['*', '{', '?', '[']))?;
        return Some(Paths::Regex(format!("(?i){}$", escape(ending))));
    }
    // Caddy knows no case in paths: what is matched by a text alone would miss other spellings.
    let has_letters = inner.chars().any(char::is_alphabetic);
    Some(match (text.ends_with('*'), has_letters) {
        (true, _) => Paths::Prefix(inner.to_owned()),
        (false, _) => Paths::Exact(inner.to_owned()),
    })
}

/// Returns the paths of both; nothing where that cannot be said.
fn both(one: &Paths, two: &Paths) -> Option<Vec<Paths>> {
    let found = match (one, two) {
        (Paths::All, other) | (other, Paths::All) => Some(other.clone()),
        (Paths::Exact(a), Paths::Exact(b)) => (a == b).then(|| one.clone()),
        (Paths::Prefix(a), Paths::Prefix(b)) if b.starts_with(a.as_str()) => Some(two.clone()),
        (Paths::Prefix(a), Paths::Prefix(b)) => a.starts_with(b.as_str()).then(|| one.clone()),
        (Paths::Prefix(prefix), Paths::Exact(text)) => {
            text.starts_with(prefix.as_str()).then(|| two.clone())
        }
        (Paths::Exact(text), Paths::Prefix(prefix)) => {
            text.starts_with(prefix.as_str()).then(|| one.clone())
        }
        (a, b) if a == b => Some(a.clone()),
        (Paths::Regex(_), _) | (_, Paths::Regex(_)) => return None,
    };
    Some(found.into_iter().collect())
}
