//! How targets are spoken to.

use portway_model::{
    FieldPath,
    site::{ClientCertificate, ClientKey, Timeouts, Upstream, UpstreamProtocol, UpstreamTls},
};
use serde_json::json;

use super::{document::set, site::Draft};
use crate::{Extension, Secrecy};

/// Adds the transport of an upstream and returns its name.
pub(super) fn of_upstream(
    draft: &mut Draft<'_>,
    name: &str,
    upstream: &Upstream,
    _: &FieldPath,
) -> String {
    let Timeouts { connect, first_byte, silence, send } = upstream.timeouts;
    let mut timeouts = json!({"dialTimeout": format!("{}s", connect.0),
        "responseHeaderTimeout": format!("{}s", first_byte.0),
        "idleConnTimeout": format!("{}s", upstream.pool.idle_timeout.0.max(1))});
    if draft.facts.is_at_least(3, 7, 0) {
        // Traefik waits no longer for the first byte than between two reads.
        set(&mut timeouts, "readTimeout", json!(format!("{}s", silence.0.max(first_byte.0))));
        set(&mut timeouts, "writeTimeout", json!(format!("{}s", send.0)));
    }
    // -1 keeps none; 0 would be the usual number.
    let idle = i64::from(upstream.pool.max_idle);
    let mut transport = json!({"forwardingTimeouts": timeouts,
        "maxIdleConnsPerHost": if idle == 0 { -1 } else { idle }});
    if upstream.protocol == UpstreamProtocol::Http1 {
        set(&mut transport, "disableHTTP2", json!(true));
    }
    if let Some(UpstreamTls { verify, ca_pem, server_name }) = &upstream.tls {
        if !verify {
            set(&mut transport, "insecureSkipVerify", json!(true));
        }
        if let Some(pem) = ca_pem.as_ref().filter(|_| *verify) {
            set(
                &mut transport,
                "rootCAs",
                json!([draft.object(Extension::Crt, Secrecy::Open, pem)]),
            );
        }
        if let Some(name) = server_name {
            set(&mut transport, "serverName", json!(name));
        }
    }
    if let Some(ClientCertificate { chain_pem, key: ClientKey::Pem(key) }) = &upstream.client {
        let chain = draft.object(Extension::Crt, Secrecy::Open, chain_pem);
        let key = draft.object(Extension::Key, Secrecy::Workers, key);
        set(&mut transport, "certificates", json!([{"certFile": chain, "keyFile": key}]));
    }
    draft.transport(name, transport)
}
