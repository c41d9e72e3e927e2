//! What all sites have in common: the directives that every server has, and the constants, maps and log
//! formats that stand once in the entry of a release.

use portway_policy::NodeSettings;

use super::{
    syntax::{Directive, line},
    value::{DOLLAR, EMPTY},
};
use crate::{EngineFacts, RenderError};

/// The name of the log format that writes Portway's JSON.
pub(super) const JSON_LOG: &str = "portway_json";
/// The name of the log format that nginx calls combined, whatever the machine calls so.
pub(super) const COMBINED_LOG: &str = "portway_combined";

/// One access record of Portway. nginx escapes variables, but cannot leave a field out without losing
/// that, so what is not known is an empty text.
const JSON_FIELDS: &str = r#"{"time":"$portway_time","request_id":"$portway_request_id","client":"$remote_addr","method":"$request_method","scheme":"$portway_proto","host":"$host","path":"$portway_log_path","query":"$args","protocol":"$server_protocol","status":$status,"bytes_in":$request_length,"bytes_out":$body_bytes_sent,"duration_ms":$portway_ms,"user":"$remote_user","referer":"$http_referer","user_agent":"$http_user_agent","upstream":"$upstream_addr","tls":"$ssl_protocol"}"#;

const COMBINED_FIELDS: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

/// Headers by which programs say who asks, beyond those that are set anew.
pub(super) const CLAIMS: [&str; 22] = [
    "forwarded",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-client-cert",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-preferred-username",
    "x-forwarded-proto-version",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-tls-client-cert",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-forwarded-user",
    "x-forwarded-access-token",
    "x-forwarded-request-id",
    "x-portway-edge",
    "x-portway-mirror",
];

/// Paths of a node are written by administrators, and stand where nginx looks for variables, wildcards
/// and more. They have plain names.
pub(super) fn check_layout(facts: &EngineFacts) -> Result<(), RenderError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    for (what, path) in facts.layout.paths() {
        if !path.is_absolute() || !path.as_str().chars().all(plain) {
            let why = format!("{path} is no absolute path of letters, digits and `/._+-`");
            return Err(RenderError::Node { what: what.to_owned(), why });
        }
    }
    Ok(())
}

/// Returns the `listen` lines of a port.
pub(super) fn listen(facts: &EngineFacts, port: u16, options: &[&str]) -> Vec<Directive> {
    let addresses = &facts.ports.addresses;
    let places: Vec<String> = if addresses.is_empty() {
        vec![port.to_string(), format!("[::]:{port}")]
    } else {
        addresses.iter().map(|ip| std::net::SocketAddr::new(*ip, port).to_string()).collect()
    };
    let with_options = |place: String| {
        let options = options.iter().map(|option| (*option).to_owned());
        Directive::new(["listen".to_owned(), place].into_iter().chain(options))
    };
    places.into_iter().map(with_options).collect()
}

/// Returns the `listen` lines of HTTPS. Before 1.25.1 HTTP/2 belongs to the socket, so all sites have
/// it or none.
pub(super) fn listen_tls(facts: &EngineFacts, http2: bool) -> Vec<Directive> {
    if !facts.is_at_least(1, 25, 1) {
        return listen(facts, facts.ports.https, &["ssl", "http2"]);
    }
    let mut block = listen(facts, facts.ports.https, &["ssl"]);
    block.push(line!("http2", if http2 { "on" } else { "off" }));
    block
}

/// What the machine's own configuration may have set otherwise for all servers.
pub(super) fn server_defaults() -> Vec<Directive> {
    vec![
        line!("server_tokens", "off"),
        line!("absolute_redirect", "off"),
        line!("merge_slashes", "on"),
        line!("satisfy", "all"),
        line!("allow", "all"),
        line!("auth_basic", "off"),
        line!("etag", "on"),
        line!("if_modified_since", "exact"),
        line!("log_not_found", "off"),
        line!("charset", "off"),
        line!("expires", "off"),
        // Applications read `X_Forwarded_For` as `X-Forwarded-For`.
        line!("underscores_in_headers", "off"),
        line!("ignore_invalid_headers", "on"),
        line!("recursive_error_pages", "off"),
        line!("error_page", "418", super::routes::NONE),
        line!("large_client_header_buffers", "8", "8k"),
        line!("client_body_buffer_size", "64k"),
    ]
}

