//! An upstream, ready to be asked for a target.

mod preview;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, atomic::Ordering},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, header};
use portway_model::site::{Balance, HashKey, Upstream};

use super::{
    Change, Failure, Moment, QueueFull, States, StickyKey, Target, Ticket, Tokens,
    ring::{Ring, hash, mix},
    state::{Signals, UpstreamState},
    view::View,
};
use crate::cookies::values_of;

/// An upstream, ready to be asked for a target. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Balancer {
    settings: Arc<Upstream>,
    targets: Vec<Arc<Target>>,
    state: Arc<UpstreamState>,
    signals: Arc<Signals>,
    view: ArcSwap<View>,
    /// Held while the view is worked out; others use the one before in the meantime.
    renewal: Mutex<()>,
    way: Way,
    tokens: Option<Tokens>,
}

/// How a target is chosen, made ready.
#[derive(Debug)]
enum Way {
    Turn,
    LeastRequests,
    TwoChoices,
    Hash { key: Key, ring: Ring },
}

#[derive(Debug)]
enum Key {
    Client,
    Header(HeaderName),
    Cookie(Vec<u8>),
}

/// What of a request decides on its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The hash of its key, where it has one and targets are chosen by it.
    key: Option<u64>,
    /// The target that its cookie names.
    stays: Option<u32>,
}

/// The targets that a request was tried with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    targets: [u32; Self::MOST],
    count: usize,
    /// How many of them took no connection, and so nothing of the request.
    unreached: usize,
}

/// Why there is no target at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many requests are in flight as may be, or others wait already: wait in line, if there is a
    /// queue.
    Full,
    /// There is no target at all.
    Nobody,
}

/// What a pick found out about the upstream, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Too many targets are not well, so all are used from now on.
    Panic,
    /// Enough targets are well again.
    Recovered,
}

/// A target that was chosen for a request, with the place it takes there. Dropping it gives the
/// place back and wakes who waits for one.
#[derive(Debug)]
pub(crate) struct Pick {
    target: Arc<Target>,
    balancer: Arc<Balancer>,
    notice: Option<Notice>,
}

impl Balancer {
    /// Makes an upstream ready. `place` is where it stands in its site (its route, and its side in a
    /// split); what is known of it there is kept. `scope` sets its cookies apart from those of
    /// others.
    pub(crate) fn new(
        settings: Arc<Upstream>,
        states: &States,
        place: &str,
        key: &StickyKey,
        scope: &str,
        now: Moment,
    ) -> Self {
        let targets: Vec<Arc<Target>> = (0..)
            .zip(&settings.targets)
            .map(|(index, target)| states.target(index, target, &settings))
            .collect();
        let tokens = settings.sticky.clone().map(|cookie| {
            let names: Vec<String> = settings.targets.iter().map(ToString::to_string).collect();
            Tokens::new(key, cookie, scope, &names)
        });
        let signals = states.signals();
        let view = View::new(&targets, settings.slow_start.duration(), signals.changes(), now);
        let state = states.upstream(place);
        if settings.queue.is_some() {
            signals.add_queue(&state.queue);
        }
        Self {
            state,
            way: Way::of(&settings),
            view: ArcSwap::from_pointee(view),
            renewal: Mutex::new(()),
            tokens,
            signals,
            targets,
            settings,
        }
    }

    /// Returns what of a request decides on its target.
    pub(crate) fn facts(&self, client: IpAddr, headers: &HeaderMap) -> Facts {
        let key = match &self.way {
            Way::Turn | Way::LeastRequests | Way::TwoChoices => None,
            Way::Hash { key, .. } => key.of(client, headers),
        };
        let stays = self
            .tokens
            .as_ref()
            .and_then(|tokens| tokens.place(headers.get_all(header::COOKIE).iter()));
        Facts { key, stays }
    }

    /// Chooses a target and takes a place there. A request that was not tried yet does not get in
    /// before those that wait.
    pub(crate) fn pick(
        self: &Arc<Self>,
        now: Moment,
        facts: &Facts,
        tried: &Tried,
    ) -> Result<Pick, Refusal> {
        if tried.is_empty() {
            if self.settings.retries.attempts > 0 {
                self.state.budget.request(now, self.settings.retries.budget);
            }
            if self.settings.queue.is_some() && self.state.queue.len() > 0 {
                return Err(Refusal::Full);
            }
        }
        self.choose(now, facts, tried)
    }

    /// Gets in line for a place.
    pub(crate) fn wait(&self, now: Moment) -> Result<Ticket, QueueFull> {
        let rule = self.settings.queue.ok_or(QueueFull)?;
        self.state.queue.join(now, rule)
    }

    /// Chooses a target for the request whose turn it is. The ticket is kept until there is one.
    pub(crate) fn pick_in_turn(
        self: &Arc<Self>,
        _: &Ticket,
        now: Moment,
        facts: &Facts,
        tried: &Tried,
    ) -> Result<Pick, Refusal> {
        self.choose(now, facts, tried)
    }

