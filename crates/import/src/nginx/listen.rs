//! `listen`: for whom a server is at all.

use ipnet::IpNet;

use super::{Cx, read::Node};

/// Where a server listens.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Listens {
    pub(super) plain: bool,
    pub(super) tls: bool,
    pub(super) is_default: bool,
    /// Some of it can be reached by everybody.
    is_open: bool,
    /// Some of it can be reached from this machine alone.
    is_loopback: bool,
    /// Some of it can be reached by who has a way to a private address or a socket.
    is_private: bool,
    pub(super) port: u16,
}

/// Who reaches a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Everybody.
    Open,
    /// These addresses.
    Only(Vec<IpNet>),
    /// Somebody who cannot be told.
    Unknown,
}

impl Listens {
    pub(super) fn take(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let address = node.arg(0);
        let options: Vec<&str> = node.args().iter().skip(1).map(String::as_str).collect();
        let (host, port) = split(address);
        let is_tls = options.contains(&"ssl") || options.contains(&"quic");
        self.plain |= !is_tls;
        self.tls |= is_tls;
        self.is_default |= options.contains(&"default_server") || options.contains(&"default");
        self.port = port;
        self.take_host(host);
        if options.contains(&"proxy_protocol") {
            let why = "who may tell the client's address is said of the node";
            cx.ledger.approximated(node.id, why);
        } else if !matches!((port, is_tls), (80, false) | (443, true)) {
            let why = format!("sites answer on the ports of their node, not on {port}");
            cx.ledger.approximated(node.id, why);
        } else {
            cx.ledger.converted(node.id);
        }
    }

    fn take_host(&mut self, host: &str) {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.starts_with("unix:") {
            self.is_private = true;
        } else if host == "localhost" {
            self.is_loopback = true;
        } else if let Ok(address) = host.parse::<std::net::IpAddr>() {
            let is_private = match address {
                std::net::IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
                std::net::IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
            };
            self.is_loopback |= address.is_loopback();
            self.is_private |= is_private;
            self.is_open |= !address.is_loopback() && !is_private;
        } else {
            // `*`, nothing, or a name of the machine.
            self.is_open = true;
        }
    }

    pub(super) fn reached(&self) -> Reached {
        match (self.is_open, self.is_private, self.is_loopback) {
            (true, _, _) | (false, false, false) => Reached::Open,
            (false, true, _) => Reached::Unknown,
            (false, false, true) => {
                let nets = ["127.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse().ok());
                Reached::Only(nets.collect())
            }
        }
    }
}

fn split(address: &str) -> (&str, u16) {
    if address.starts_with("unix:") {
        return (address, 80);
    }
    if let Ok(port) = address.parse() {
        return ("", port);
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(80)),
        Some(_) | None => (address, 80),
    }
}
