//! Which side of a split a request goes to.

use http::{HeaderMap, HeaderName, header};
use portway_model::site::{SideRule, Split};

use super::{
    ring::mix,
    schedule::Schedule,
    sticky::{StickyKey, Tokens},
};
use crate::cookies::values_of;

/// A split, ready for requests.
#[derive(Debug)]
pub(crate) struct Splitter {
    rules: Vec<(Rule, u32)>,
    shares: Schedule,
    /// Whether a side has a share at all; a cookie leads nowhere else.
    has_share: Vec<bool>,
    tokens: Option<Tokens>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The side, by its place in the declaration.
    pub(crate) side: u32,
    /// Whether the client should be told by [`Splitter::set_cookie`].
    pub(crate) is_new: bool,
}

#[derive(Debug)]
struct Rule {
    part: Part,
    value: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Part {
    Header(HeaderName),
    Cookie(Vec<u8>),
}

impl Splitter {
    /// Makes a split ready. `scope` sets its cookies apart from those of others. Returns nothing
    /// when a header has a name that is none.
    pub(crate) fn new(split: &Split, key: &StickyKey, scope: &str) -> Option<Self> {
        let mut rules = Vec::new();
        let mut shares = Vec::new();
        for (index, side) in (0..).zip(&split.sides) {
            for rule in &side.rules {
                rules.push((Rule::of(rule)?, index));
            }
            shares.push((index, u64::from(side.weight)));
        }
        let names: Vec<&str> = split.sides.iter().map(|side| side.name.as_str()).collect();
        let tokens = split.sticky.clone().map(|cookie| Tokens::new(key, cookie, scope, &names));
        let has_share = split.sides.iter().map(|side| side.weight > 0).collect();
        Some(Self { rules, shares: Schedule::new(&shares), has_share, tokens })
    }

    /// Chooses the side of a request: by the first rule that holds, else by the client's cookie, else
    /// by the shares and `random`.
    pub(crate) fn choose(&self, headers: &HeaderMap, random: u64) -> Option<Chosen> {
        if let Some((_, side)) = self.rules.iter().find(|(rule, _)| rule.holds(headers)) {
            // A rule is for this request and says nothing about the client's others.
            return Some(Chosen { side: *side, is_new: false });
        }
        let stays = self.tokens.as_ref().and_then(|tokens| {
            tokens
                .place(headers.get_all(header::COOKIE).iter())
                .filter(|side| self.has_share(*side))
        });
        if let Some(side) = stays {
            return Some(Chosen { side, is_new: false });
        }
        let side = self.shares.get(mix(random))?;
        Some(Chosen { side, is_new: self.tokens.is_some() })
    }

    /// Returns the `Set-Cookie` that keeps a client on a side.
    pub(crate) fn set_cookie(&self, side: u32, path: &str, https: bool) -> Option<String> {
        self.tokens.as_ref()?.set_cookie(side, path, https)
    }

    /// Tells whether a request decides by itself where it goes, and not the shares.
    pub(crate) fn is_certain(&self, headers: &HeaderMap) -> bool {
        self.rules.iter().any(|(rule, _)| rule.holds(headers))
            || self.tokens.as_ref().is_some_and(|tokens| {
                let stays = tokens.place(headers.get_all(header::COOKIE).iter());
                stays.is_some_and(|side| self.has_share(side))
            })
    }

    fn has_share(&self, side: u32) -> bool {
        usize::try_from(side).ok().and_then(|side| self.has_share.get(side)).copied() == Some(true)
    }
}

impl Rule {
    fn of(rule: &SideRule) -> Option<Self> {
        let (part, wanted) = match rule {
            SideRule::Header(wanted) => {
                (Part::Header(HeaderName::from_bytes(wanted.name.as_bytes()).ok()?), wanted)
            }
            SideRule::Cookie(wanted) => (Part::Cookie(wanted.name.clone().into_bytes()), wanted),
        };
        Some(Self { part, value: wanted.value.clone().map(String::into_bytes) })
    }

    fn holds(&self, headers: &HeaderMap) -> bool {
        let fits = |found: &[u8]| self.value.as_ref().is_none_or(|value| value == found);
        match &self.part {
            Part::Header(name) => headers.get_all(name).iter().any(|value| fits(value.as_bytes())),
            Part::Cookie(name) => headers
                .get_all(header::COOKIE)
                .iter()
                .any(|value| values_of(value.as_bytes(), name).any(fits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn splitter(text: &str) -> Splitter {
        let spec = format!(r#"{{"hosts": ["a.example"], "split": {text}}}"#);
        let spec: portway_model::SiteSpec = serde_json::from_str(&spec).unwrap();
        let (site, findings) = portway_model::site::check(&"blog".parse().unwrap(), &spec);
        let site = site.unwrap_or_else(|| panic!("{findings:?}"));
        let portway_model::site::Action::Split(split) = &site.routes[0].action else {
            panic!("a split")
        };
        Splitter::new(split, &StickyKey::new([7; 32]), "blog").unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn shares(splitter: &Splitter, headers: &HeaderMap) -> [u32; 2] {
        let mut counts = [0; 2];
        for random in 0..10_000 {
            counts[splitter.choose(headers, random).unwrap().side as usize] += 1;
        }
        counts
    }

    const CANARY: &str = r#"{"sticky": true, "sides": [
        {"weight": 95, "to": "5000"},
        {"weight": 5, "to": "6000", "name": "canary", "by": [
            {"header": "X-Canary", "value": "yes"}, {"cookie": "canary"}]}]}"#;

    #[test]
    fn requests_are_divided_by_weight() {
        let [stable, canary] = shares(&splitter(CANARY), &HeaderMap::new());
        assert!((400..600).contains(&canary), "{stable} {canary}");
    }

    #[test]
    fn a_rule_wins_over_the_weights() {
        let splitter = splitter(CANARY);
        assert_eq!(shares(&splitter, &headers(&[("x-canary", "yes")])), [0, 10_000]);
        assert_eq!(shares(&splitter, &headers(&[("cookie", "a=b; canary=1")])), [0, 10_000]);
        assert!(shares(&splitter, &headers(&[("x-canary", "no")]))[0] > 9_000);
    }

    #[test]
    fn a_client_stays_on_its_side() {
        let splitter = splitter(CANARY);
        assert!(splitter.choose(&HeaderMap::new(), 1).unwrap().is_new);
        for side in 0..2 {
            let cookie = splitter.set_cookie(side, "/", true).unwrap();
            let cookie = cookie.split_once(';').unwrap().0.to_owned();
            let headers = headers(&[("cookie", &cookie)]);
            assert_eq!(shares(&splitter, &headers)[side as usize], 10_000);
            assert!(!splitter.choose(&headers, 1).unwrap().is_new);
        }
    }

    #[test]
    fn nobody_stays_on_a_side_that_lost_its_share() {
        let cookie = splitter(CANARY).set_cookie(1, "/", true).unwrap();
        let cookie = cookie.split_once(';').unwrap().0.to_owned();
        let ended = splitter(&CANARY.replace("\"weight\": 5", "\"weight\": 0"));
        assert_eq!(shares(&ended, &headers(&[("cookie", &cookie)])), [10_000, 0]);
    }

    #[test]
    fn a_side_with_a_rule_alone_gets_nothing_else() {
        let splitter = splitter(r#"[{"to": "5000"}, {"to": "6000", "by": {"header": "X-New"}}]"#);
        assert_eq!(shares(&splitter, &HeaderMap::new()), [10_000, 0]);
        assert_eq!(shares(&splitter, &headers(&[("x-new", "")])), [0, 10_000]);
    }
}
