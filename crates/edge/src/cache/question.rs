//! What a request asks of a cache, or why it passes it by.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{
    conditions::Conditions,
    directives::{Directives, has_pragma_no_cache},
    key::{Key, Place},
    rules::CompiledCache,
    terms::Terms,
    vary::{Own, append},
};
use crate::cookies;

/// Headers by which some frameworks let a request say that it is another one. Nothing that depends on
/// one may be kept under the URL that was asked for.
const DISGUISES: [&str; 20] = [
    "front-end-https",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-invoke-path",
    "x-invoke-status",
    "x-method-override",
    "x-middleware-prefetch",
    "x-middleware-rewrite",
    "x-now-route-matches",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-url",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

/// Headers in which a trusted proxy says for what it was asked, and which applications are passed.
const CLAIMS: [&str; 3] = ["x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"];

/// What a request asks of a cache.
#[derive(Debug)]
pub(crate) struct Question {
    /// The URL.
    pub(crate) key: Key,
    /// What tells its answer apart before anything is known of it.
    pub(crate) own: Own,
    /// What it says of kept answers.
    pub(crate) wants: Directives,
    /// What the client has already, and which part it wants.
    pub(crate) conditions: Conditions,
    /// Whether it wants no body.
    pub(crate) head: bool,
    /// Whether it says who asks.
    pub(crate) personal: Personal,
}

/// Whether a request says who asks. Mostly what is answered to those who do is for nobody else, so that
/// others do not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Personal {
    /// It does not.
    No,
    /// A cookie does.
    ByCookie,
    /// It has `Authorization`.
    ByAuthorization,
}

/// Why a request passes a cache by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Its method is neither GET nor HEAD.
    Method,
    /// It has a body, which would be no part of the key.
    Body,
    /// It asks to leave HTTP.
    Upgrade,
    /// The rules name one of its cookies.
    Cookie,
    /// The rules name one of its headers.
    Header,
    /// It wants nothing kept.
    NoStore,
    /// It is only for a certain state of what it asks for.
    Precondition,
    /// It names a header to be dropped on the way, and so changes what is asked.
    Connection,
    /// It says that it is for something else than its URL.
    Disguise,
}

impl Question {
    /// Finds out what a request asks.
    pub(crate) fn of(
        rules: &CompiledCache,
        place: &Place<'_>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Self, Pass> {
        let head = match *method {
            Method::GET => false,
            Method::HEAD => true,
            _ => return Err(Pass::Method),
        };
        refuse_tricks(headers)?;
        let mut wants = Directives::of(headers);
        if wants.no_store {
            return Err(Pass::NoStore);
        }
        if !wants.any && has_pragma_no_cache(headers) {
            wants.no_cache = true;
        }
        if rules.bypass_headers.iter().any(|name| headers.contains_key(name)) {
            return Err(Pass::Header);
        }
        let mut personal = Personal::No;
        for (name, _) in cookies::pairs(headers) {
            if rules.settings.bypass.cookies.iter().any(|listed| listed == name) {
                return Err(Pass::Cookie);
            }
            if rules.is_personal(name) {
                personal = Personal::ByCookie;
            }
        }
        if headers.contains_key(header::AUTHORIZATION) {
            personal = Personal::ByAuthorization;
        }
        Ok(Self {
            key: Key::of(place, &rules.settings.key.query),
            own: Own { scope: rules.scope, added: added(rules, place.trusted, headers) },
            wants,
            conditions: Conditions::of(headers),
            head,
            personal,
        })
    }

    /// Returns the same as somebody else would ask it who says nothing of who they are, for all of it.
    pub(crate) fn for_all(&self) -> Self {
        Self {
            key: self.key.clone(),
            own: self.own.clone(),
            wants: Directives::default(),
            conditions: Conditions::default(),
            head: false,
            personal: self.personal,
        }
    }

