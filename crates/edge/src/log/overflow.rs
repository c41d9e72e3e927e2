//! Lines that come faster than the disk takes them. A request that finds the queue full only counts;
//! the writer tells, once for a whole spell of losses, because telling may have to wait, too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// After this time without a loss a spell is over.
const QUIET: Duration = Duration::from_secs(60);

/// Watches the count of lines that found the queue full.
pub(super) struct Overflow {
    lost: Arc<AtomicU64>,
    /// What was counted when it was last looked at.
    seen: u64,
    spell: Option<Spell>,
}

struct Spell {
    /// What was counted before it began.
    before: u64,
    last_loss: Instant,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// Lines are being lost.
    Begun,
    /// No longer; so many were lost.
    Over(u64),
}

impl Overflow {
    pub(super) fn new(lost: Arc<AtomicU64>) -> Self {
        Self { lost, seen: 0, spell: None }
    }

    /// Looks at the count, and tells what is new.
    pub(super) fn look(&mut self, now: Instant) -> Option<Telling> {
        let lost = self.lost.load(Relaxed);
        let before = std::mem::replace(&mut self.seen, lost);
        match &mut self.spell {
            None if lost > before => {
                self.spell = Some(Spell { before, last_loss: now });
                Some(Telling::Begun)
            }
            Some(spell) if lost > before => {
                spell.last_loss = now;
                None
            }
            Some(spell) if now.duration_since(spell.last_loss) >= QUIET => {
                let in_all = lost - spell.before;
                self.spell = None;
                Some(Telling::Over(in_all))
            }
            None | Some(_) => None,
        }
    }
}

impl Telling {
    pub(super) fn tell(self) {
        match self {
            Self::Begun => {
                tracing::warn!("log lines come faster than the disk takes them; some are dropped");
            }
            Self::Over(lines) => {
                tracing::info!(lines, "the disk takes all log lines again; some were dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_of_losses_is_told_once_at_its_begin_and_once_at_its_end() {
        let lost = Arc::<AtomicU64>::default();
        let mut overflow = Overflow::new(Arc::clone(&lost));
        let start = Instant::now();
        let mut look = |seconds, more| {
            lost.fetch_add(more, Relaxed);
            overflow.look(start + Duration::from_secs(seconds))
        };
        assert_eq!(look(0, 0), None);
        assert_eq!(look(1, 5), Some(Telling::Begun));
        assert_eq!(look(2, 0), None);
        assert_eq!(look(50, 2), None, "the same spell");
        assert_eq!(look(109, 0), None);
        assert_eq!(look(110, 0), Some(Telling::Over(7)));
        assert_eq!(look(500, 0), None);
        assert_eq!(look(501, 1), Some(Telling::Begun), "another one");
    }
}
