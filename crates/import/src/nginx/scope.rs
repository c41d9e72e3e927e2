//! What holds in a block: its own directives over those of the blocks around it, inherited as nginx
//! does. Directives that add up are inherited only where a block has none of its own.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Cx, known, read::Node, units};
use crate::{
    networks::{Rule, Who},
    report::Id,
};

/// What holds in a block.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
pub(super) struct Scope {
    pub(super) root: Option<String>,
    pub(super) index: Option<Vec<String>>,
    pub(super) autoindex: bool,
    /// The `Cache-Control` of `expires`.
    pub(super) expires: Option<String>,
    pub(super) default_type: Option<String>,
    pub(super) response: Vec<(String, String)>,
    pub(super) hidden: Vec<String>,
    pub(super) request: Vec<Sent>,
    pub(super) rules: Vec<Rule>,
    pub(super) rule_ids: Vec<Id>,
    pub(super) any: Option<Id>,
    /// The text of the password dialogue, or that there is none.
    pub(super) realm: Option<(Id, Option<String>)>,
    pub(super) users: Option<(Id, String)>,
    pub(super) max_body: Option<u64>,
    pub(super) gzip: Option<bool>,
    pub(super) connect: Option<u64>,
    pub(super) read: Option<u64>,
    pub(super) send: Option<u64>,
    pub(super) unbuffered: bool,
    pub(super) tries_once: bool,
    pub(super) verify: bool,
    pub(super) tls_name: Option<String>,
    pub(super) authority: Option<(Id, String)>,
    pub(super) real_ip: bool,
    /// Only these addresses reach the block at all.
    pub(super) only: Option<Vec<IpNet>>,
    /// Methods that are taken, and the status for all others.
    pub(super) methods: Option<(Vec<String>, u16)>,
    pub(super) variables: BTreeMap<String, String>,
    /// Nobody is let in.
    pub(super) closed: bool,
}

/// A header that the application gets.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) value: String,
}

impl Scope {
    /// Takes the directives of a block, and returns those that are no settings.
    pub(super) fn enter<'n>(&mut self, nodes: &'n [Node], cx: &mut Cx<'_>) -> Vec<&'n Node> {
        let has = |names: &[&str]| nodes.iter().any(|node| names.contains(&node.name()));
        if has(&["add_header"]) {
            self.response.clear();
        }
        if has(&["proxy_set_header"]) {
            self.request.clear();
        }
        if has(&["proxy_hide_header"]) {
            self.hidden.clear();
        }
        if has(&["allow", "deny"]) {
            self.rules.clear();
            self.rule_ids.clear();
        }
        let mut rest = Vec::new();
        for node in nodes {
            if node.block.is_some() && !is_block(node.name()) {
                node.each(&mut |node| cx.ledger.not_converted(node.id, "it has no block"));
                self.close(node.id, "it is not known with a block", cx);
            } else if !self.take(node, cx) {
                rest.push(node);
            }
        }
        rest
    }

    /// Closes the block for good.
    pub(super) fn close(&mut self, id: Id, why: impl Into<String>, cx: &mut Cx<'_>) {
        self.closed = true;
        cx.ledger.closes(id, format!("{}; nobody is let in", why.into()));
    }