    /// Tells whether an answer may be kept of this request and given to it: not where the request says
    /// who asks, unless the answer says that it is for others too.
    pub(super) fn may_share(&self, terms: &Terms) -> bool {
        match self.personal {
            Personal::No => true,
            Personal::ByCookie => terms.is_for_all(),
            Personal::ByAuthorization => terms.is_for_authorized(),
        }
    }
}

impl Pass {
    /// Returns a word for it, as logs and `Cache-Status` have it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Body => "request-body",
            Self::Upgrade => "upgrade",
            Self::Cookie => "bypass-cookie",
            Self::Header => "bypass-header",
            Self::NoStore => "request-no-store",
            Self::Precondition => "precondition",
            Self::Connection => "connection-header",
            Self::Disguise => "override-header",
        }
    }
}

fn refuse_tricks(headers: &HeaderMap) -> Result<(), Pass> {
    let precondition = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
    if precondition.iter().any(|name| headers.contains_key(name)) {
        return Err(Pass::Precondition);
    }
    if headers.get_all(header::CONNECTION).iter().any(drops_a_header) {
        return Err(Pass::Connection);
    }
    if headers.keys().any(|name| is_disguise(name.as_str())) {
        return Err(Pass::Disguise);
    }
    Ok(())
}

/// Many applications read `X_Original_URL` as `X-Original-URL`.
fn is_disguise(name: &str) -> bool {
    let same = |(byte, other): (u8, u8)| byte == other || (byte == b'_' && other == b'-');
    name.starts_with(['f', 'x'])
        && DISGUISES.iter().any(|disguise| {
            name.len() == disguise.len() && name.bytes().zip(disguise.bytes()).all(same)
        })
}

/// Tells whether `Connection` names what is more than the connection's.
fn drops_a_header(value: &HeaderValue) -> bool {
    let usual = |item: &str| {
        let usual = ["close", "keep-alive", "te", "upgrade", "http2-settings", "proxy-connection"];
        item.is_empty() || usual.iter().any(|word| item.eq_ignore_ascii_case(word))
    };
    value.to_str().map_or(true, |list| !list.split(',').map(str::trim).all(usual))
}

/// Returns the values that the rules add to the key, so that no two requests that differ in them give
/// the same bytes.
fn added(rules: &CompiledCache, trusted: bool, headers: &HeaderMap) -> Box<[u8]> {
    let mut values = Vec::new();
    for name in CLAIMS.map(HeaderName::from_static) {
        if trusted && headers.contains_key(&name) {
            values.extend_from_slice(name.as_str().as_bytes());
            append(&mut values, &name, headers);
        }
    }
    for name in &rules.key_headers {
        append(&mut values, name, headers);
    }
    for wanted in &rules.settings.key.cookies {
        for (_, value) in cookies::pairs(headers).filter(|(name, _)| name == wanted) {
            values.extend_from_slice(value.as_bytes());
            values.push(1);
        }
        values.push(0);
    }
    values.into()
}

#[cfg(test)]
pub(super) mod tests {
    use portway_model::{
        Id,
        site::{Cache, CacheBypass, CacheKey, CookieRule},
    };

    use super::*;
    use crate::canonical::{HostName, RequestHost, RequestPath};