/// TLS as every server has it.
pub(super) fn tls_defaults() -> Vec<Directive> {
    vec![
        line!("ssl_session_cache", "shared:portway:10m"),
        line!("ssl_session_timeout", "1d"),
        line!("ssl_session_tickets", "off"),
        line!("ssl_ciphers", "ECDHE+AESGCM:ECDHE+CHACHA20"),
        line!("ssl_prefer_server_ciphers", "off"),
        line!("ssl_verify_client", "off"),
    ]
}

/// Refuses what has no safe meaning, before anything is chosen.
pub(super) fn refusals() -> Vec<Directive> {
    ["$portway_odd_target", "$portway_odd_path"]
        .into_iter()
        .map(|odd| line!("if", "(", odd, ")").with(vec![line!("return", "400")]))
        .collect()
}

/// Returns how answers are compressed.
pub(super) fn compression(on: bool) -> Vec<Directive> {
    if !on {
        return vec![line!("gzip", "off")];
    }
    let types = super::types::COMPRESSED.iter().map(|media| (*media).to_owned());
    vec![
        line!("gzip", "on"),
        line!("gzip_vary", "on"),
        line!("gzip_proxied", "any"),
        line!("gzip_min_length", "1024"),
        Directive::new(std::iter::once("gzip_types".to_owned()).chain(types)),
    ]
}

/// Returns what every server of a node has: whom to believe who asks. Without a trusted proxy, what the
/// machine's own configuration believes is not believed here.
pub(super) fn of_node(settings: &NodeSettings) -> Vec<Directive> {
    let trusted = settings.trusted_proxies.iter().map(|network| line!("set_real_ip_from", network));
    let mut block = vec![line!("set_real_ip_from", "unix:")];
    block.extend(trusted);
    block.push(line!("real_ip_header", "X-Forwarded-For"));
    block.push(line!("real_ip_recursive", "on"));
    block
}

/// Returns what stands once in the entry of a release.
pub(super) fn once(settings: &NodeSettings) -> Vec<Directive> {
    let mut block = vec![
        constant(&format!("${DOLLAR}"), "$"),
        constant(EMPTY, ""),
        trusted(settings),
        odd_target(),
        odd_path(),
    ];
    block.extend(forwarded());
    block.extend(upgrade());
    block.push(wants_page());
    block.extend(logs());
    block
}

/// nginx looks for variables nearly everywhere, but not in the values of `geo`.
fn constant(variable: &str, value: &str) -> Directive {
    line!("geo", variable).with(vec![line!("default", value)])
}

fn trusted(settings: &NodeSettings) -> Directive {
    let mut block = vec![line!("default", "0")];
    block.extend(settings.trusted_proxies.iter().map(|network| line!(network, "1")));
    line!("geo", "$realip_remote_addr", "$portway_trusted").with(block)
}

fn map(source: &str, variable: &str, entries: &[(&str, &str)]) -> Directive {
    let block = entries.iter().map(|(key, value)| line!(key, value)).collect();
    line!("map", source, variable).with(block)
}

/// The spellings of a path that programs understand differently, and what is no path: an encoded slash,
/// a backslash, control characters, something encoded twice, a broken escape, a dot segment with
/// parameters. nginx decodes what it was sent, so this looks at what was sent.
fn odd_target() -> Directive {
    const HEX: &str = "(?:[0-9A-Fa-f]|%3[0-9]|%[46][1-6])";
    let faults = [
        "%2[Ff]".to_owned(),
        "\\\\|%5[Cc]".to_owned(),
        "%[01][0-9A-Fa-f]|%7[Ff]|[\\x00-\\x1f\\x7f]".to_owned(),
        format!("%25{HEX}{HEX}"),
        "%(?![0-9A-Fa-f]{2})".to_owned(),
        "/(?:\\.|%2[Ee]){1,2}(?:;|%3[Bb])".to_owned(),
        "#".to_owned(),
    ];
    let odd = format!("~\\A[^?]*?(?:{})", faults.join("|"));
    map("$request_uri", "$portway_odd_target", &[("default", "0"), (&odd, "1")])
}

/// Paths are UTF-8.
fn odd_path() -> Directive {
    const UTF8: &str = "~\\A(?:[\\x00-\\x7f]|[\\xc2-\\xdf][\\x80-\\xbf]|\\xe0[\\xa0-\\xbf][\\x80-\\xbf]|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]{2}|\\xed[\\x80-\\x9f][\\x80-\\xbf]|\\xf0[\\x90-\\xbf][\\x80-\\xbf]{2}|[\\xf1-\\xf3][\\x80-\\xbf]{3}|\\xf4[\\x80-\\x8f][\\x80-\\xbf]{2})*+\\z";
    map("$uri", "$portway_odd_path", &[("default", "1"), (UTF8, "0")])
}

