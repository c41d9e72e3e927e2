//! nginx: servers become sites, locations become routes.

mod access;
mod known;
mod listen;
mod location;
mod making;
mod pattern;
mod proxy;
mod read;
mod rewrite;
mod routes;
mod scope;
mod server;
pub(crate) mod units;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use self::{
    read::{Node, Reader},
    rewrite::Asked,
    scope::Scope,
    server::Server,
    upstream::Group,
};
use crate::{ImportError, Imported, options::Options, report::Ledger, sites, tree::Tree};

/// What the conversion of every block has at hand.
struct Cx<'a> {
    tree: &'a dyn Tree,
    options: &'a Options,
    ledger: Ledger,
    /// The folder from which relative paths are meant.
    folder: Utf8PathBuf,
    upstreams: BTreeMap<String, Group>,
    /// Upstreams that a site makes use of.
    used: BTreeSet<String>,
    /// Variables of the server at hand that have more than one value.
    unsteady: BTreeSet<String>,
    asked: Asked,
}

pub(crate) fn import(
    path: &Utf8Path,
    tree: &dyn Tree,
    options: &Options,
) -> Result<Imported, ImportError> {
    let folder = path.parent().unwrap_or(Utf8Path::new("/")).to_owned();
    let mut ledger = Ledger::default();
    let read = Reader::new(tree, options, &mut ledger, folder.clone()).read(path);
    let nodes = read.map_err(ImportError::Unreadable)?;
    let (upstreams, unsteady, used) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let asked = Asked::default();
    let mut cx = Cx { tree, options, ledger, folder, upstreams, used, unsteady, asked };
    let (scope, servers) = cx.http(&nodes);
    let drafts = cx.drafts(&servers, &scope);
    cx.tell_unused_upstreams();
    let sites = sites::finish(drafts, options, &mut cx.ledger);
    Ok(Imported { sites, entries: cx.ledger.finish() })
}

