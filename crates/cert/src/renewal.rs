//! When certificates are renewed, and when people must be told that the root ends.

use jiff::{SignedDuration, Timestamp};
use portway_model::{
    Certificate, FieldPath, Finding, FindingCode, Location, Remedy, ResourceKind, ResourceRef,
    Severity,
};

use crate::Lifetime;

/// How long before its end a root is announced: its successor has to reach every device.
const ROOT_NOTICE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// Returns the time from which a certificate is to be renewed: when between five and four twelfths
/// of its life are left, a leaf of 90 days 37.5 to 30 days before its end. Where in between is each
/// certificate's own, so that thousands that were issued together are not renewed together.
pub fn renew_at(certificate: &Certificate) -> Timestamp {
    let life = certificate.not_after.duration_since(certificate.not_before);
    let earlier = (life / 12).as_millis() * i128::from(share(certificate)) / i128::from(u32::MAX);
    let earlier = SignedDuration::from_millis(i64::try_from(earlier).unwrap_or(0));
    // Between two valid timestamps there is always one.
    certificate.not_after.checked_sub(life / 3 + earlier).unwrap_or(certificate.not_before)
}

/// Returns the time before which a certificate ends if it may have to be renewed at `now`, whatever
/// its lifetime.
pub fn renewal_horizon(now: Timestamp) -> Timestamp {
    let longest = SignedDuration::from_hours(24 * i64::from(Lifetime::MAX_DAYS));
    now.checked_add(longest / 12 * 5).unwrap_or(Timestamp::MAX)
}

/// A number of a certificate's own, spread evenly over all there are: its fingerprint is a hash.
fn share(certificate: &Certificate) -> u32 {
    let first = certificate.fingerprint.get(..8).unwrap_or_default();
    u32::from_str_radix(first, 16).unwrap_or(0)
}

/// Tells whether a certificate is to be renewed.
pub fn renew_due(certificate: &Certificate, now: Timestamp) -> bool {
    now >= renew_at(certificate)
}

/// Announces the end of a root, from a year ahead.
pub fn root_notice(root: &Certificate, now: Timestamp) -> Option<Finding> {
    let left = root.not_after.duration_since(now);
    if left > ROOT_NOTICE {
        return None;
    }
    let day = root.not_after.strftime("%Y-%m-%d");
    let (code, severity, text) = if left.is_positive() {
        let days = left.as_hours() / 24;
        let text = format!("the root of the local authority ends on {day}, in {days} days");
        (FindingCode::Advice, Severity::Warning, text)
    } else {
        let text = format!(
            "the root of the local authority ended on {day}; no certificate can be issued by it"
        );
        (FindingCode::CertificateFailed, Severity::Error, text)
    };
    let resource = ResourceRef { kind: ResourceKind::Certificate, name: root.id.to_string() };
    let remedy = "run `portway ca renew`, then `portway ca trust` on every device that uses the sites, then \
                  `portway ca renew --activate`";
    Some(Finding {
        code,
        severity,
        at: Location::Field { resource, path: FieldPath::root(), source: None },
        text,
        remedy: Some(Remedy { text: remedy.to_owned(), action: None }),
    })
}

#[cfg(test)]
mod tests {
    use portway_model::{CertificateSource, Id};
    use proptest::prelude::*;
    use sha2::Digest as _;
    use uuid::Uuid;

    use super::*;

    fn certificate(not_before: &str, not_after: &str) -> Certificate {
        between(not_before.parse().unwrap(), not_after.parse().unwrap())
    }

    fn between(not_before: Timestamp, not_after: Timestamp) -> Certificate {
        Certificate {
            id: Id::from_uuid(Uuid::nil()),
            source: CertificateSource::Local,
            names: Vec::new(),
            not_before,
            not_after,
            fingerprint: String::new(),
            chain_pem: String::new(),
        }
    }

    #[test]
    fn a_leaf_of_90_days_is_renewed_30_days_before_its_end() {
        let leaf = certificate("2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z");
        assert!(!renew_due(&leaf, "2026-03-01T23:59:59Z".parse().unwrap()));
        assert!(renew_due(&leaf, "2026-03-02T00:00:00Z".parse().unwrap()));
        assert!(renew_due(&leaf, "2027-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn ten_thousand_leaves_of_one_hour_are_renewed_over_a_week() {
        let leaves = (0..10_000_u32).map(|number| {
            let mut leaf = certificate("2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z");
            let hash = sha2::Sha256::digest(number.to_be_bytes());
            leaf.fingerprint = hex::encode(hash);
            leaf
        });
        let mut at: Vec<_> = leaves.map(|leaf| renew_at(&leaf)).collect();
        at.sort_unstable();
        let first: Timestamp = "2026-02-22T12:00:00Z".parse().unwrap();
        let last: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
        assert!(at.iter().all(|at| (first..=last).contains(at)));
        let hour = SignedDuration::from_hours(1);
        let busiest = at.iter().enumerate().map(|(begin, from)| {
            at[begin..].iter().take_while(|at| at.duration_since(*from) < hour).count()
        });
        assert!(busiest.max().unwrap() < 100, "too many within one hour");
    }

    #[test]
    fn a_certificate_has_one_moment() {
        let mut leaf = certificate("2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z");
        leaf.fingerprint = "80000000".repeat(8);
        let at = renew_at(&leaf);
        assert_eq!(at, renew_at(&leaf));
        assert_eq!(at.strftime("%Y-%m-%dT%H:%M").to_string(), "2026-02-26T06:00");
        assert!(!renew_due(&leaf, at - SignedDuration::from_secs(1)));
        assert!(renew_due(&leaf, at));
    }

    #[test]
    fn whatever_is_due_lies_before_the_horizon() {
        let leaf = certificate("2026-01-01T00:00:00Z", "2027-02-03T00:00:00Z");
        let mut earliest = leaf.clone();
        earliest.fingerprint = "f".repeat(64);
        let due = renew_at(&earliest);
        assert!(earliest.not_after <= renewal_horizon(due), "{due}");
    }

    #[test]
    fn the_end_of_a_root_is_announced_a_year_ahead() {
        let root = certificate("2026-01-01T00:00:00Z", "2036-01-01T00:00:00Z");
        let notice = |now: &str| root_notice(&root, now.parse().unwrap());
        assert_eq!(notice("2034-12-31T00:00:00Z"), None);

        let ahead = notice("2035-01-02T00:00:00Z").unwrap();
        assert_eq!(ahead.severity, Severity::Warning);
        assert!(ahead.text.contains("2036-01-01, in 364 days"), "{}", ahead.text);

        let ended = notice("2036-01-01T00:00:00Z").unwrap();
        assert_eq!(ended.severity, Severity::Error);
    }

    proptest! {
        #[test]
        fn renewal_lies_within_the_life_and_stays_due(
            begin in 0..4_000_000_000_i64, life in 3..400_000_000_i64, later in 0..1_000_000_i64,
            share in proptest::num::u32::ANY,
        ) {
            let at = |second| Timestamp::from_second(second).unwrap();
            let mut leaf = between(at(begin), at(begin + life));
            leaf.fingerprint = format!("{share:08x}");
            let renew = renew_at(&leaf);
            prop_assert!(leaf.not_before < renew && renew < leaf.not_after);
            prop_assert!(renew_due(&leaf, at(renew.as_second() + 1 + later)));
            prop_assert!(!renew_due(&leaf, at(renew.as_second() - 1 - later)));
        }
    }
}
