//! How targets are spoken to: timeouts, connections, TLS.

use portway_model::{
    FieldPath,
    site::{
        ClientCertificate, ClientKey, Pool, ProxyProtocol, Timeouts, Upstream, UpstreamProtocol,
        UpstreamTls,
    },
};

use super::{
    site::Lines,
    syntax::{Directive, Word},
    text::Unwritable,
};
use crate::{Extension, Secrecy};

/// Writes how the targets of an upstream are spoken to.
pub(super) fn write(
    lines: &mut Lines<'_>,
    upstream: &Upstream,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let mut options = Vec::new();
    timeouts(&mut options, upstream.timeouts);
    pool(&mut options, upstream.pool);
    // What the client asked for is passed on, and so is the answer.
    options.push(Directive::new(["compression", "off"]));
    let versions: &[&'static str] = match (upstream.protocol, &upstream.tls) {
        (UpstreamProtocol::Http1, _) => &["versions", "1.1"],
        (UpstreamProtocol::H2c, None) => &["versions", "h2c", "2"],
        (UpstreamProtocol::H2c, Some(_)) => &["versions", "2"],
    };
    options.push(Directive::new(versions.iter().copied()));
    if let Some(version) = upstream.proxy_protocol {
        let version = match version {
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
        };
        options.push(Directive::new(["proxy_protocol", version]));
    }
    if let Some(settings) = &upstream.tls {
        tls(lines, &mut options, settings, upstream)?;
    }
    lines.from(&at.key("tls"));
    lines.put(Directive::new(["transport", "http"]).with(options))
}

fn timeouts(options: &mut Vec<Directive>, timeouts: Timeouts) {
    let Timeouts { connect, first_byte, silence, send } = timeouts;
    for (option, seconds) in [
        ("dial_timeout", connect.0),
        ("response_header_timeout", first_byte.0),
        // Caddy waits no longer for the first byte than between two reads.
        ("read_timeout", silence.0.max(first_byte.0)),
        ("write_timeout", send.0),
    ] {
        options.push(Directive::new([Word::ours(option), Word::from(format!("{seconds}s"))]));
    }
}

fn pool(options: &mut Vec<Directive>, pool: Pool) {
    let Pool { max_idle, idle_timeout, max_connections, max_requests: _ } = pool;
    let keepalive = match (max_idle, idle_timeout.0) {
        (0, _) | (_, 0) => "off".to_owned(),
        (_, seconds) => format!("{seconds}s"),
    };
    let is_kept = keepalive != "off";
    options.push(Directive::new([Word::ours("keepalive"), Word::from(keepalive)]));
    for (option, most) in [
        ("keepalive_idle_conns_per_host", Some(max_idle).filter(|_| is_kept)),
        ("max_conns_per_host", max_connections),
    ] {
        if let Some(most) = most {
            options.push(Directive::new([Word::ours(option), Word::from(most.to_string())]));
        }
    }
}

fn tls(
    lines: &mut Lines<'_>,
    options: &mut Vec<Directive>,
    settings: &UpstreamTls,
    upstream: &Upstream,
) -> Result<(), Unwritable> {
    let UpstreamTls { verify, ca_pem, server_name } = settings;
    options.push(Directive::new(["tls"]));
    let connect = Word::from(format!("{}s", upstream.timeouts.connect.0));
    options.push(Directive::new([Word::ours("tls_timeout"), connect]));
    if !verify {
        options.push(Directive::new(["tls_insecure_skip_verify"]));
    }
    if let Some(name) = server_name {
        options.push(Directive::new([Word::ours("tls_server_name"), Word::text(name)?]));
    }
    if let Some(pem) = ca_pem.as_ref().filter(|_| *verify) {
        let file = Word::from(lines.object(Extension::Crt, Secrecy::Open, pem));
        let words: &[&'static str] = if lines.facts.is_at_least(2, 8, 0) {
            &["tls_trust_pool", "file"]
        } else {
            &["tls_trusted_ca_certs"]
        };
        let words = words.iter().copied().map(Word::ours).chain([file]);
        options.push(Directive::new(words));
    }
    if let Some(ClientCertificate { chain_pem, key: ClientKey::Pem(key) }) = &upstream.client {
        let chain = lines.object(Extension::Crt, Secrecy::Open, chain_pem);
        let key = lines.object(Extension::Key, Secrecy::Workers, key);
        let words = [Word::ours("tls_client_auth"), Word::from(chain), Word::from(key)];
        options.push(Directive::new(words));
    }
    Ok(())
}
