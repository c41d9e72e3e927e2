//! Upstreams in their shortest form.

use portway_model::site::spec::{TargetSpec, ToSpec, UpstreamSpec};

/// Writes an upstream without settings as its targets alone.
pub(crate) fn short(mut upstream: UpstreamSpec) -> ToSpec {
    let targets = std::mem::take(&mut upstream.targets);
    if upstream == UpstreamSpec::default() {
        return match targets.as_slice() {
            [TargetSpec::To(only)] => ToSpec::One(only.clone()),
            _ => ToSpec::Many(targets),
        };
    }
    ToSpec::Upstream(Box::new(UpstreamSpec { targets, ..upstream }))
}
