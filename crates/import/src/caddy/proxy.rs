//! `reverse_proxy`

use portway_model::{
    Seconds,
    site::spec::{
        BalanceSpec, DurationSpec, EjectSettingsSpec, EjectSpec, HashKeySpec, HashSpec,
        HealthSettingsSpec, HealthSpec, RequestPartSpec, RouteSpec, StickySettingsSpec, StickySpec,
        SwitchableSizeSpec, TargetSpec, TimeoutsSpec, UpstreamSpec, UpstreamTlsSpec,
    },
};

use super::{Cx, scope::Scope};
use crate::{node::Node, upstream::short};

/// Returns a route to an application.
pub(super) fn route(
    node: &Node,
    args: &[String],
    scope: &mut Scope,
    cx: &mut Cx<'_>,
) -> Option<RouteSpec> {
    let mut found = Found::default();
    let mut targets: Vec<String> = args.to_vec();
    cx.ledger.converted(node.id);
    for inner in node.inner() {
        if inner.name() == "to" {
            targets.extend(inner.args().iter().cloned());
            cx.ledger.converted(inner.id);
        } else {
            found.take(inner, scope, cx);
        }
    }
    for target in targets {
        let Some(target) = found.target(&target) else {
            let why = format!("`{target}` cannot be told; answered 503");
            cx.ledger.not_converted(node.id, why);
            return None;
        };
        found.upstream.targets.push(TargetSpec::To(target));
    }
    found.upstream.health = found.health.map(HealthSpec::Settings);
    found.upstream.eject = found.eject.map(EjectSpec::Settings);
    if found.upstream.targets.is_empty() {
        cx.ledger.not_converted(node.id, "it has no fixed target; answered 503");
        return None;
    }
    Some(RouteSpec { to: Some(short(found.upstream)), ..RouteSpec::default() })
}

#[derive(Default)]
struct Found {
    upstream: UpstreamSpec,
    is_tls: bool,
    is_h2c: bool,
    health: Option<HealthSettingsSpec>,
    eject: Option<EjectSettingsSpec>,
}

