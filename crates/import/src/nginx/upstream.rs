//! `upstream` blocks.

use portway_model::site::spec::{
    BalanceSpec, DurationSpec, EjectSettingsSpec, EjectSpec, HashKeySpec, HashSpec, PoolSpec,
    RequestPartSpec, TargetSettingsSpec,
};

use super::{Cx, read::Node, units};
use crate::report::Id;

/// An upstream as far as it can be said.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// All of its directives.
    pub(super) ids: Vec<Id>,
    pub(super) targets: Vec<TargetSettingsSpec>,
    pub(super) balance: Option<BalanceSpec>,
    /// What takes a target out, where that was said.
    fails: Option<EjectSettingsSpec>,
    never_out: bool,
    pub(super) pool: Option<PoolSpec>,
    /// Something in it is not known, and may decide who is asked.
    pub(super) is_unknown: bool,
}

impl Group {
    pub(super) fn read(node: &Node, cx: &mut Cx<'_>) -> Self {
        let mut group = Self::default();
        cx.ledger.converted(node.id);
        node.each(&mut |node| group.ids.push(node.id));
        for inner in node.inner() {
            group.take(inner, cx);
        }
        group
    }

    fn take(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let word = |word: &str| Some(BalanceSpec::Word(word.to_owned()));
        match node.name() {
            "server" => self.take_server(node, cx),
            "least_conn" => {
                self.balance = word("least_requests");
                cx.ledger.converted(node.id);
            }
            "ip_hash" => {
                self.balance = Some(hash(HashKeySpec::Word("client".to_owned())));
                cx.ledger.converted(node.id);
            }
            "random" => {
                self.balance = word("two_choices");
                cx.ledger.approximated(node.id, "the less busy of two that are drawn");
            }
            "hash" => self.take_hash(node, cx),
            "keepalive" => {
                self.pool().max_idle = node.arg(0).parse().ok().filter(|n| *n <= 10_000);
                cx.ledger.converted(node.id);
            }
            "keepalive_timeout" => {
                let seconds = cx.time(node).filter(|seconds| (1..=3600).contains(seconds));
                self.pool().idle_timeout = seconds.map(DurationSpec::Seconds);
            }
            "keepalive_requests" => {
                self.pool().max_requests = node.arg(0).parse().ok().filter(|n| *n > 0);
                cx.ledger.converted(node.id);
            }
            "zone" | "resolver" | "resolver_timeout" | "keepalive_time" => {
                cx.ledger.converted_by(node.id, "Portway has no need of it");
            }
            "sticky" => cx.ledger.not_converted(node.id, "say `sticky` in the site's `to`"),
            _ => {
                self.is_unknown = true;
                cx.ledger.not_converted(node.id, "it is not known here");
            }
        }
        node.inner().iter().for_each(|inner| {
            inner.each(&mut |inner| cx.ledger.not_converted(inner.id, "it is not known here"));
        });
    }

    /// Returns what takes a target out; nothing where nothing was said.
    pub(super) fn eject(&self) -> Option<EjectSpec> {
        if self.never_out {
            return Some(EjectSpec::Enabled(false));
        }
        self.fails.clone().map(EjectSpec::Settings)
    }

    fn fails(&mut self) -> &mut EjectSettingsSpec {
        self.fails.get_or_insert_default()
    }

    fn pool(&mut self) -> &mut PoolSpec {
        self.pool.get_or_insert_default()
    }

    fn take_hash(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let key = node.arg(0);
        let part = if let Some(name) = key.strip_prefix("$cookie_") {
            RequestPartSpec { cookie: Some(name.to_owned()), ..RequestPartSpec::default() }
        } else if let Some(name) = key.strip_prefix("$http_") {
            RequestPartSpec { header: Some(name.replace('_', "-")), ..RequestPartSpec::default() }
        } else if matches!(key, "$remote_addr" | "$binary_remote_addr") {
            self.balance = Some(hash(HashKeySpec::Word("client".to_owned())));
            return cx.ledger.converted(node.id);
        } else {
            let why =
                "targets are chosen by the client, a header or a cookie; they are used in turn";
            return cx.ledger.not_converted(node.id, why);
        };
        self.balance = Some(hash(HashKeySpec::Part(part)));
        cx.ledger.converted(node.id);
    }

    fn take_server(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let mut target =
            TargetSettingsSpec { to: node.arg(0).to_owned(), ..TargetSettingsSpec::default() };
        let mut notes = Vec::new();
        for option in node.args().iter().skip(1) {
            match option.split_once('=').unwrap_or((option.as_str(), "")) {
                ("weight", n) => target.weight = n.parse().ok().filter(|n| (2..=1000).contains(n)),
                ("backup", _) => target.backup = Some(true),
                ("down", _) => {
                    return cx.ledger.converted_by(node.id, "it is down, so it is left out");
                }
                ("max_fails", "0") => self.never_out = true,
                ("max_fails", n) => self.fails().failures = n.parse().ok().filter(|n| *n <= 1000),
                ("fail_timeout", text) => {
                    let seconds = units::seconds(text).filter(|n| (1..=3600).contains(n));
                    self.fails().within = seconds.map(DurationSpec::Seconds);
                    self.fails().lasts = seconds.map(DurationSpec::Seconds);
                }
                ("max_conns", n) => {
                    self.pool().max_connections = n.parse().ok().filter(|n| *n > 0);
                    notes.push("`max_conns` holds for each target alike");
                }
                ("resolve", _) => {}
                _ => notes.push("an option of it is not known here"),
            }
        }
        self.targets.push(target);
        if notes.is_empty() {
            cx.ledger.converted(node.id);
        } else {
            cx.ledger.approximated(node.id, notes.join("; "));
        }
    }
}

fn hash(hash: HashKeySpec) -> BalanceSpec {
    BalanceSpec::Hash(HashSpec { hash })
}