impl Cx<'_> {
    /// Takes what stands outside of servers, and returns what holds in all of them. A file with servers
    /// alone is read as the inside of `http`.
    fn http<'n>(&mut self, nodes: &'n [Node]) -> (Scope, Vec<&'n Node>) {
        let mut scope = Scope::default();
        let mut servers = Vec::new();
        let mut rest = scope.enter(nodes, self);
        let mut index = 0;
        while let Some(node) = rest.get(index).copied() {
            index += 1;
            match node.name() {
                "http" => {
                    self.ledger.converted(node.id);
                    let inner = scope.enter(node.inner(), self);
                    rest.extend(inner);
                }
                "server" => servers.push(node),
                "upstream" => {
                    let group = Group::read(node, self);
                    self.upstreams.insert(node.arg(0).to_owned(), group);
                }
                "map" if node.arg(0) == "$http_upgrade" => {
                    node.each(&mut |node| {
                        self.ledger.converted_by(node.id, "WebSocket needs no setting");
                    });
                }
                "map" | "geo" | "split_clients" => {
                    let note = "values that depend on a request are not known; where they are used, it is told";
                    node.each(&mut |node| self.ledger.not_converted(node.id, note));
                }
                "stream" | "mail" => {
                    let note = "only HTTP is served";
                    node.each(&mut |node| self.ledger.not_converted(node.id, note));
                }
                "ssl_protocols" | "http2" | "ssl" => {
                    let note = "say it in `https` of the sites that need it; TLS is 1.2 or later";
                    self.ledger.approximated(node.id, note);
                }
                _ => {
                    let note = "it is not known outside of a server; nobody is let in";
                    node.each(&mut |node| self.ledger.closes(node.id, note));
                    scope.closed = true;
                }
            }
        }
        (scope, servers)
    }

    /// Makes drafts: of servers for one host the one with HTTPS counts, then the first.
    fn drafts(&mut self, nodes: &[&Node], scope: &Scope) -> Vec<sites::Draft> {
        let servers: Vec<Server<'_>> = nodes.iter().map(|node| Server::read(node, self)).collect();
        self.tell_unknown_names(&servers);
        let mut drafts = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            let is_taken = |host: &&String| {
                servers.iter().enumerate().any(|(other, rival)| {
                    let has_it = other != index && rival.hosts.contains(host);
                    let is_better = match (rival.listens.tls, server.listens.tls) {
                        (true, false) => true,
                        (false, true) => false,
                        (true, true) | (false, false) => other < index,
                    };
                    has_it && is_better
                })
            };
            let (taken, own): (Vec<String>, Vec<String>) =
                server.hosts.iter().cloned().partition(|host| is_taken(&host));
            // Plain HTTP for any host that is sent on to HTTPS is what every site does by itself.
            let own: Vec<String> =
                own.into_iter().filter(|host| host != "*" || !server.redirects("*")).collect();
            if own.is_empty() {
                self.unused(server, &taken, &servers);
                continue;
            }
            for host in taken.iter().filter(|host| !server.redirects(host)) {
                let note = format!("another server answers for `{host}`");
                self.ledger.approximated(server.node.id, note);
            }
            drafts.extend(server.drafts(own, scope, self));
        }
        drafts
    }

    fn tell_unused_upstreams(&mut self) {
        for (name, group) in &self.upstreams {
            if !self.used.contains(name) {
                for id in &group.ids {
                    self.ledger.not_converted(*id, "no site makes use of this upstream");
                }
            }
        }
    }

    /// Without a default, the first server of a port answers for names that no server has.
    fn tell_unknown_names(&mut self, servers: &[Server<'_>]) {
        for is_tls in [false, true] {
            let listens = |server: &&Server<'_>| {
                if is_tls { server.listens.tls } else { server.listens.plain }
            };
            let mut all = servers.iter().filter(listens);
            let has_default = all.clone().any(|server| server.hosts.iter().any(|host| host == "*"));
            if let (false, Some(first)) = (has_default, all.next()) {
                let note = "it answered for unknown names too, as the first of its port; those are answered 404 here";
                self.ledger.approximated(first.node.id, note);
            }
        }
    }

    fn unused(&mut self, server: &Server<'_>, taken: &[String], servers: &[Server<'_>]) {
        let has_tls = |host: &String| {
            servers.iter().any(|other| other.listens.tls && other.hosts.contains(host))
        };
        if !server.listens.tls
            && (taken.iter().all(has_tls) || server.redirects("*"))
            && !server.hosts.is_empty()
        {
            return server.fold(self);
        }
        let note = if server.hosts.is_empty() {
            "no site is made of this server: it has no host that a site can have"
        } else {
            "no site is made of this server: another one answers for its hosts"
        };
        server.node.each(&mut |node| self.ledger.not_converted(node.id, note));
    }

    /// Notes which variables have no fixed value in a server.
    fn note_unsteady(&mut self, server: &Node) {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        self.unsteady.clear();
        server.each(&mut |node| {
            if node.name() == "set" {
                values.entry(node.arg(0).to_owned()).or_default().insert(node.arg(1).to_owned());
            }
            if node.name() == "if" {
                for inner in node.inner().iter().filter(|inner| inner.name() == "set") {
                    self.unsteady.insert(inner.arg(0).to_owned());
                }
            }
        });
        let many = values.into_iter().filter(|(_, values)| values.len() > 1);
        self.unsteady.extend(many.map(|(name, _)| name));
    }

    /// Reads `on` or `off`.
    fn switch(&mut self, node: &Node) -> bool {
        self.ledger.converted(node.id);
        node.arg(0) == "on"
    }

    /// Reads a size.
    fn size(&mut self, node: &Node) -> Option<u64> {
        let size = units::bytes(node.arg(0));
        match size {
            Some(_) => self.ledger.converted(node.id),
            None => self.ledger.not_converted(node.id, "it is no size"),
        }
        size
    }

    /// Reads a time, in seconds.
    fn time(&mut self, node: &Node) -> Option<u64> {
        let time = units::seconds(node.arg(0));
        match time {
            Some(_) => self.ledger.converted(node.id),
            None => self.ledger.not_converted(node.id, "it is no time"),
        }
        time
    }

    /// Reads a text without variables.
    fn text(&mut self, node: &Node, scope: &Scope) -> Option<String> {
        let text = scope.filled(node.arg(0));
        if text.contains('$') {
            self.ledger.not_converted(node.id, "it depends on a variable");
            return None;
        }
        self.ledger.converted(node.id);
        Some(text)
    }
}
