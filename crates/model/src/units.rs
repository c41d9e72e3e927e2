//! Sizes and durations as people write them.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A number of bytes. Written `512`, `100KB`, `50MB`, `1GB` (powers of 1000) or `64KiB`, `1MiB`,
/// `2GiB` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// A duration of whole seconds. Written `30`, `30s`, `5m`, `1h30m`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u64);

/// Why a text is not a size or duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("`{0}` is not a size; write for example 512, 100KB, 50MB or 1GiB")]
    Size(String),
    /// Not a duration.
    #[error("`{0}` is not a duration; write for example 30s, 5m, 1h30m or 7d")]
    Duration(String),
}

impl Seconds {
    /// Returns the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

const SIZE_UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Size(text.to_owned());
        let (digits, unit) = split_number(text.trim());
        let unit = unit.trim();
        let factor = if unit.is_empty() {
            1
        } else {
            SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1
        };
        let number: u64 = digits.parse().map_err(|_| error())?;
        number.checked_mul(factor).map(Self).ok_or_else(error)
    }
}

impl FromStr for Seconds {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Duration(text.to_owned());
        let mut rest = text.trim();
        if let Ok(seconds) = rest.parse() {
            return Ok(Self(seconds));
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (digits, tail) = split_number(rest);
            let number: u64 = digits.parse().map_err(|_| error())?;
            let mut chars = tail.chars();
            let factor = match chars.next() {
                Some('s') => 1,
                Some('m') => 60,
                Some('h') => 3600,
                Some('d') => 86_400,
                Some('w') => 604_800,
                Some(_) | None => return Err(error()),
            };
            total =
                number.checked_mul(factor).and_then(|n| total.checked_add(n)).ok_or_else(error)?;
            rest = chars.as_str();
        }
        if text.trim().is_empty() { Err(error()) } else { Ok(Self(total)) }
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20), ("MB", 1_000_000)];
        let small = [("KiB", 1 << 10), ("KB", 1_000)];
        let fits = |(_, size): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*size);
        match units.iter().chain(&small).find(fits) {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("d", 86_400), ("h", 3600), ("m", 60)];
        match units.iter().find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size)) {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}s", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_written() {
        let size = |text: &str| text.parse::<ByteSize>().map(|size| size.0);
        assert_eq!(size("50MB"), Ok(50_000_000));
        assert_eq!(size("64 KiB"), Ok(65_536));
        assert_eq!(size("7"), Ok(7));
        for text in ["", "MB", "1XB", "-1", "1.5MB", "99999999999TB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_written() {
        let seconds = |text: &str| text.parse::<Seconds>().map(|seconds| seconds.0);
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("90"), Ok(90));
        for text in ["", "1y", "s", "1h30", "-5s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for n in [0, 1, 1000, 1024, 1500, 50_000_000, 1 << 30] {
            assert_eq!(ByteSize(n).to_string().parse(), Ok(ByteSize(n)));
            assert_eq!(Seconds(n).to_string().parse(), Ok(Seconds(n)));
        }
    }
}
