//! What answers tell of limits: `RateLimit` and `RateLimit-Policy`, as in
//! draft-ietf-httpapi-ratelimit-headers-10. An application may have limits of its own, so ours stand
//! beside what it says.

use std::{fmt::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::quota::Left;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What an answer tells of limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    policy: HeaderValue,
    limit: HeaderValue,
}

/// What is told while limits are asked one after the other.
#[derive(Debug, Default)]
pub(super) struct Telling(String);

impl Telling {
    /// Tells what a limit has left.
    pub(super) fn say(&mut self, name: &str, left: Left) {
        let separator = if self.0.is_empty() { "" } else { ", " };
        let (requests, seconds) = (left.requests, whole_seconds(left.whole));
        // A text takes whatever is written to it.
        write!(self.0, "{separator}\"{name}\";r={requests};t={seconds}").ok();
    }

    /// Returns what is told, if it is anything.
    pub(super) fn end(self, policy: Option<&HeaderValue>) -> Option<Told> {
        let limit = HeaderValue::try_from(self.0).ok().filter(|limit| !limit.is_empty())?;
        Some(Told { policy: policy?.clone(), limit })
    }
}

impl Told {
    /// Tells it.
    pub(crate) fn add(self, headers: &mut HeaderMap) {
        headers.append(POLICY, self.policy);
        headers.append(LIMIT, self.limit);
    }
}

/// Returns the policy of limits by name: so many requests in a time.
pub(super) fn policy<'a, I>(limits: I) -> Option<HeaderValue>
where
    I: Iterator<Item = (&'a str, u32, Duration)>,
{
    let one = |(name, requests, period): (&str, u32, Duration)| {
        format!("\"{name}\";q={requests};w={}", period.as_secs())
    };
    let all: Vec<String> = limits.map(one).collect();
    HeaderValue::try_from(all.join(", ")).ok().filter(|policy| !policy.is_empty())
}

/// Returns a time in seconds, rounded up.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_as_lists_of_structured_fields() {
        let limits =
            [("client", 100, Duration::from_secs(60)), ("site", 5, Duration::from_secs(1))];
        let policy = policy(limits.into_iter());
        let mut telling = Telling::default();
        telling.say("client", Left { requests: 99, whole: Duration::from_millis(600) });
        telling.say("site", Left { requests: 0, whole: Duration::from_secs(1) });
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", HeaderValue::from_static("\"own\";r=1"));
        telling.end(policy.as_ref()).unwrap().add(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"client\";q=100;w=60, \"site\";q=5;w=1");
        let told: Vec<_> = headers.get_all("ratelimit").iter().collect();
        assert_eq!(told, ["\"own\";r=1", "\"client\";r=99;t=1, \"site\";r=0;t=1"]);
    }
}
