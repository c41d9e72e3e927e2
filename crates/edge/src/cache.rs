//! Answers that are kept and given again: a shared cache as RFC 9111 has it.
//!
//! Nothing here speaks with anybody. What a request may get and what of an answer may be kept is decided
//! by pure functions (`question`, `admit`, `terms`); the store keeps it in memory that all sites share
//! (`store`); `flights` lets requests for the same wait for one of them. Who asks upstreams is
//! [`crate::actions`].
//!
//! An answer is kept under the one canonical URL of its request, as the site's upstream was asked for
//! it. What a request carries beside is either part of what tells kept answers apart, or keeps the
//! answer from being kept.

mod admit;
mod conditions;
mod content;
pub(crate) mod directives;
mod flights;
mod give;
mod key;
mod purge;
mod question;
mod rules;
mod status;
mod store;
mod terms;
mod vary;

use jiff::Timestamp;

pub(crate) use self::{
    admit::{Unkept, date, judge, kept_headers, renewed_headers},
    conditions::{Conditions, ask_by, confirms},
    content::Content,
    flights::{Join, Landed, Lead},
    give::{give, not_modified},
    key::{Key, Place, counted, site_keys},
    purge::canonical as canonical_purge,
    question::{Pass, Question},
    rules::CompiledCache,
    status::{Forwarded, Report, Verdict},
    store::{Found, Kept, Store},
    terms::{Freshness, Terms, Times},
    vary::Variant,
};

impl Question {
    /// Sets its answers apart from those of other upstreams.
    pub(crate) fn within(mut self, scope: u64) -> Self {
        self.own.scope = self.own.scope.rotate_left(1) ^ scope;
        self
    }

    /// Judges what was found for it.
    pub(crate) fn judge(&self, kept: &Kept, now: Timestamp) -> Freshness {
        if self.may_share(&kept.terms) {
            kept.terms.judge(&self.wants, now)
        } else {
            Freshness::Over
        }
    }

    /// Tells whether what was found may be given as there is nothing better.
    pub(crate) fn may_have_stale(&self, kept: &Kept, now: Timestamp) -> bool {
        self.may_share(&kept.terms) && kept.terms.may_stand_in(&self.wants, now)
    }

    /// Tells whether what was found is anything that it may be given, once it is confirmed.
    pub(crate) fn may_use(&self, kept: &Kept) -> bool {
        self.may_share(&kept.terms)
    }
}
