//! When certificates are renewed, and when people must be told that the root ends.

use jiff::{SignedDuration, Timestamp};
use portway_model::{
    Certificate, FieldPath, Finding, FindingCode, Location, Remedy, ResourceKind, ResourceRef,
    Severity,
};

/// How long before its end a root is announced: its successor has to reach every device.
const ROOT_NOTICE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// Returns the time from which a certificate is to be renewed: when a third of its life is left.
pub fn renew_at(certificate: &Certificate) -> Timestamp {
    let third = certificate.not_after.duration_since(certificate.not_before) / 3;
    // Between two valid timestamps there is always one.
    certificate.not_after.checked_sub(third).unwrap_or(certificate.not_before)
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
    let remedy = "make a new root and run `portway ca trust` on every device that uses the sites";
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
        ) {
            let at = |second| Timestamp::from_second(second).unwrap();
            let leaf = between(at(begin), at(begin + life));
            let renew = renew_at(&leaf);
            prop_assert!(leaf.not_before < renew && renew < leaf.not_after);
            prop_assert!(renew_due(&leaf, at(renew.as_second() + 1 + later)));
            prop_assert!(!renew_due(&leaf, at(renew.as_second() - 1 - later)));
        }
    }
}
