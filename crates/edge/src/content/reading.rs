//! How much of a request is read before its site is known: as much as any site of the edge takes,
//! and at least what is usual. A request is held against its own site's limits once that is known.

use std::time::Duration;

use imbl::OrdMap;
use portway_model::site::Limits;

/// How much is read of a head, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The bytes of a head.
    pub(crate) head: usize,
    /// Its fields.
    pub(crate) fields: usize,
    /// The bytes of a target.
    pub(crate) target: usize,
    /// The time from the first byte of a head to its last.
    pub(crate) head_time: Duration,
}

/// The limits of the sites that have other than the usual ones, counted by value, so that a site
/// that goes costs no look at the others.
#[derive(Clone, Default)]
pub(super) struct Unusual {
    head: Tally,
    fields: Tally,
    target: Tally,
    head_time: Tally,
}

/// How many sites have each value.
type Tally = OrdMap<u64, usize>;

impl Reading {
    /// Returns what one site needs.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            head: size(limits.header_bytes.0),
            fields: size(limits.headers.into()),
            target: size(limits.target_bytes.0),
            head_time: limits.header_time.duration(),
        }
    }
}

impl Default for Reading {
    fn default() -> Self {
        Self::of(&Limits::default())
    }
}

impl Unusual {
    /// Counts the limits of a site.
    pub(super) fn add(&mut self, limits: &Limits) {
        for (tally, value) in self.tallies(limits) {
            *tally.entry(value).or_default() += 1;
        }
    }

    /// Counts them no longer.
    pub(super) fn remove(&mut self, limits: &Limits) {
        for (tally, value) in self.tallies(limits) {
            match tally.get_mut(&value) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => drop(tally.remove(&value)),
            }
        }
    }

    /// Returns what is to be read so that no site is given less than it takes.
    pub(super) fn reading(&self) -> Reading {
        let usual = Reading::default();
        let greatest = |tally: &Tally| tally.get_max().map_or(0, |(value, _)| *value);
        Reading {
            head: usual.head.max(size(greatest(&self.head))),
            fields: usual.fields.max(size(greatest(&self.fields))),
            target: usual.target.max(size(greatest(&self.target))),
            head_time: usual.head_time.max(Duration::from_secs(greatest(&self.head_time))),
        }
    }

    fn tallies(&mut self, limits: &Limits) -> [(&mut Tally, u64); 4] {
        [
            (&mut self.head, limits.header_bytes.0),
            (&mut self.fields, limits.headers.into()),
            (&mut self.target, limits.target_bytes.0),
            (&mut self.head_time, limits.header_time.duration().as_secs()),
        ]
    }
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use portway_model::{ByteSize, Seconds};

    use super::*;

    #[test]
    fn as_much_is_read_as_the_greatest_site_takes_and_never_less_than_usual() {
        let large = Limits { header_bytes: ByteSize(200_000), ..Limits::default() };
        let slow = Limits { header_time: Seconds(30), headers: 16, ..Limits::default() };
        let mut unusual = Unusual::default();
        assert_eq!(unusual.reading(), Reading::default());
        unusual.add(&large);
        unusual.add(&large);
        unusual.add(&slow);
        let greatest =
            Reading { head: 200_000, head_time: Duration::from_secs(30), ..Reading::default() };
        assert_eq!(unusual.reading(), greatest);
        unusual.remove(&large);
        unusual.remove(&slow);
        assert_eq!(unusual.reading(), Reading { head: 200_000, ..Reading::default() });
        unusual.remove(&large);
        assert_eq!(unusual.reading(), Reading::default());
    }
}
