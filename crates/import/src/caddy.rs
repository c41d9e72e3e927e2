//! Caddy: sites of a Caddyfile.

mod answers;
mod matcher;
mod proxy;
mod read;
mod scope;
mod site;

use std::collections::BTreeMap;

use camino::Utf8Path;

use self::{read::Reader, scope::Scope};
use crate::{
    ImportError, Imported, node::Node, options::Options, report::Ledger, sites, tree::Tree,
};

/// What the conversion of every block has at hand.
struct Cx<'a> {
    ledger: Ledger,
    options: &'a Options,
    /// HTTPS is switched off for all sites.
    no_https: bool,
    /// Plain HTTP is not sent on.
    no_redirect: bool,
}

pub(crate) fn import(
    path: &Utf8Path,
    tree: &dyn Tree,
    options: &Options,
) -> Result<Imported, ImportError> {
    let mut ledger = Ledger::default();
    let mut reader =
        Reader { tree, options, ledger: &mut ledger, snippets: BTreeMap::new(), nodes: 0 };
    let file = reader.read(path).map_err(ImportError::Unreadable)?;
    let mut cx = Cx { ledger, options, no_https: false, no_redirect: false };
    let global = cx.global(&file.options);
    let mut drafts = Vec::new();
    for node in &file.sites {
        drafts.extend(site::drafts(node, &global, &mut cx));
    }
    let sites = sites::finish(drafts, cx.options, &mut cx.ledger);
    Ok(Imported { sites, entries: cx.ledger.finish() })
}

impl Cx<'_> {
    /// Takes the options of the whole server.
    fn global(&mut self, nodes: &[Node]) -> Scope {
        let mut scope = Scope::default();
        for node in nodes {
            match (node.name(), node.arg(0)) {
                ("auto_https", "off" | "disable_certs") => {
                    self.no_https = true;
                    self.ledger.converted(node.id);
                }
                ("auto_https", "disable_redirects") => {
                    self.no_redirect = true;
                    self.ledger.converted(node.id);
                }
                ("servers", _) => {
                    let trusts = |inner: &Node| {
                        inner.name().starts_with("trusted_proxies")
                            || inner.name() == "listener_wrappers"
                    };
                    scope.is_behind_proxy |= node.inner().iter().any(trusts);
                    node.each(&mut |node| {
                        self.ledger.not_converted(
                            node.id,
                            "limits, and whom to trust, are said of the node",
                        );
                    });
                }
                ("default_bind", _) => {
                    scope.take(&Node { words: bind(node), ..node.clone() }, self);
                }
                ("order", _) => {
                    self.ledger.not_converted(node.id, "the usual order of directives counts");
                }
                _ => node.each(&mut |node| {
                    self.ledger.approximated(node.id, "Portway has settings of its own for this");
                }),
            }
        }
        scope
    }
}

fn bind(node: &Node) -> Vec<String> {
    std::iter::once("bind".to_owned()).chain(node.args().iter().cloned()).collect()
}
