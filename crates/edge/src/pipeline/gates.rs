//! Stages that judge whether a request is let in at this moment: a site that is being worked on, and how
//! many requests may come.

use std::net::IpAddr;

use super::{Inbound, Witness};
use crate::{
    admission::{Admitted, Asked, Exceeded},
    content::{CompiledRoute, CompiledSite},
    exchange::Refusal,
    metrics::Limited,
    pages::{Fault, TooMany},
    worker::Shared,
};

/// Whoever works on a site, or looks at the work, comes from a network that is let through.
pub(super) fn refuse_in_maintenance(site: &CompiledSite, client: IpAddr) -> Result<(), Refusal> {
    let Some(maintenance) = &site.maintenance else { return Ok(()) };
    if maintenance.allow.iter().any(|network| network.contains(&client)) {
        return Ok(());
    }
    Err(Refusal::quiet(Fault::Maintenance(Box::new(maintenance.clone()))))
}

/// So many requests in a time, and so many at the same time.
pub(super) fn admit(
    shared: &Shared,
    inbound: &Inbound<'_>,
    site: &CompiledSite,
    route: &CompiledRoute,
    witness: &mut impl Witness,
) -> Result<Option<Admitted>, Refusal> {
    let Some(admission) = &route.admission else { return Ok(None) };
    let tally = site.runtime.tally();
    let now = shared.content.clock.nanoseconds();
    let (client, headers) = (inbound.origin.client, &inbound.parts.headers);
    let asked = Asked { client, headers, now };
    let judged = if witness.is_counted() {
        admission.admit(tally, &asked).map(Some)
    } else {
        admission.foretell(tally, &asked, |text| witness.within(text)).map(|()| None)
    };
    match judged {
        Ok(admitted) => {
            for (kind, limit) in admitted.iter().flat_map(|admitted| &admitted.tried) {
                witness.exceeds(*kind, limit, Limited::DryRun);
            }
            Ok(admitted)
        }
        Err(exceeded) => {
            witness.exceeds(exceeded.kind, &exceeded.limit, Limited::Refused);
            Err(too_many(*exceeded))
        }
    }
}

fn too_many(exceeded: Exceeded) -> Refusal {
    let Exceeded { kind, limit: _, reason, retry_after, told } = exceeded;
    let too_many = TooMany { kind, retry_after, told };
    Refusal::of_request(Fault::TooMany(Box::new(too_many)), reason)
}
