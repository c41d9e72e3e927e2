//! How long a kept answer may be given (RFC 9111 §4.2).

use http::{HeaderMap, header};
use jiff::Timestamp;

use super::{
    directives::{Directives, seconds},
    rules::CompiledCache,
};
use crate::lists::items;

/// When a request was sent, and when its answer began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When it was sent.
    pub(crate) asked: Timestamp,
    /// When the answer began.
    pub(crate) answered: Timestamp,
}

/// How long an answer may be given. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is said of the answer or not")]
pub(crate) struct Terms {
    /// When it was received.
    received: Timestamp,
    /// How old it was then.
    initial_age: i64,
    /// How old it becomes until it is stale.
    lifetime: i64,
    /// Whether its upstream is to be asked each time.
    always_asks: bool,
    /// Whether it may never be given after its time.
    never_stale: bool,
    while_revalidate: i64,
    if_error: i64,
    /// Whether it says that it is for everybody.
    for_all: bool,
    /// Whether it says that it may answer requests with `Authorization` (RFC 9111 §3.5).
    for_authorized: bool,
}

/// Whether an answer may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It may, and is fresh for so many milliseconds.
    Fresh(i64),
    /// It may, but a new one is to be fetched; it is stale for so many milliseconds.
    Stale(i64),
    /// Its upstream is to be asked first.
    Over,
}

impl Terms {
    /// Finds out what an answer says of itself; nothing where neither it nor the rules say how long it
    /// is fresh.
    pub(super) fn of(
        rules: &CompiledCache,
        status: u16,
        headers: &HeaderMap,
        times: Times,
    ) -> Option<Self> {
        let said = Directives::of(headers);
        let own = rules.settings.ttl_of(status).map(|ttl| milliseconds(ttl.0));
        let overridden = own.filter(|_| rules.settings.overrides);
        let date = date(headers, &header::DATE);
        let lifetime = overridden.or_else(|| stated(&said, headers, date, times.answered));
        let lifetime = match lifetime {
            Some(lifetime) => lifetime,
            // It may be kept, and is asked for each time.
            None if said.no_cache => 0,
            None => own?,
        };
        let obeys = overridden.is_none();
        let strict = said.must_revalidate || said.proxy_revalidate || said.s_maxage.is_some();
        let usual = |ours: u64, said: Option<u64>| milliseconds(said.unwrap_or(ours));
        let settings = &rules.settings;
        Some(Self {
            received: times.answered,
            initial_age: initial_age(headers, date, times),
            lifetime,
            always_asks: obeys && said.no_cache,
            never_stale: obeys && (strict || said.no_cache),
            while_revalidate: usual(settings.stale_while_revalidate.0, said.stale_while_revalidate),
            if_error: usual(settings.stale_if_error.0, said.stale_if_error),
            for_all: said.public || said.s_maxage.is_some(),
            for_authorized: said.public
                || said.s_maxage.is_some()
                || (obeys && said.must_revalidate),
        })
    }

    /// Returns how old the answer is, in milliseconds.
    pub(crate) fn age(&self, now: Timestamp) -> i64 {
        self.initial_age.saturating_add(since(self.received, now))
    }