    #[expect(clippy::unwrap_in_result, reason = "a failed assumption fails the test")]
    pub(crate) fn question(
        settings: Cache,
        method: &str,
        pairs: &[(&str, &str)],
    ) -> Result<Question, Pass> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let host = RequestHost { name: HostName::Dns("a.example".to_owned()), port: None };
        let (path, _) = RequestPath::of(&"/a?b".parse().unwrap()).unwrap();
        let site = Id::from_uuid(uuid::Uuid::nil());
        let trusted = pairs.contains(&("x-trusted", ""));
        let place = Place { site, https: true, trusted, host: &host, path: &path };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Question::of(&CompiledCache::of(settings), &place, &method, &headers)
    }

    fn pass(headers: &[(&str, &str)]) -> Option<Pass> {
        question(Cache::default(), "GET", headers).err()
    }

    #[test]
    fn what_could_change_an_answer_unseen_leads_past_the_cache() {
        assert_eq!(pass(&[]), None);
        for (name, why) in [
            ("X-Original-URL", Pass::Disguise),
            ("x-http-method-override", Pass::Disguise),
            ("x_original_url", Pass::Disguise),
            ("Front-End-Https", Pass::Disguise),
            ("if-match", Pass::Precondition),
            ("if-unmodified-since", Pass::Precondition),
        ] {
            assert_eq!(pass(&[(name, "x")]), Some(why), "{name}");
        }
        assert_eq!(pass(&[("connection", "close, cookie")]), Some(Pass::Connection));
        assert_eq!(pass(&[("connection", "Keep-Alive, TE")]), None);
        assert_eq!(pass(&[("cache-control", "no-store")]), Some(Pass::NoStore));
        assert_eq!(question(Cache::default(), "POST", &[]).unwrap_err(), Pass::Method);
        assert!(question(Cache::default(), "HEAD", &[]).unwrap().head);
    }

    #[test]
    fn the_rules_lead_past_it_by_cookies_and_headers() {
        let bypass = CacheBypass {
            cookies: vec!["session".to_owned()],
            headers: vec!["x-preview".to_owned()],
        };
        let settings = Cache { bypass, ..Cache::default() };
        let ask = |pairs| question(settings.clone(), "GET", pairs).err();
        assert_eq!(ask(&[("cookie", "a=b; session=1")]), Some(Pass::Cookie));
        assert_eq!(ask(&[("X-Preview", "")]), Some(Pass::Header));
        assert_eq!(ask(&[("cookie", "sessions=1")]), None);
    }

    #[test]
    fn cookies_make_a_request_personal_unless_the_rules_know_them() {
        let personal = |settings: &Cache, cookie| {
            let found = question(settings.clone(), "GET", &[("cookie", cookie)]).unwrap();
            found.personal == Personal::ByCookie
        };
        let usual = Cache::default();
        assert!(personal(&usual, "a=1"));
        assert!(personal(&usual, "\u{e9}=1"), "what is no text");
        let cookies = CookieRule::AllBut(vec!["_ga".to_owned()]);
        let listed = Cache { cookies, ..Cache::default() };
        assert!(!personal(&listed, "_ga=1"));
        assert!(personal(&listed, "_ga=1; sid=2"));
        assert!(!personal(&Cache { cookies: CookieRule::None, ..Cache::default() }, "sid=2"));
        let key = CacheKey { cookies: vec!["lang".to_owned()], ..CacheKey::default() };
        assert!(!personal(&Cache { key, ..Cache::default() }, "lang=de"));
    }

    #[test]
    fn what_the_key_adds_tells_requests_apart() {
        let key = CacheKey {
            headers: vec!["x-tenant".to_owned()],
            cookies: vec!["lang".to_owned()],
            ..CacheKey::default()
        };
        let settings = Cache { key, ..Cache::default() };
        let own = |pairs| question(settings.clone(), "GET", pairs).unwrap().own;
        assert_eq!(own(&[("cookie", "x=1; lang=de")]), own(&[("cookie", "lang=de")]));
        let all = [
            own(&[]),
            own(&[("cookie", "lang=de")]),
            own(&[("cookie", "lang=de; lang=fr")]),
            own(&[("cookie", "lang=")]),
            own(&[("x-tenant", "de")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_was_asked_for_tells_requests_apart() {
        let own = |pairs: &[(&str, &str)]| question(Cache::default(), "GET", pairs).unwrap().own;
        let said = |host| [("x-trusted", ""), ("x-forwarded-host", host)];
        assert_ne!(own(&said("a")), own(&said("b")));
        assert_eq!(own(&[("x-forwarded-host", "a")]), own(&[]), "a stranger's is not passed on");
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let wants = |pairs| question(Cache::default(), "GET", pairs).unwrap().wants.no_cache;
        assert!(wants(&[("pragma", "no-cache")]));
        assert!(!wants(&[("pragma", "no-cache"), ("cache-control", "max-age=5")]));
    }
}
