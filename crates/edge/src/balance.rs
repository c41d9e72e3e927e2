//! Which target of an upstream a request goes to, and what is learnt from how it went.
//!
//! Everything here is decision: no connection is made, no clock is read (`now` is given), no task
//! runs. State is shared by all worker threads through atomics, outlives changes of the site
//! ([`States`]), and is looked at through a view that is worked out again only when something
//! changed, so that a request of a large upstream does not look at every target.
//!
//! The request path needs few calls:
//!
//! ```text
//! facts = balancer.facts(client, headers)
//! pick  = balancer.pick(now, facts, tried)            or, when it says `Full`:
//!         ticket = balancer.wait(now)                 full as well: 503 with Retry-After
//!         ticket.turn().await, balancer.pick_in_turn  until there is one or the deadline passes
//! pick.failed(now, …) or pick.answered(now, status)   what they return is worth a line in the log
//! tried.add(pick), drop(pick), balancer.may_retry     after a failure that may be repeated
//! tried.add_unreached(pick), balancer.may_go_on       after a target that took no connection
//! balancer.set_cookie(target, facts, …)               goes with the answer
//! ```
//!
//! Checks are told to [`Target::checked`]; whoever runs them asks [`Judge`] whether an answer is a
//! good one. [`Splitter`] chooses between upstreams before one of them is asked.
//!
//! What a pick costs, facts and place included, with optimisation on one of two cores (measured by the
//! ignored test `a_pick_is_cheap`):
//!
//! | targets | in turn | least requests | two choices | hash |
//! |---|---|---|---|---|
//! | 1 | 98 ns | 98 ns | 94 ns | 138 ns |
//! | 4 | 100 ns | 98 ns | 113 ns | 136 ns |
//! | 100 | 99 ns | 321 ns | 119 ns | 115 ns |

mod balancer;
mod budget;
mod condition;
mod health;
mod moment;
mod queue;
mod ring;
mod schedule;
mod split;
mod state;
mod sticky;
mod view;

pub(crate) use self::{
    balancer::{Balancer, Facts, Notice, Pick, Refusal, Tried},
    condition::{Change, Failure},
    health::{BODY_LIMIT, Judge},
    moment::Moment,
    queue::{QueueFull, Ticket},
    split::Splitter,
    state::{States, Target},
    sticky::StickyKey,
};
use self::{budget::RetryBudget, condition::Condition, queue::Queue, sticky::Tokens};

#[cfg(test)]
mod tests;