    fn take(&mut self, node: &Node, cx: &mut Cx<'_>) -> bool {
        match node.name() {
            "root" => self.root = cx.text(node, self),
            "index" => self.take_index(node, cx),
            "autoindex" => self.autoindex = cx.switch(node),
            "expires" => self.take_expires(node, cx),
            "default_type" => {
                self.default_type = Some(node.arg(0).to_owned());
                cx.ledger.approximated(node.id, "types of files come from Portway's own list");
            }
            "add_header" => self.take_response(node, cx),
            "proxy_hide_header" => {
                self.hidden.push(node.arg(0).to_owned());
                cx.ledger.converted(node.id);
            }
            "proxy_set_header" => {
                let (name, value) = (node.arg(0).to_owned(), self.filled(node.arg(1)));
                self.request.push(Sent { id: node.id, name, value });
                cx.ledger.converted(node.id);
            }
            "allow" | "deny" => self.take_rule(node, cx),
            "satisfy" if node.arg(0) == "any" => {
                self.any = Some(node.id);
                cx.ledger.converted(node.id);
            }
            "satisfy" => {
                self.any = None;
                cx.ledger.converted(node.id);
            }
            "auth_basic" => self.take_realm(node, cx),
            "auth_basic_user_file" => {
                self.users = Some((node.id, self.filled(node.arg(0))));
                cx.ledger.converted(node.id);
            }
            "client_max_body_size" => self.max_body = cx.size(node),
            "gzip" => self.gzip = Some(cx.switch(node)),
            "proxy_connect_timeout" => self.connect = cx.time(node),
            "proxy_read_timeout" => self.read = cx.time(node),
            "proxy_send_timeout" => self.send = cx.time(node),
            "proxy_request_buffering" => self.unbuffered = !cx.switch(node),
            "proxy_next_upstream" if node.arg(0) == "off" => {
                self.tries_once = true;
                cx.ledger.converted(node.id);
            }
            "proxy_ssl_verify" => self.verify = cx.switch(node),
            "proxy_ssl_server_name" => drop(cx.switch(node)),
            "proxy_ssl_name" => self.tls_name = cx.text(node, self),
            "proxy_ssl_trusted_certificate" => {
                self.authority = Some((node.id, node.arg(0).to_owned()));
                cx.ledger.converted(node.id);
            }
            "set_real_ip_from" | "real_ip_header" => {
                self.real_ip = true;
                self.take_known(node, cx);
            }
            "set" => self.take_variable(node, cx),
            "ssl_verify_client" if node.arg(0) == "off" => cx.ledger.converted(node.id),
            "ssl_verify_client" => {
                self.close(node.id, "certificates of clients cannot be asked for yet", cx);
            }
            "limit_except" => self.take_methods(node, cx),
            name if is_structure(name) => return false,
            _ => self.take_known(node, cx),
        }
        true
    }

    /// A directive that is not known may protect what it stands in.
    fn take_known(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let known = known::of(node.name());
        let closes = match &known {
            Some(known) => known.tell(node.id, cx.options.without_limits, &mut cx.ledger),
            None if node.name() == "include" => true,
            None => {
                let why = "it is not known here and may protect something; nobody is let in";
                cx.ledger.closes(node.id, why);
                true
            }
        };
        self.closed |= closes;
        let is_approximated = known.is_some_and(known::Known::is_approximated);
        for inner in node.inner() {
            inner.each(&mut |inner| {
                let why = format!("it belongs to `{}`", node.name());
                if is_approximated {
                    cx.ledger.approximated(inner.id, why);
                } else {
                    cx.ledger.not_converted(inner.id, why);
                }
            });
        }
    }

    /// An index that an application would run is never sent as a file.
    fn take_index(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let is_file = |name: &&String| {
            let name = name.to_ascii_lowercase();
            let known = [".html", ".htm", ".xhtml", ".txt", ".xml", ".json"];
            !name.contains(['$', '/']) && known.iter().any(|end| name.ends_with(end))
        };
        let names: Vec<String> = node.args().iter().filter(is_file).cloned().collect();
        if names.len() == node.args().len() {
            cx.ledger.converted(node.id);
        } else {
            let why =
                "names that an application would run are left out, so that none is sent as a file";
            cx.ledger.approximated(node.id, why);
        }
        self.index = Some(names);
    }

    fn take_expires(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let value = match node.arg(0) {
            "off" => None,
            "max" => Some("max-age=315360000".to_owned()),
            "epoch" => Some("no-cache".to_owned()),
            text if text.starts_with('-') => Some("no-cache".to_owned()),
            text => match units::seconds(text) {
                Some(seconds) => Some(format!("max-age={seconds}")),
                None => {
                    cx.ledger
                        .not_converted(node.id, "a time of day or a variable cannot be said here");
                    return;
                }
            },
        };
        cx.ledger.converted_by(node.id, "as `Cache-Control`; there is no `Expires`");
        self.expires = value;
    }

    fn take_response(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let (name, value) = (node.arg(0).to_owned(), self.filled(node.arg(1)));
        if value.contains('$') {
            cx.ledger.not_converted(node.id, "the value of a header is a fixed text here");
            return;
        }
        let is_same = |(other, _): &&mut (String, String)| other.eq_ignore_ascii_case(&name);
        match self.response.iter_mut().find(is_same) {
            Some(_) if name.eq_ignore_ascii_case("set-cookie") => {
                cx.ledger.not_converted(node.id, "one `Set-Cookie` can be added, no second one");
                return;
            }
            Some((_, earlier)) => *earlier = format!("{earlier}, {value}"),
            None => self.response.push((name, value)),
        }
        if node.arg(2) == "always" {
            cx.ledger.converted(node.id);
        } else {
            cx.ledger.approximated(node.id, "errors have the header too");
        }
    }

