//! Whether the answer to a check is a good one.

use portway_model::site::{BodyMatch, HttpProbe, StatusRange};
use regex::bytes::Regex;

/// As much of the body of an answer is read and judged.
pub(crate) const BODY_LIMIT: usize = 64_000;

/// Judges answers to a check.
#[derive(Debug)]
pub(crate) struct Judge {
    statuses: Vec<StatusRange>,
    body: Option<Wanted>,
}

#[derive(Debug)]
enum Wanted {
    Text(Vec<u8>),
    Match(Regex),
}

impl Judge {
    /// Makes a check ready, or says why its expression is none.
    pub(crate) fn new(probe: &HttpProbe) -> Result<Self, regex::Error> {
        let body = match &probe.body {
            None => None,
            Some(BodyMatch::Contains(text)) => Some(Wanted::Text(text.clone().into_bytes())),
            Some(BodyMatch::Regex(pattern)) => Some(Wanted::Match(Regex::new(pattern)?)),
        };
        Ok(Self { statuses: probe.statuses.clone(), body })
    }

    /// Tells whether the body must be read at all.
    pub(crate) const fn wants_body(&self) -> bool {
        self.body.is_some()
    }

    /// Tells whether a status is a good one.
    pub(crate) fn is_good_status(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(status))
    }

    /// Judges an answer by its status and the beginning of its body.
    pub(crate) fn is_good(&self, status: u16, body: &[u8]) -> bool {
        let fits = match &self.body {
            None => true,
            Some(Wanted::Text(text)) => memchr::memmem::find(body, text).is_some(),
            Some(Wanted::Match(pattern)) => pattern.is_match(body),
        };
        fits && self.is_good_status(status)
    }
}

#[cfg(test)]
mod tests {
    use portway_model::site::{Health, Probe};

    use super::*;

    fn judge(body: Option<BodyMatch>) -> Judge {
        let Probe::Http(mut probe) = Health::http("/").probe else { panic!("by a request") };
        probe.body = body;
        Judge::new(&probe).unwrap()
    }

    #[test]
    fn the_status_counts() {
        let judge = judge(None);
        assert!(!judge.wants_body());
        let good: Vec<u16> = (100..600).filter(|status| judge.is_good(*status, b"")).collect();
        assert_eq!((good.first(), good.last(), good.len()), (Some(&200), Some(&399), 200));
    }

    #[test]
    fn the_body_counts_where_it_is_asked_for() {
        let text = judge(Some(BodyMatch::Contains("ready".to_owned())));
        assert!(text.wants_body());
        assert!(text.is_good(200, b"all is ready."));
        assert!(!text.is_good(200, b"not yet") && !text.is_good(500, b"ready"));
        let pattern = judge(Some(BodyMatch::Regex(r#""status": *"ok""#.to_owned())));
        assert!(pattern.is_good(200, br#"{"status":  "ok"}"#));
        assert!(!pattern.is_good(200, br#"{"status": "ill"}"#));
        assert!(pattern.is_good(200, b"\xff\"status\":\"ok\""));
    }
}
