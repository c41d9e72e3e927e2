//! How targets are at the moment at which metrics are read. Nothing of this is counted: it is looked
//! up where requests are decided by it.

use std::{collections::BTreeMap, fmt::Error};

use prometheus_client::encoding::MetricEncoder;

use crate::{
    balance::{Balancer, Moment},
    content::CompiledSite,
};

/// The upstreams of a site.
#[derive(Debug)]
pub(crate) struct SiteUpstreams {
    site: String,
    /// By target.
    targets: BTreeMap<String, TargetFigures>,
    /// How many requests wait.
    pub(super) waiting: u32,
    /// Whether all targets of one of them are used because too many are out.
    pub(super) panic: bool,
}

/// A target.
#[derive(Debug)]
pub(super) struct TargetFigures {
    /// Requests in flight, of all upstreams of the site.
    pub(super) in_flight: u32,
    /// Whether it passes all its checks.
    pub(super) healthy: bool,
    /// Whether failures keep it out of one of them.
    pub(super) ejected: bool,
}

impl SiteUpstreams {
    /// Looks at a site; nothing where it has no upstream.
    pub(crate) fn of(site: &CompiledSite, now: Moment) -> Option<Self> {
        let mut found = Self {
            site: site.name.to_string(),
            targets: BTreeMap::new(),
            waiting: 0,
            panic: false,
        };
        site.upstreams().for_each(|upstream| found.add(&upstream.balancer, now));
        (!found.targets.is_empty()).then_some(found)
    }

    fn add(&mut self, balancer: &Balancer, now: Moment) {
        self.waiting = self.waiting.saturating_add(balancer.waiting());
        self.panic |= balancer.is_panicking();
        for target in balancer.targets() {
            let condition = target.condition();
            let new = || TargetFigures { in_flight: 0, healthy: true, ejected: false };
            let name = target.declared().to_string();
            let figures = self.targets.entry(name).or_insert_with(new);
            figures.in_flight = target.in_flight();
            figures.healthy &= condition.passes_checks();
            figures.ejected |= condition.is_ejected(now);
        }
    }
}

/// Writes a figure of every target.
pub(super) fn targets(
    mut encoder: MetricEncoder<'_>,
    sites: &[SiteUpstreams],
    figure: impl Fn(&TargetFigures) -> u32,
) -> Result<(), Error> {
    for site in sites {
        for (target, figures) in &site.targets {
            let labels = [("site", site.site.as_str()), ("target", target.as_str())];
            encoder.encode_family(&labels)?.encode_gauge(&figure(figures))?;
        }
    }
    Ok(())
}

/// Writes a figure of every site.
pub(super) fn sites(
    mut encoder: MetricEncoder<'_>,
    sites: &[SiteUpstreams],
    figure: impl Fn(&SiteUpstreams) -> u32,
) -> Result<(), Error> {
    for site in sites {
        encoder.encode_family(&[("site", site.site.as_str())])?.encode_gauge(&figure(site))?;
    }
    Ok(())
}