impl Found {
    fn target(&self, text: &str) -> Option<String> {
        if text.contains('{') {
            return None;
        }
        if let Some(path) = text.strip_prefix("unix//").or_else(|| text.strip_prefix("unix/")) {
            let scheme = if self.is_h2c { "unix+h2c" } else { "unix" };
            return (!self.is_tls).then(|| format!("{scheme}:/{}", path.trim_start_matches('/')));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        if rest.trim_end_matches('/').contains('/') {
            return None;
        }
        let rest = rest.trim_end_matches('/');
        let rest = if rest.starts_with(':') { format!("127.0.0.1{rest}") } else { rest.to_owned() };
        let scheme = match (scheme, self.is_tls, self.is_h2c) {
            ("https", ..) | ("" | "http", true, _) => "https://",
            ("h2c", ..) | ("" | "http", _, true) => "h2c://",
            ("" | "http", false, false) => "",
            _ => return None,
        };
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(match (has_port, scheme) {
            (true, _) => format!("{scheme}{rest}"),
            (false, "https://") => format!("{scheme}{rest}:443"),
            (false, _) => format!("{scheme}{rest}:80"),
        })
    }

    fn take(&mut self, node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) {
        let args = node.args().to_vec();
        match node.name() {
            "header_up" if node.arg(0).eq_ignore_ascii_case("host") => self.take_host(node, cx),
            "header_up" => scope.tell(&args, node.id, cx),
            "header_down" => scope.answer_with(&args, node.id, cx),
            "lb_policy" => self.take_policy(node, cx),
            "health_uri" | "health_path" => {
                self.health().path = Some(node.arg(0).to_owned());
                cx.ledger.converted(node.id);
            }
            "health_interval" => self.health().interval = duration(node, 1, 3600, cx),
            "health_timeout" => self.health().timeout = duration(node, 1, 3600, cx),
            "fail_duration" => {
                let time = duration(node, 1, 3600, cx);
                let eject = self.eject();
                eject.within.clone_from(&time);
                eject.lasts = time;
            }
            "max_fails" => {
                self.eject().failures = node.arg(0).parse().ok().filter(|n| (1..=1000).contains(n));
                cx.ledger.converted(node.id);
            }
            "request_buffers"
            | "response_buffers"
            | "buffer_requests"
            | "buffer_responses"
            | "flush_interval"
            | "stream_timeout"
            | "stream_close_delay"
            | "lb_retries"
            | "lb_try_duration"
            | "lb_try_interval"
            | "verbose_logs"
            | "health_status"
            | "health_port"
            | "health_body"
            | "health_headers"
            | "health_method"
            | "health_passes"
            | "health_fails"
            | "health_follow_redirects"
            | "unhealthy_status"
            | "unhealthy_latency"
            | "unhealthy_request_count" => {
                node.each(&mut |node| {
                    cx.ledger.approximated(
                        node.id,
                        "Portway has settings of its own: see `to` of a site",
                    );
                });
                if node.name() == "flush_interval" && node.arg(0) == "-1" {
                    self.upstream.buffer = Some(SwitchableSizeSpec::Enabled(false));
                }
            }
            "transport" => self.take_transport(node, scope, cx),
            "trusted_proxies" => {
                cx.ledger
                    .not_converted(node.id, "whom to trust is said of the node: `--trusted-proxy`");
            }
            _ => {
                node.each(&mut |node| cx.ledger.not_converted(node.id, "it is not known here"));
                scope.close(node.id, "it is not known here and may protect something", cx);
            }
        }
    }

    fn health(&mut self) -> &mut HealthSettingsSpec {
        self.health.get_or_insert_default()
    }

    fn eject(&mut self) -> &mut EjectSettingsSpec {
        self.eject.get_or_insert_default()
    }

    fn take_host(&mut self, node: &Node, cx: &mut Cx<'_>) {
        match node.arg(1) {
            "{host}" | "{http.request.host}" | "{hostport}" | "{http.request.hostport}" => {
                cx.ledger.converted(node.id);
            }
            "{upstream_hostport}" | "{http.reverse_proxy.upstream.hostport}" => {
                self.upstream.host = Some("target".to_owned());
                cx.ledger.converted(node.id);
            }
            text if !text.contains('{') => {
                self.upstream.host = Some(text.to_owned());
                cx.ledger.converted(node.id);
            }
            _ => cx
                .ledger
                .not_converted(node.id, "the application sees the host that the client asked for"),
        }
    }

    fn take_policy(&mut self, node: &Node, cx: &mut Cx<'_>) {
        let word = |word: &str| Some(BalanceSpec::Word(word.to_owned()));
        let hash = |hash: HashKeySpec| Some(BalanceSpec::Hash(HashSpec { hash }));
        self.upstream.balance = match node.arg(0) {
            "round_robin" => word("round_robin"),
            "least_conn" => word("least_requests"),
            "random_choose" => word("two_choices"),
            "ip_hash" | "client_ip_hash" => hash(HashKeySpec::Word("client".to_owned())),
            "header" => {
                let header = Some(node.arg(1).to_owned());
                hash(HashKeySpec::Part(RequestPartSpec { header, ..RequestPartSpec::default() }))
            }
            "cookie" => {
                let cookie = Some(node.arg(1).to_owned()).filter(|name| !name.is_empty());
                let settings = StickySettingsSpec { cookie, ..StickySettingsSpec::default() };
                self.upstream.sticky = Some(StickySpec::Settings(settings));
                None
            }
            _ => {
                node.each(&mut |node| cx.ledger.not_converted(node.id, "targets are used in turn"));
                return;
            }
        };
        node.each(&mut |node| cx.ledger.converted(node.id));
    }

    fn take_transport(&mut self, node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) {
        if node.arg(0) != "http" {
            node.each(&mut |node| {
                cx.ledger.not_converted(node.id, "only HTTP is spoken with applications");
            });
            return scope.close(node.id, "only HTTP is spoken with applications", cx);
        }
        cx.ledger.converted(node.id);
        for inner in node.inner() {
            let tls = |found: &mut Self| {
                found.is_tls = true;
                found.upstream.tls.get_or_insert_with(UpstreamTlsSpec::default).clone()
            };
            let timeouts = self.upstream.timeouts.clone().unwrap_or_default();
            match inner.name() {
                "tls" => {
                    self.is_tls = true;
                    cx.ledger.converted(inner.id);
                }
                "tls_insecure_skip_verify" => {
                    self.upstream.tls = Some(UpstreamTlsSpec { verify: Some(false), ..tls(self) });
                    cx.ledger.converted(inner.id);
                }
                "tls_server_name" => {
                    let server_name = Some(inner.arg(0).to_owned());
                    self.upstream.tls = Some(UpstreamTlsSpec { server_name, ..tls(self) });
                    cx.ledger.converted(inner.id);
                }
                "dial_timeout" => {
                    let connect = duration(inner, 1, 86_400, cx);
                    self.upstream.timeouts = Some(TimeoutsSpec { connect, ..timeouts });
                }
                "response_header_timeout" => {
                    let first_byte = duration(inner, 1, 86_400, cx);
                    self.upstream.timeouts = Some(TimeoutsSpec { first_byte, ..timeouts });
                }
                "read_timeout" => {
                    let silence = duration(inner, 1, 86_400, cx);
                    self.upstream.timeouts = Some(TimeoutsSpec { silence, ..timeouts });
                }
                "write_timeout" => {
                    let send = duration(inner, 1, 86_400, cx);
                    self.upstream.timeouts = Some(TimeoutsSpec { send, ..timeouts });
                }
                "versions" => {
                    self.is_h2c = inner.args().iter().any(|version| version == "h2c");
                    cx.ledger.converted(inner.id);
                }
                "proxy_protocol" => {
                    self.upstream.proxy_protocol = Some(inner.arg(0).to_owned());
                    cx.ledger.converted(inner.id);
                }
                "tls_client_auth" | "tls_trusted_ca_certs" | "tls_trust_pool" => {
                    inner.each(&mut |node| {
                        cx.ledger.not_converted(
                            node.id,
                            "certificates for applications are given in `to: {tls: …}`",
                        );
                    });
                    self.is_tls = true;
                }
                _ => inner.each(&mut |node| {
                    cx.ledger.approximated(node.id, "Portway chooses this itself");
                }),
            }
        }
    }
}

fn duration(node: &Node, least: u64, most: u64, cx: &mut Cx<'_>) -> Option<DurationSpec> {
    let text = node.arg(0);
    let seconds = match text.strip_suffix("ms").and_then(|millis| millis.parse::<u64>().ok()) {
        Some(millis) => Some(millis.div_ceil(1000)),
        None => text.parse::<Seconds>().ok().map(|seconds| seconds.0),
    };
    match seconds {
        Some(seconds) => {
            cx.ledger.converted(node.id);
            Some(DurationSpec::Seconds(seconds.clamp(least, most)))
        }
        None => {
            cx.ledger.not_converted(node.id, "it is no time that is known");
            None
        }
    }
}