/// Who asks, as upstreams are told. What strangers claim is dropped; what trusted proxies say is
/// continued.
fn forwarded() -> Vec<Directive> {
    vec![
        map(
            "$portway_trusted:$http_x_forwarded_for",
            "$portway_forwarded_for",
            &[
                ("default", "$realip_remote_addr"),
                ("~\\A1:.", "$http_x_forwarded_for, $realip_remote_addr"),
            ],
        ),
        map(
            "$portway_trusted:$http_x_forwarded_proto",
            "$portway_proto",
            &[("default", "$scheme"), ("~*\\A1:https\\z", "https"), ("~\\A1:.", "http")],
        ),
        map(
            "$http_host",
            "$portway_host",
            &[
                ("default", "$host"),
                ("", ""),
                ("~:(?<portway_host_port>[0-9]+)\\z", "$host:$portway_host_port"),
            ],
        ),
        map(
            "$portway_trusted:$http_x_forwarded_host",
            "$portway_forwarded_host",
            &[("default", "$portway_host"), ("~\\A1:.", "$http_x_forwarded_host")],
        ),
        map(
            "$portway_proto:$http_host",
            "$portway_port",
            &[
                ("default", "80"),
                ("~:(?<portway_named_port>[0-9]+)\\z", "$portway_named_port"),
                ("~\\Ahttps:", "443"),
            ],
        ),
        map(
            "$portway_trusted:$http_x_forwarded_port",
            "$portway_forwarded_port",
            &[("default", "$portway_port"), ("~\\A1:.", "$http_x_forwarded_port")],
        ),
        map(
            "$portway_trusted",
            "$portway_forwarded_prefix",
            &[("default", ""), ("1", "$http_x_forwarded_prefix")],
        ),
        map(
            "$portway_trusted:$http_x_forwarded_prefix",
            "$portway_outer",
            &[
                ("default", ""),
                ("~\\A1:(?<portway_outer_prefix>.*?)/*\\z", "$portway_outer_prefix"),
            ],
        ),
        map(
            "$portway_trusted:$http_x_request_id",
            "$portway_request_id",
            &[("default", "$request_id"), ("~\\A1:[A-Za-z0-9._-]{8,64}\\z", "$http_x_request_id")],
        ),
    ]
}

/// A connection may leave HTTP for WebSocket and the like, but not for another way to speak HTTP, which
/// would carry requests past every rule.
fn upgrade() -> Vec<Directive> {
    vec![
        map(
            "$request_method $http_upgrade",
            "$portway_upgrade",
            &[
                ("default", ""),
                ("~*(?: |,)\\s*(?:h2c|h2|http|tls)\\s*(?:[/,]|\\z)", ""),
                ("~\\AGET .", "$http_upgrade"),
            ],
        ),
        map("$portway_upgrade", "$portway_connection", &[("default", "upgrade"), ("", "")]),
    ]
}

/// Whoever takes anything gets a page, unless JSON is named.
fn wants_page() -> Directive {
    map(
        "$http_accept",
        "$portway_wants_page",
        &[
            ("default", "0"),
            ("", "1"),
            ("~*text/(?:html|\\*)", "1"),
            ("~*application/(?:json|\\*)", "0"),
            ("~\\*/\\*", "1"),
        ],
    )
}

fn logs() -> Vec<Directive> {
    vec![
        map(
            "$time_iso8601:$msec",
            "$portway_time",
            &[
                ("default", "$time_iso8601"),
                (
                    "~\\A(?<portway_second>[0-9T:-]{19})\\+00:00:[0-9]+\\.(?<portway_milli>[0-9]{3})\\z",
                    "${portway_second}.${portway_milli}Z",
                ),
            ],
        ),
        map(
            "$request_time",
            "$portway_ms",
            &[
                ("default", "0"),
                ("~\\A0\\.0{0,2}(?<portway_short>[0-9]+)\\z", "$portway_short"),
                (
                    "~\\A(?<portway_long>[1-9][0-9]*)\\.(?<portway_rest>[0-9]{3})\\z",
                    "${portway_long}${portway_rest}",
                ),
            ],
        ),
        map(
            "$request_uri",
            "$portway_log_path",
            &[("default", "$uri"), ("~\\A(?<portway_raw_path>[^?]*)", "$portway_raw_path")],
        ),
        line!("log_format", JSON_LOG, "escape=json", JSON_FIELDS),
        line!("log_format", COMBINED_LOG, COMBINED_FIELDS),
    ]
}