    /// Returns how long it is fresh still; less than nothing where it is stale.
    pub(crate) fn left(&self, now: Timestamp) -> i64 {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// Tells whether a request may get it that wants so much of it.
    pub(super) fn judge(&self, wants: &Directives, now: Timestamp) -> Freshness {
        let (left, age) = (self.left(now), self.age(now));
        let too_old = wants.max_age.is_some_and(|most| age > milliseconds(most));
        let too_short = wants.min_fresh.is_some_and(|least| left < milliseconds(least));
        if self.always_asks || wants.no_cache || too_old || too_short {
            return Freshness::Over;
        }
        if left > 0 {
            return Freshness::Fresh(left);
        }
        let allowed = wants.max_stale.map_or(0, milliseconds).max(self.while_revalidate);
        if !self.never_stale && left.saturating_neg() < allowed {
            return Freshness::Stale(left.saturating_neg());
        }
        Freshness::Over
    }

    /// Tells whether it may be given although it is stale, or the request wanted something fresher, as
    /// there is no new one.
    pub(crate) fn may_stand_in(&self, wants: &Directives, now: Timestamp) -> bool {
        let window = wants.stale_if_error.map_or(0, milliseconds).max(self.if_error);
        window > 0 && !self.never_stale && self.left(now).saturating_neg() < window
    }

    /// Tells whether it can be given at all without asking, at some time.
    pub(super) fn is_of_use(&self, now: Timestamp) -> bool {
        let stale = if self.never_stale { 0 } else { self.while_revalidate.max(self.if_error) };
        self.left(now).saturating_add(stale) > 0 && !self.always_asks
    }

    /// Tells whether its upstream has to be asked for each request.
    pub(crate) fn is_never_fresh(&self) -> bool {
        self.always_asks || self.lifetime <= self.initial_age
    }

    /// Tells whether it is for everybody, also for those who say who they are.
    pub(super) const fn is_for_all(&self) -> bool {
        self.for_all
    }

    /// Tells whether it may answer requests with `Authorization`.
    pub(super) const fn is_for_authorized(&self) -> bool {
        self.for_authorized
    }
}

/// What an answer says of its time: the first that is given of those that a shared cache obeys.
fn stated(
    said: &Directives,
    headers: &HeaderMap,
    date: Option<Timestamp>,
    answered: Timestamp,
) -> Option<i64> {
    if let Some(seconds) = said.s_maxage.or(said.max_age) {
        return Some(milliseconds(seconds));
    }
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let first = lines.next()?;
    // What is no date, such as 0, is over.
    let expires = first.to_str().ok().and_then(parse_date);
    Some(expires.map_or(0, |expires| since(date.unwrap_or(answered), expires)))
}

/// How old an answer was when it came (RFC 9111 §4.2.3).
fn initial_age(headers: &HeaderMap, date: Option<Timestamp>, times: Times) -> i64 {
    let apparent = date.map_or(0, |date| since(date, times.answered));
    let told = items(headers, &header::AGE).next().and_then(seconds).map_or(0, milliseconds);
    let corrected = told.saturating_add(since(times.asked, times.answered));
    // Dates have no fractions: what is younger than a second is as good as new.
    if apparent < 1_000 { corrected } else { apparent.max(corrected) }
}

/// Returns the time from one moment to a later one; nothing where it is no later one.
fn since(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond().saturating_sub(from.as_millisecond()).max(0)
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000)
}

fn date(headers: &HeaderMap, name: &http::HeaderName) -> Option<Timestamp> {
    parse_date(headers.get(name)?.to_str().ok()?)
}

