//! Which target would be chosen, and how targets are: for who asks, not for requests. No place is
//! taken, and it stays everybody's turn.

use std::sync::{Arc, atomic::Ordering};

use super::{Balancer, Facts, Target, View, Way, mix};
use crate::balance::Moment;

impl Balancer {
    /// Returns the target that the next request would get, and whether there is a free place at one.
    pub(crate) fn preview(&self, now: Moment, facts: &Facts) -> Option<&Arc<Target>> {
        let slow_start = self.settings.slow_start.duration();
        let view = View::new(&self.targets, slow_start, self.signals.changes(), now);
        let is_used = |index: u32| {
            usize::try_from(index).ok().and_then(|index| view.is_member.get(index)) == Some(&true)
        };
        let has_place = |index: &u32| self.business(*index, &view) != u64::MAX;
        if let Some(stays) = facts.stays.filter(|index| is_used(*index) && has_place(index)) {
            return self.at(stays);
        }
        let turn = self.state.turn.load(Ordering::Relaxed);
        let found = match (&self.way, facts.key) {
            (Way::Hash { ring, .. }, Some(key)) => {
                ring.walk(key).find(|index| is_used(*index) && has_place(index))
            }
            (Way::LeastRequests, _) => self.idlest(&view, turn).filter(has_place),
            (Way::TwoChoices, _) => {
                let drawn = [mix(turn), mix(mix(turn))].map(|random| view.schedule.get(random));
                let drawn = drawn.into_iter().flatten();
                drawn.min_by_key(|index| self.business(*index, &view)).filter(has_place)
            }
            (Way::Turn, _) | (Way::Hash { .. }, None) => view.schedule.walk(turn).find(has_place),
        };
        self.at(found?)
    }

    /// The one with the fewest requests for its weight; among equals the one whose turn it is.
    fn idlest(&self, view: &View, turn: u64) -> Option<u32> {
        let count = view.members.len();
        let first = usize::try_from(turn).unwrap_or_default() % count.max(1);
        let (before, after) = view.members.split_at_checked(first)?;
        let members = after.iter().chain(before).copied();
        members.min_by_key(|index| self.business(*index, view))
    }

    fn at(&self, index: u32) -> Option<&Arc<Target>> {
        self.targets.get(usize::try_from(index).ok()?)
    }
}

impl Target {
    /// Says how it is.
    pub(crate) fn state(&self, now: Moment) -> String {
        let state = if !self.condition.passes_checks() {
            "fails its checks".to_owned()
        } else if let Some(back) = self.condition.returns_at(now) {
            format!("failed too often and rests for {} s", back.since(now).as_secs().max(1))
        } else {
            "well".to_owned()
        };
        let role = if self.declared.backup { ", a backup" } else { "" };
        format!("{state}{role}, {} in flight", self.in_flight())
    }
}
