//! What can be chosen from at a moment: worked out once, and used by requests until something
//! changes. So a request of a large upstream does not look at every target.

use std::{sync::Arc, time::Duration};

use super::{Moment, schedule::Schedule, state::Target};

/// A warming target gets its share in so many steps.
const STEPS: u64 = 10;

/// What can be chosen from.
#[derive(Debug)]
pub(super) struct View {
    /// The targets that are used, by index.
    pub(super) members: Vec<u32>,
    /// Of all targets, whether they are used.
    pub(super) is_member: Vec<bool>,
    /// Of all targets, the weight with which they are used.
    pub(super) weights: Vec<u64>,
    /// The members, each as often as its weight says.
    pub(super) schedule: Schedule,
    /// Well targets that are not used: the ones to try when all others failed a request.
    pub(super) reserve: Vec<u32>,
    /// Whether targets are used although they are not well, because too many are not.
    pub(super) is_panic: bool,
    /// The count of changes at which it was worked out.
    pub(super) changes: u64,
    /// When it must be worked out again although nothing was announced.
    pub(super) until: Moment,
}

impl View {
    /// Works out what can be chosen from.
    pub(super) fn new(
        targets: &[Arc<Target>],
        slow_start: Duration,
        changes: u64,
        now: Moment,
    ) -> Self {
        let is_well: Vec<bool> = targets.iter().map(|it| it.condition.is_well(now)).collect();
        let (used, is_panic) = used(targets, &is_well);
        let (mut members, mut reserve) = (Vec::new(), Vec::new());
        let mut weights = vec![0; targets.len()];
        let mut until = Moment::NEVER;
        for (((target, is_well), is_used), weight) in
            targets.iter().zip(&is_well).zip(&used).zip(&mut weights)
        {
            if let Some(back) = target.condition.returns_at(now) {
                until = until.min(back);
            }
            if !is_used {
                reserve.extend(is_well.then_some(target.index));
                continue;
            }
            let (warmth, changes_at) = warmth(target, slow_start, now);
            until = until.min(changes_at);
            *weight = u64::from(target.declared.weight) * warmth;
            members.push(target.index);
        }
        let shares: Vec<(u32, u64)> = (0..).zip(weights.iter().copied()).collect();
        Self {
            members,
            is_member: used,
            schedule: Schedule::new(&shares),
            weights,
            reserve,
            is_panic,
            changes,
            until,
        }
    }

    /// Tells whether it still holds.
    pub(super) fn holds(&self, now: Moment, changes: u64) -> bool {
        self.changes == changes && now < self.until
    }
}

/// Returns which targets are used, and whether that is for want of better ones.
///
/// Backups are used while no other target is well. When more than half of the weight of the others
/// would be out, all of them are used: the fault is more likely elsewhere, and what is left would
/// not carry the load.
fn used(targets: &[Arc<Target>], is_well: &[bool]) -> (Vec<bool>, bool) {
    let weight = |wanted: bool| -> u64 {
        let counted = targets.iter().zip(is_well);
        let counted = counted.filter(|(it, well)| !it.declared.backup && **well == wanted);
        counted.map(|(target, _)| u64::from(target.declared.weight)).sum()
    };
    let choose = |rule: &dyn Fn(&Target, bool) -> bool| -> Vec<bool> {
        targets.iter().zip(is_well).map(|(target, well)| rule(target, *well)).collect()
    };
    let (well, ill) = (weight(true), weight(false));
    if well > 0 && well >= ill {
        return (choose(&|target, well| well && !target.declared.backup), false);
    }
    let has_well_backup =
        targets.iter().zip(is_well).any(|(target, well)| target.declared.backup && *well);
    if well == 0 && has_well_backup {
        return (choose(&|target, well| well && target.declared.backup), false);
    }
    (choose(&|target, _| !target.declared.backup), true)
}

/// Returns the share of its weight that a target gets, in percent, and when that changes.
fn warmth(target: &Target, slow_start: Duration, now: Moment) -> (u64, Moment) {
    let whole = Moment::at(slow_start).millis();
    let Some(back) = target.condition.back_since(now).filter(|_| whole > 0) else {
        return (100, Moment::NEVER);
    };
    let passed = Moment::at(now.since(back)).millis();
    if passed >= whole {
        return (100, Moment::NEVER);
    }
    let step = passed * STEPS / whole + 1;
    let next = back.after(Duration::from_millis((whole * step).div_ceil(STEPS)));
    (step * 100 / STEPS, next)
}
