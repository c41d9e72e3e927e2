//! Stages that find out where a request belongs: its host and path, its site and route.

use std::{pin::pin, sync::Arc};

use http::{HeaderValue, header, request::Parts};

use super::{Inbound, Witness};
use crate::{
    body,
    canonical::{self, HostName, RequestFault, RequestHost, RequestPath},
    content::{CompiledSite, HostEntry, HostTable, LOOKS, LoadError, Located},
    exchange::Refusal,
    headers::Origin,
    pages::Fault,
    waited::{Step, waited},
    worker::{Connection, Shared},
};

/// One canonical host and path, computed once.
pub(super) fn understand<'a>(
    connection: &'a Connection,
    origin: &'a Origin,
    parts: Parts,
) -> Result<Box<Inbound<'a>>, Refusal> {
    let host = canonical::host(&parts).map_err(bad_request)?;
    let host_value = host_value(&host, parts.headers.get(header::HOST));
    let (path, spellings) = RequestPath::of(&parts.uri).map_err(bad_request)?;
    Ok(Box::new(Inbound {
        connection,
        origin,
        host,
        host_value,
        path,
        spellings,
        parts,
        upgrade: false,
    }))
}

fn bad_request(fault: RequestFault) -> Refusal {
    Refusal::of_request(Fault::BadRequest(fault), fault.to_string())
}

/// Returns a host as it stands in headers: what was sent, where that is its one form.
fn host_value(host: &RequestHost, sent: Option<&HeaderValue>) -> Option<HeaderValue> {
    if host.name == HostName::Nothing {
        return None;
    }
    let sent = sent.filter(|sent| sent.to_str().is_ok_and(|text| host.is_written(text)));
    // The text of a host is a header's value.
    sent.cloned().or_else(|| HeaderValue::try_from(host.to_string()).ok())
}

/// The sites that answer to the host, and their routes.
pub(super) async fn find_host(
    shared: &Shared,
    inbound: &Inbound<'_>,
    witness: &mut impl Witness,
) -> Result<(Arc<HostEntry>, Arc<HostTable>), Refusal> {
    let content = &shared.content;
    let local = inbound.connection.local.ip().to_canonical();
    let mut last = LoadError::Gone;
    // A site may be replaced between its look-up and its first load; then the newer one counts.
    for _ in 0..LOOKS {
        let entry = content.snapshot().find(&inbound.host.name, local).map(Arc::clone);
        let entry = entry.ok_or_else(no_site)?;
        let waits = |time| witness.waits(Step::Load, time);
        let loaded = waited(pin!(content.table(&entry)), waits).await;
        match loaded {
            Ok(table) => return Ok((entry, table)),
            Err(error) => last = error,
        }
        if !matches!(last, LoadError::Gone) {
            break;
        }
    }
    Err(Refusal::of_edge(Fault::Internal, body::chain(&last)))
}

/// The site, and its route unless none takes the request. Sites without HTTPS are not there for
/// who comes by TLS.
pub(super) fn find_site(
    table: &HostTable,
    inbound: &Inbound<'_>,
) -> Result<(Arc<CompiledSite>, Option<Located>), Refusal> {
    let tls = inbound.connection.tls.is_some();
    let serves = |site: &CompiledSite| !tls || site.https.is_some();
    // Read as the upstream will read it, so that no spelling of a path leads past its rules.
    let path = canonical::decode(inbound.path.as_str()).map_err(bad_request)?;
    let located = table.find(&path, &inbound.parts, serves);
    let site = match &located {
        Some(located) => &located.site,
        None => table.sites.iter().find(|site| serves(site)).ok_or_else(no_site)?,
    };
    Ok((Arc::clone(site), located))
}

/// A spelling that programs understand differently is refused unless the site allows it; and then
/// every way to read it must lead to the same route, so that none leads past its rules.
pub(super) fn refuse_odd_path(
    table: &HostTable,
    inbound: &Inbound<'_>,
    site: &CompiledSite,
    located: Option<&Located>,
) -> Result<(), Refusal> {
    if inbound.spellings.is_empty() {
        return Ok(());
    }
    if let Some(fault) = inbound.spellings.refused_by(site.paths) {
        return Err(bad_request(fault));
    }
    let tls = inbound.connection.tls.is_some();
    for reading in
        canonical::readings(inbound.path.as_str(), inbound.spellings).map_err(bad_request)?
    {
        let other = table.find(&reading, &inbound.parts, |site| !tls || site.https.is_some());
        if !Located::are_same(other.as_ref(), located) {
            return Err(bad_request(RequestFault::TwoRoutes));
        }
    }
    Ok(())
}

fn no_site() -> Refusal {
    Refusal::of_request(Fault::NoSite, "no site answers to this host")
}

pub(super) fn no_route() -> Refusal {
    Refusal::of_request(Fault::NoRoute, "no route of the site takes this request")
}