    /// Tells whether a request that failed may be tried again, and counts that. Whether it is safe
    /// is for the caller to judge first.
    pub(crate) fn may_retry(&self, now: Moment, tried: &Tried) -> bool {
        (1..=self.attempts()).contains(&(tried.count - tried.unreached))
            && tried.count < Tried::MOST
            && self.state.budget.take(now)
    }

    /// Tells whether a request may go on to a target that was not tried yet, after one that took no
    /// connection. That asks nothing of an application twice, so it takes nothing from the budget.
    pub(crate) fn may_go_on(&self, tried: &Tried) -> bool {
        self.attempts() > 0 && tried.count < self.targets.len().min(Tried::MOST)
    }

    /// Returns the `Set-Cookie` that keeps the client with its target, unless it has it already.
    pub(crate) fn set_cookie(
        &self,
        target: u32,
        facts: &Facts,
        path: &str,
        https: bool,
    ) -> Option<String> {
        let tokens = self.tokens.as_ref().filter(|_| facts.stays != Some(target))?;
        tokens.set_cookie(target, path, https)
    }

    /// Returns the targets, in the order of their declaration.
    pub(crate) fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// Returns what was declared.
    pub(crate) const fn settings(&self) -> &Arc<Upstream> {
        &self.settings
    }

    /// Returns how many requests wait in line.
    pub(crate) fn waiting(&self) -> u32 {
        self.state.queue.len()
    }

    /// Tells whether all targets are used because too many of them are not well.
    pub(crate) fn is_panicking(&self) -> bool {
        self.view.load().is_panic
    }

    fn attempts(&self) -> usize {
        usize::try_from(self.settings.retries.attempts).unwrap_or(usize::MAX)
    }

    fn choose(
        self: &Arc<Self>,
        now: Moment,
        facts: &Facts,
        tried: &Tried,
    ) -> Result<Pick, Refusal> {
        let notice = self.renew_view(now);
        if self.targets.is_empty() {
            return Err(Refusal::Nobody);
        }
        let limit = self.settings.max_in_flight;
        if limit.is_some() && !self.state.load.enter(limit) {
            return Err(Refusal::Full);
        }
        let Some(target) = self.enter_one(facts, tried) else {
            if limit.is_some() {
                self.state.load.leave();
            }
            return Err(Refusal::Full);
        };
        Ok(Pick { target, balancer: Arc::clone(self), notice })
    }

    /// Works the view out again if it does not hold any more, and tells what that changed.
    fn renew_view(&self, now: Moment) -> Option<Notice> {
        let changes = self.signals.changes();
        let before = self.view.load();
        if before.holds(now, changes) {
            return None;
        }
        let _renewal = self.renewal.try_lock().ok()?;
        let slow_start = self.settings.slow_start.duration();
        let view = View::new(&self.targets, slow_start, changes, now);
        let notice = match (before.is_panic, view.is_panic) {
            (false, true) => Some(Notice::Panic),
            (true, false) => Some(Notice::Recovered),
            (true, true) | (false, false) => None,
        };
        self.view.store(Arc::new(view));
        notice
    }

    /// Takes a place at the best target that was not tried; when all were, at a reserve, then at one
    /// that is out, which may be back; at any when there is none.
    fn enter_one(&self, facts: &Facts, tried: &Tried) -> Option<Arc<Target>> {
        let view = self.view.load();
        let is_fresh = |index: u32| !tried.contains(index);
        let is_used = |index: u32| {
            usize::try_from(index).ok().and_then(|index| view.is_member.get(index)) == Some(&true)
        };
        let stays = facts.stays.filter(|index| is_used(*index) && is_fresh(*index));
        if let Some(target) = stays.and_then(|index| self.enter(index)) {
            return Some(target);
        }
        let turn = self.state.turn.fetch_add(1, Ordering::Relaxed);
        let found = match (&self.way, facts.key) {
            (Way::Hash { ring, .. }, Some(key)) => {
                self.enter_first(ring.walk(key).filter(|index| is_used(*index) && is_fresh(*index)))
            }
            (Way::LeastRequests, _) => self.enter_idlest(&view, turn, &is_fresh),
            (Way::TwoChoices, _) => self
                .enter_one_of_two(&view, turn, &is_fresh)
                .or_else(|| self.enter_idlest(&view, turn, &is_fresh)),
            (Way::Turn, _) | (Way::Hash { .. }, None) => {
                self.enter_first(view.schedule.walk(turn).filter(|index| is_fresh(*index)))
            }
        };
        if found.is_some() || tried.is_empty() {
            return found;
        }
        let reserve = view.reserve.iter().copied().filter(|index| is_fresh(*index));
        let others = self.targets.iter().map(|target| target.index).filter(|it| is_fresh(*it));
        self.enter_first(reserve.chain(others))
            .or_else(|| self.enter_first(view.schedule.walk(turn)))
    }

    fn enter_first(&self, mut candidates: impl Iterator<Item = u32>) -> Option<Arc<Target>> {
        candidates.find_map(|index| self.enter(index))
    }

