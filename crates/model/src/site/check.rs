//! From what was written to what is meant.
use super::{Site, SiteSpec};
use crate::{Finding, Name};
/// Checks.
pub fn check(_name: &Name, _spec: &SiteSpec) -> (Option<Site>, Vec<Finding>) {
    (None, vec![])
}
