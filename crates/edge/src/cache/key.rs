//! Under what an answer is kept: its site and its URL in the one form that the edge has.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use portway_model::{Id, Site, site::CacheQuery};

use crate::canonical::{RequestHost, RequestPath};

/// The length of a site's id in front of a URL.
const SITE: usize = 32;

/// A site and a URL: scheme, host, port where it is not the usual one, path, and what counts of the
/// query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Arc<str>);

/// What a request asks for.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The site that answers.
    pub(crate) site: Id<Site>,
    /// Whether the client speaks HTTPS.
    pub(crate) https: bool,
    /// Whether what headers say of where it was sent first is passed on.
    pub(crate) trusted: bool,
    /// The host.
    pub(crate) host: &'a RequestHost,
    /// Path and query.
    pub(crate) path: &'a RequestPath,
}

impl Key {
    /// Returns the key of what a request asks for.
    pub(crate) fn of(place: &Place<'_>, query: &CacheQuery) -> Self {
        let path = place.path.as_str();
        let mut text = String::with_capacity(SITE + 32 + path.len());
        let (scheme, usual) = if place.https { ("https", 443) } else { ("http", 80) };
        // Writing to a text never fails.
        write!(text, "{}{scheme}://{}", place.site.uuid().simple(), place.host.name).ok();
        if let Some(port) = place.host.port.filter(|port| *port != usual) {
            write!(text, ":{port}").ok();
        }
        text.push_str(path);
        if let Some(query) = counted(query, place.path.query()) {
            text.push('?');
            text.push_str(&query);
        }
        Self(text.into())
    }

    /// Returns the URL.
    pub(crate) fn url(&self) -> &str {
        self.0.get(SITE..).unwrap_or_default()
    }

    /// Tells whether it is one of a site's.
    pub(super) fn is_of(&self, site: Id<Site>) -> bool {
        let mut buffer = [0; SITE];
        self.0.starts_with(&*site.uuid().simple().encode_lower(&mut buffer))
    }

    /// Returns the URL without its scheme: `host/path?query`.
    pub(super) fn bare(&self) -> &str {
        self.url().split_once("://").map_or("", |(_, bare)| bare)
    }

    /// Returns path and query.
    pub(super) fn path(&self) -> &str {
        let bare = self.bare();
        bare.find('/').and_then(|at| bare.get(at..)).unwrap_or("/")
    }

    /// Returns how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.0.len()
    }
}

/// Returns the keys under which something may be kept for the same URL by any route of its site.
pub(crate) fn site_keys<'a>(
    place: Place<'a>,
    queries: &'a [CacheQuery],
) -> impl Iterator<Item = Key> + 'a {
    queries.iter().map(move |query| Key::of(&place, query))
}

/// Returns what of a query counts.
pub(crate) fn counted<'a>(rule: &CacheQuery, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    match rule {
        CacheQuery::All => query.map(Cow::Borrowed),
        CacheQuery::None => None,
        CacheQuery::Listed(names) => {
            let is_listed = |pair: &&str| {
                let name = pair.split('=').next().unwrap_or_default();
                names.iter().any(|listed| is_spelled(name, listed))
            };
            let kept: Vec<&str> = query?.split('&').filter(is_listed).collect();
            (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
        }
    }
}

/// Tells whether a name in a query, decoded, is this one.
fn is_spelled(sent: &str, name: &str) -> bool {
    if sent == name {
        return true;
    }
    let mut rest = sent.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| *first == b'%');
        let byte = escape.and_then(|hex| {
            let text = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(text, 16).ok()
        });
        match (byte, first) {
            (Some(byte), _) => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (None, b'+') => {
                decoded.push(b' ');
                rest = after;
            }
            (None, other) => {
                decoded.push(*other);
                rest = after;
            }
        }
    }
    decoded == name.as_bytes()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::canonical::HostName;

    pub(crate) fn key(site: u128, https: bool, host: &str, target: &str) -> Key {
        let host = RequestHost { name: HostName::Dns(host.to_owned()), port: None };
        let (path, _) = RequestPath::of(&target.parse().unwrap()).unwrap();
        let site = Id::from_uuid(uuid::Uuid::from_u128(site));
        let place = Place { site, https, trusted: false, host: &host, path: &path };
        Key::of(&place, &CacheQuery::All)
    }

    #[test]
    fn a_key_is_the_site_and_the_url_in_its_one_form() {
        let one = key(1, true, "a.example", "/%61//b?c=%61");
        assert_eq!(one.url(), "https://a.example/a/b?c=%61");
        assert_eq!((one.bare(), one.path()), ("a.example/a/b?c=%61", "/a/b?c=%61"));
        assert!(one.is_of(Id::from_uuid(uuid::Uuid::from_u128(1))));
        assert!(!one.is_of(Id::from_uuid(uuid::Uuid::from_u128(2))));
        assert_eq!(one, key(1, true, "a.example", "/a/b?c=%61"));
        for other in [
            key(2, true, "a.example", "/a/b?c=%61"),
            key(1, false, "a.example", "/a/b?c=%61"),
            key(1, true, "b.example", "/a/b?c=%61"),
            key(1, true, "a.example", "/A/b?c=%61"),
            key(1, true, "a.example", "/a/b/?c=%61"),
            key(1, true, "a.example", "/a/b?c=a"),
            key(1, true, "a.example", "/a/b"),
        ] {
            assert_ne!(one, other);
        }
        assert_ne!(key(1, true, "a.example", "/a"), key(1, true, "a.example", "/a?"));
    }

    #[test]
    fn the_usual_port_is_none_and_another_one_counts() {
        let (path, _) = RequestPath::of(&"/".parse().unwrap()).unwrap();
        let site = Id::from_uuid(uuid::Uuid::nil());
        let url = |https, port| {
            let host = RequestHost { name: HostName::Dns("a.example".to_owned()), port };
            let place = Place { site, https, trusted: false, host: &host, path: &path };
            Key::of(&place, &CacheQuery::All).url().to_owned()
        };
        assert_eq!(url(true, Some(443)), "https://a.example/");
        assert_eq!(url(false, Some(80)), "http://a.example/");
        assert_eq!(url(true, Some(80)), "https://a.example:80/");
    }

    #[test]
    fn of_a_query_counts_what_the_rule_says() {
        let listed = CacheQuery::Listed(vec!["page".to_owned(), "a b".to_owned()]);
        for (rule, query, counts) in [
            (&CacheQuery::All, Some("b=1&a=2"), Some("b=1&a=2")),
            (&CacheQuery::None, Some("b=1"), None),
            (&listed, Some("utm=1&page=2&x"), Some("page=2")),
            (&listed, Some("page=1&page=2"), Some("page=1&page=2")),
            (&listed, Some("p%61ge=1&PAGE=2"), Some("p%61ge=1")),
            (&listed, Some("a+b=1&a%20b=2"), Some("a+b=1&a%20b=2")),
            (&listed, Some("page=1;utm=2"), Some("page=1;utm=2")),
            (&listed, Some("utm=1"), None),
            (&listed, None, None),
        ] {
            assert_eq!(counted(rule, query).as_deref(), counts, "{query:?}");
        }
    }
}