    /// The one with the fewest requests for its weight; among equals the one whose turn it is.
    fn enter_idlest(
        &self,
        view: &View,
        turn: u64,
        is_fresh: &impl Fn(u32) -> bool,
    ) -> Option<Arc<Target>> {
        let count = view.members.len();
        let first = usize::try_from(turn).unwrap_or_default() % count.max(1);
        let (before, after) = view.members.split_at_checked(first)?;
        let members = after.iter().chain(before).copied().filter(|index| is_fresh(*index));
        let best = members.clone().min_by_key(|index| self.business(*index, view))?;
        // Between looking and taking, the last place may have gone.
        self.enter(best).or_else(|| self.enter_first(members))
    }

    /// The less busy one of two that are drawn by weight.
    fn enter_one_of_two(
        &self,
        view: &View,
        turn: u64,
        is_fresh: &impl Fn(u32) -> bool,
    ) -> Option<Arc<Target>> {
        let random = mix(turn);
        let draw = |random| view.schedule.get(random).filter(|index| is_fresh(*index));
        let (one, other) = (draw(random), draw(mix(random)));
        let (Some(one), Some(other)) = (one, other) else {
            return self.enter(one.or(other)?);
        };
        let is_less = self.business(other, view) < self.business(one, view);
        self.enter(if is_less { other } else { one })
    }

    /// Returns how busy a target would be with one more request, in relation to its weight; a target
    /// without a free place comes last.
    fn business(&self, index: u32, view: &View) -> u64 {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let (Some(target), Some(weight)) = (self.targets.get(place), view.weights.get(place))
        else {
            return u64::MAX;
        };
        let in_flight = target.in_flight();
        if self.settings.max_in_flight_per_target.is_some_and(|limit| in_flight >= limit) {
            return u64::MAX;
        }
        // The greatest weight is 1000 whole ones of 100 each, so this keeps six digits apart.
        (u64::from(in_flight) + 1) * 1_000_000_000 / (*weight).max(1)
    }

    fn enter(&self, index: u32) -> Option<Arc<Target>> {
        let target = self.targets.get(usize::try_from(index).ok()?)?;
        let limit = self.settings.max_in_flight_per_target;
        target.load.enter(limit).then(|| Arc::clone(target))
    }
}

impl Way {
    fn of(upstream: &Upstream) -> Self {
        let key = match &upstream.balance {
            Balance::RoundRobin => return Self::Turn,
            Balance::LeastRequests => return Self::LeastRequests,
            Balance::TwoChoices => return Self::TwoChoices,
            Balance::Hash(HashKey::Client) => Key::Client,
            Balance::Hash(HashKey::Cookie(name)) => Key::Cookie(name.clone().into_bytes()),
            // A name that is none is in no request, so its turn decides.
            Balance::Hash(HashKey::Header(name)) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Key::Header(name),
                Err(_invalid) => return Self::Turn,
            },
        };
        let names: Vec<String> = upstream.targets.iter().map(ToString::to_string).collect();
        let weights = upstream.targets.iter().map(|target| target.weight);
        let weighted: Vec<(String, u32)> = names.into_iter().zip(weights).collect();
        let ring = Ring::new(&weighted);
        Self::Hash { key, ring }
    }
}

impl Key {
    fn of(&self, client: IpAddr, headers: &HeaderMap) -> Option<u64> {
        match self {
            Self::Client => match client.to_canonical() {
                IpAddr::V4(address) => Some(hash(&address.octets())),
                IpAddr::V6(address) => Some(hash(&address.octets())),
            },
            Self::Header(name) => headers.get(name).map(|value| hash(value.as_bytes())),
            Self::Cookie(name) => headers
                .get_all(header::COOKIE)
                .iter()
                .find_map(|value| values_of(value.as_bytes(), name).next().map(hash)),
        }
    }
}

impl Tried {
    /// More than any request is tried.
    const MOST: usize = 12;

    /// Adds a target.
    pub(crate) fn add(&mut self, pick: &Pick) {
        if let Some(place) = self.targets.get_mut(self.count) {
            *place = pick.target.index;
            self.count += 1;
        }
    }

    /// Adds a target that took no connection.
    pub(crate) fn add_unreached(&mut self, pick: &Pick) {
        self.add(pick);
        self.unreached = (self.unreached + 1).min(self.count);
    }

    /// Tells whether the request was not tried yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn contains(&self, index: u32) -> bool {
        self.targets.iter().take(self.count).any(|tried| *tried == index)
    }
}

impl Pick {
    /// Returns the target.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Returns what this pick found out about the upstream, to be logged.
    pub(crate) const fn notice(&self) -> Option<Notice> {
        self.notice
    }

    /// Takes note that the request failed, and returns what that changed, to be logged.
    pub(crate) fn failed(&self, now: Moment, failure: Failure) -> Option<Change> {
        self.target.failed(now, failure, &self.balancer.settings)
    }

    /// Takes note of the status of the answer, and returns what that changed, to be logged. Most
    /// statuses say nothing, so the clock is read only where one does.
    pub(crate) fn answered(&self, now: impl FnOnce() -> Moment, status: u16) -> Option<Change> {
        self.target.answered(now, status, &self.balancer.settings)
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.target.load.leave();
        if self.balancer.settings.max_in_flight.is_some() {
            self.balancer.state.load.leave();
        }
        self.balancer.signals.poke();
    }
}
