//! What is measured on a node. A value is a number with its time, or it is not known, with the reason;
//! nothing is ever made up.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

/// Everything that is measured on a node.
pub type Measures = BTreeMap<Quantity, Measured>;

/// Something that is measured on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// How much of the processors' time was used since the reading before, in percent of all.
    CpuPercent,
    /// The load of the last minute.
    Load1,
    /// The load of the last five minutes.
    Load5,
    /// The load of the last fifteen minutes.
    Load15,
    /// The memory that the machine has, in bytes.
    MemoryTotal,
    /// The memory that programs could still get, in bytes.
    MemoryAvailable,
    /// The size of the disk with Portway's own folder, in bytes.
    HomeTotal,
    /// What is left there.
    HomeFree,
    /// The size of the disk with the logs of sites, in bytes.
    LogsTotal,
    /// What is left there.
    LogsFree,
    /// The size of the disk at `/`, in bytes.
    RootTotal,
    /// What is left there.
    RootFree,
    /// What arrived over the network since the machine started, in bytes.
    NetworkReceived,
    /// What was sent over the network since the machine started, in bytes.
    NetworkSent,
    /// What arrived each second since the reading before, in bytes.
    NetworkReceivedRate,
    /// What was sent each second since the reading before, in bytes.
    NetworkSentRate,
    /// How long the machine has been up, in seconds.
    Uptime,
    /// By how much its clock is ahead of the manager's, in seconds.
    ClockAhead,
    /// Whether the engine runs: 1 or 0.
    ServiceUp,
    /// How long it has been so, in seconds.
    ServiceTime,
    /// The connections that clients have open.
    Connections,
    /// The requests since the engine started to count.
    Requests,
    /// The requests each second since the reading before.
    RequestsRate,
    /// How long until the first certificate of the sites there ends, in seconds.
    CertificateLeft,
}

/// A value, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Measured {
    /// A number and when it was so.
    Known {
        /// The number.
        #[serde(serialize_with = "plainly")]
        value: f64,
        /// When it was so.
        at: Timestamp,
    },
    /// It is not known.
    Unknown {
        /// Why.
        unknown: String,
        /// Since when nothing is known of it.
        since: Timestamp,
    },
}

impl Quantity {
    /// Every quantity, in the order in which people read them.
    pub const ALL: [Self; 24] = [
        Self::CpuPercent,
        Self::Load1,
        Self::Load5,
        Self::Load15,
        Self::MemoryTotal,
        Self::MemoryAvailable,
        Self::HomeTotal,
        Self::HomeFree,
        Self::LogsTotal,
        Self::LogsFree,
        Self::RootTotal,
        Self::RootFree,
        Self::NetworkReceived,
        Self::NetworkSent,
        Self::NetworkReceivedRate,
        Self::NetworkSentRate,
        Self::Uptime,
        Self::ClockAhead,
        Self::ServiceUp,
        Self::ServiceTime,
        Self::Connections,
        Self::Requests,
        Self::RequestsRate,
        Self::CertificateLeft,
    ];
}

impl Measured {
    /// Returns the number, where it is known.
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Known { value, .. } => Some(*value),
            Self::Unknown { .. } => None,
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Whole numbers are written without a fraction.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::cast_possible_truncation,
    reason = "serde calls it so; whole numbers of this size are exact"
)]
fn plainly<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    /// Up to here every whole number is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        serializer.serialize_i64(*value as i64)
    } else {
        serializer.serialize_f64(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_number_with_its_time_or_unknown_with_the_reason() {
        let at: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        let whole = Measured::Known { value: 4096.0, at };
        let part = Measured::Known { value: 0.25, at };
        let unknown = Measured::Unknown { unknown: "it is away".to_owned(), since: at };
        for (measured, text) in [
            (whole, r#"{"value":4096,"at":"2026-06-15T12:00:00Z"}"#),
            (part, r#"{"value":0.25,"at":"2026-06-15T12:00:00Z"}"#),
            (unknown, r#"{"unknown":"it is away","since":"2026-06-15T12:00:00Z"}"#),
        ] {
            assert_eq!(serde_json::to_string(&measured).unwrap(), text);
            assert_eq!(serde_json::from_str::<Measured>(text).unwrap(), measured);
        }
    }

    #[test]
    fn quantities_are_called_as_they_are_written() {
        assert_eq!(Quantity::MemoryAvailable.to_string(), "memory_available");
        let all: std::collections::BTreeSet<_> = Quantity::ALL.into_iter().collect();
        assert_eq!(all.len(), Quantity::ALL.len());
    }
}