    fn take_rule(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let Some(who) = Who::parse(node.arg(0)) else {
            self.close(node.id, format!("`{}` is no address or network", node.arg(0)), cx);
            return;
        };
        self.rules.push(Rule { allows: node.name() == "allow", who });
        self.rule_ids.push(node.id);
        cx.ledger.converted(node.id);
    }

    fn take_realm(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let text = self.filled(node.arg(0));
        if text.contains('$') {
            self.close(node.id, "whether a password is asked for depends on a variable", cx);
            return;
        }
        self.realm = Some((node.id, (text != "off").then_some(text)));
        cx.ledger.converted(node.id);
    }

    fn take_variable(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let value = self.filled(node.arg(1));
        if value.contains('$') || cx.unsteady.contains(node.arg(0)) {
            self.variables.remove(node.arg(0));
            cx.ledger.not_converted(node.id, "variables have fixed values here");
            return;
        }
        self.variables.insert(node.arg(0).to_owned(), value);
        cx.ledger.converted_by(node.id, "its value is put where the variable is used");
    }

    /// `limit_except` closes all other methods for those whom its block keeps out.
    fn take_methods(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let inner: Vec<(&str, &str)> = node.inner().iter().map(|n| (n.name(), n.arg(0))).collect();
        if inner != [("deny", "all")] {
            node.inner().iter().for_each(|inner| {
                inner.each(&mut |n| cx.ledger.not_converted(n.id, "it belongs to `limit_except`"));
            });
            self.close(node.id, "methods cannot have access rules of their own", cx);
            return;
        }
        node.each(&mut |node| cx.ledger.converted(node.id));
        let mut methods = node.args().to_vec();
        // Who may GET may HEAD, says nginx here, and nowhere else.
        if methods.iter().any(|method| method == "GET") {
            methods.push("HEAD".to_owned());
        }
        self.only_methods(methods, 403);
    }

    pub(super) fn only_methods(&mut self, mut methods: Vec<String>, status: u16) {
        if let Some((earlier, _)) = &self.methods {
            methods.retain(|method| earlier.contains(method));
        }
        methods.sort();
        methods.dedup();
        self.methods = Some((methods, status));
    }

    /// Puts in the variables that `set` gave a fixed value.
    pub(super) fn filled(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        if !text.contains('$') {
            return filled;
        }
        // Longer names first: `$ab` is not `$a` before a `b`.
        let mut names: Vec<&String> = self.variables.keys().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        for name in names {
            let value = self.variables.get(name).map_or("", String::as_str);
            let braced = format!("${{{}}}", name.trim_start_matches('$'));
            filled = filled.replace(&braced, value);
            filled = replaced_whole(&filled, name, value);
        }
        filled
    }
}

/// Replaces a variable where its name ends.
fn replaced_whole(text: &str, name: &str, value: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(name) {
        out.push_str(before);
        let goes_on = after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        out.push_str(if goes_on { name } else { value });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Tells whether a directive has a block, as far as it is known.
fn is_block(name: &str) -> bool {
    let known = [
        "server",
        "location",
        "if",
        "upstream",
        "map",
        "geo",
        "split_clients",
        "http",
        "stream",
        "mail",
        "limit_except",
        "types",
        "events",
        "charset_map",
    ];
    known.contains(&name) || name.ends_with("_by_lua_block")
}

/// What is not inherited, or makes a block of its own.
fn is_structure(name: &str) -> bool {
    matches!(
        name,
        "server"
            | "upstream"
            | "map"
            | "geo"
            | "split_clients"
            | "http"
            | "stream"
            | "mail"
            | "listen"
            | "server_name"
            | "location"
            | "return"
            | "rewrite"
            | "if"
            | "break"
            | "try_files"
            | "alias"
            | "internal"
            | "proxy_pass"
            | "fastcgi_pass"
            | "uwsgi_pass"
            | "scgi_pass"
            | "grpc_pass"
            | "memcached_pass"
            | "stub_status"
            | "random_index"
            | "ssl"
            | "ssl_protocols"
            | "http2"
    )
}
