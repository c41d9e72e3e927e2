//! How many logs somebody follows at once: each asks its nodes for something every second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use portway_model::{Id, User};

use crate::{ControlError, actor::Actor, deploy::lock};

/// So many logs one user follows at once.
const MOST: usize = 16;

/// Who follows how many logs; the administrator of the machine is nobody's user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seats(Arc<Mutex<BTreeMap<Option<Id<User>>, usize>>>);

/// The right to follow a log, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    who: Option<Id<User>>,
}

impl Seats {
    /// Takes a seat, unless somebody has as many as there are for one.
    pub(super) fn take(&self, actor: &Actor) -> Result<Seat, ControlError> {
        let who = actor.user_id();
        let mut all = lock(&self.0);
        let taken = all.entry(who).or_default();
        if *taken >= MOST {
            let text = format!("you follow {MOST} logs already; end one of them first");
            return Err(ControlError::Conflict(text));
        }
        *taken += 1;
        drop(all);
        Ok(Seat { seats: self.clone(), who })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = lock(&self.seats.0);
        if let Some(taken) = all.get_mut(&self.who) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                all.remove(&self.who);
            }
        }
    }
}