/// Reads a date of HTTP.
pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use portway_model::{Seconds, site::Cache};
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Fri, 02 Jan 2026 03:04:05 GMT";

    fn at(seconds: i64) -> Timestamp {
        let date = parse_date(DATE).unwrap();
        Timestamp::from_second(date.as_second() + seconds).unwrap()
    }

    fn terms(settings: Cache, headers: &[(&str, &str)]) -> Option<Terms> {
        let mut map = HeaderMap::new();
        map.insert("date", HeaderValue::from_static(DATE));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let times = Times { asked: at(0), answered: at(0) };
        Terms::of(&CompiledCache::of(settings), 200, &map, times)
    }

    fn usual(headers: &[(&str, &str)]) -> Terms {
        terms(Cache::default(), headers).unwrap()
    }

    #[test]
    fn the_time_is_that_of_the_first_header_that_a_shared_cache_obeys() {
        let later = "Fri, 02 Jan 2026 03:05:05 GMT";
        for (headers, left) in [
            (&[("cache-control", "s-maxage=5, max-age=9"), ("expires", later)][..], 5),
            (&[("cache-control", "max-age=9"), ("expires", later)], 9),
            (&[("expires", later)], 60),
            (&[("expires", "0")], 0),
            (&[("expires", DATE)], 0),
            (&[("cache-control", "max-age=9"), ("age", "4")], 5),
            (&[("cache-control", "max-age=9"), ("age", "nonsense")], 9),
        ] {
            assert_eq!(usual(headers).left(at(0)), left * 1_000, "{headers:?}");
        }
    }

    #[test]
    fn what_says_nothing_has_the_time_of_the_rules_or_none() {
        assert!(terms(Cache::default(), &[]).is_none());
        assert!(terms(Cache::default(), &[("last-modified", DATE)]).is_none());
        let ttl = Cache { ttl: Some(Seconds(30)), ..Cache::default() };
        assert_eq!(terms(ttl.clone(), &[]).unwrap().left(at(0)), 30_000);
        let said = terms(ttl.clone(), &[("cache-control", "max-age=5")]).unwrap();
        assert_eq!(said.left(at(0)), 5_000);
        let overrides = Cache { overrides: true, ..ttl };
        let said = terms(overrides, &[("cache-control", "max-age=5, no-cache")]).unwrap();
        assert_eq!(said.left(at(0)), 30_000);
        assert_eq!(said.judge(&Directives::default(), at(1)), Freshness::Fresh(29_000));
    }

    #[test]
    fn age_counts_from_the_date_and_the_way_of_the_answer() {
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static(DATE));
        headers.insert("cache-control", HeaderValue::from_static("max-age=100"));
        let rules = CompiledCache::of(Cache::default());
        let times = Times { asked: at(10), answered: at(13) };
        let terms = Terms::of(&rules, 200, &headers, times).unwrap();
        assert_eq!(terms.age(at(13)), 13_000, "as old as its date says");
        headers.insert("age", HeaderValue::from_static("20"));
        let terms = Terms::of(&rules, 200, &headers, times).unwrap();
        assert_eq!(terms.age(at(14)), 24_000, "its age, the way of three seconds, and one since");
    }

    #[test]
    fn a_request_may_want_less_or_more() {
        let terms = usual(&[("cache-control", "max-age=10")]);
        for (wants, second, expected) in [
            ("", 9, Freshness::Fresh(1_000)),
            ("", 10, Freshness::Over),
            ("no-cache", 1, Freshness::Over),
            ("max-age=3", 3, Freshness::Fresh(7_000)),
            ("max-age=3", 4, Freshness::Over),
            ("min-fresh=5", 5, Freshness::Fresh(5_000)),
            ("min-fresh=5", 6, Freshness::Over),
            ("max-stale", 1_000, Freshness::Stale(990_000)),
            ("max-stale=5", 14, Freshness::Stale(4_000)),
            ("max-stale=5", 16, Freshness::Over),
        ] {
            assert_eq!(terms.judge(&wants_of(wants), at(second)), expected, "{wants} at {second}");
        }
    }

    #[test]
    fn stale_answers_are_given_only_within_their_windows_and_never_where_it_is_forbidden() {
        let terms =
            usual(&[("cache-control", "max-age=10, stale-while-revalidate=5, stale-if-error=20")]);
        let plain = Directives::default();
        assert_eq!(terms.judge(&plain, at(14)), Freshness::Stale(4_000));
        assert_eq!(terms.judge(&plain, at(15)), Freshness::Over);
        assert!(terms.may_stand_in(&plain, at(29)));
        assert!(!terms.may_stand_in(&plain, at(30)));
        for strict in ["must-revalidate", "proxy-revalidate", "s-maxage=10", "no-cache"] {
            let text = format!("max-age=10, stale-while-revalidate=5, stale-if-error=20, {strict}");
            let terms = usual(&[("cache-control", &text)]);
            assert_eq!(terms.judge(&wants_of("max-stale"), at(12)), Freshness::Over, "{strict}");
            assert!(!terms.may_stand_in(&plain, at(12)), "{strict}");
        }
    }

    #[test]
    fn no_cache_without_a_time_is_asked_for_each_time() {
        let terms = usual(&[("cache-control", "no-cache")]);
        assert_eq!(terms.judge(&Directives::default(), at(0)), Freshness::Over);
        assert!(terms.is_never_fresh() && !terms.is_of_use(at(0)));
    }

    fn wants_of(text: &str) -> Directives {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_str(text).unwrap());
        Directives::of(&headers)
    }

    proptest! {
        #[test]
        fn whatever_an_answer_says_it_only_becomes_older(
            control in "(max-age|s-maxage|stale-if-error|x)=?[0-9\\-]{0,22}(, [a-z=-]{0,12})?",
            age in "[0-9]{0,22}|[ -~]{0,5}",
            dates in proptest::array::uniform2("[ -~]{0,12}|(Fri|Sun), [0-3][0-9] (Jan|Feb) [0-9]{4} 0[0-9]:04:05 GMT"),
            seconds in -4_000_000_000_i64..4_000_000_000,
        ) {
            let [date, expires] = &dates;
            let said = [("cache-control", control.as_str()), ("age", &age), ("expires", expires), ("date", date)];
            let Some(terms) = terms(Cache::default(), &said) else { return Ok(()) };
            prop_assert!(terms.age(at(seconds)) >= 0);
            prop_assert!(terms.left(at(seconds + 1)) <= terms.left(at(seconds)));
            if let Freshness::Fresh(left) = terms.judge(&Directives::default(), at(seconds)) {
                prop_assert!(left > 0 && left <= terms.lifetime);
            }
        }
    }
}
