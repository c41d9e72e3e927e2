//! Cookies that keep a client where it is: with its target, or on its side of a split.
//!
//! The value of such a cookie is a MAC of the name of the place under a key of the node. It says
//! nothing about the place and cannot be made without the key, so a client can stay where it was put
//! and not choose. All values are made when a site is compiled; a request costs comparisons.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use portway_model::site::Sticky;
pub(crate) use portway_policy::StickyKey;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::cookies::values_of;

/// A MAC is cut to so many bytes: 128 bits cannot be guessed.
const LENGTH: usize = 16;

/// The values of a cookie, by place.
#[derive(Debug)]
pub(crate) struct Tokens {
    cookie: Sticky,
    values: Vec<String>,
}

impl Tokens {
    /// Makes the values for places of a scope. A value of one scope (a site, and what is chosen
    /// there) means nothing in another.
    pub(crate) fn new(
        key: &StickyKey,
        cookie: Sticky,
        scope: &str,
        places: &[impl AsRef<str>],
    ) -> Self {
        let mac = |place: &str| mac(key, ["sticky 1", scope, place]);
        let values = places.iter().map(|place| mac(place.as_ref())).collect();
        Self { cookie, values }
    }

    /// Returns the place that the cookies of a request name, if it is one of these.
    pub(crate) fn place(&self, cookies: impl Iterator<Item = impl AsRef<[u8]>>) -> Option<u32> {
        let mut found = None;
        for header in cookies {
            for value in values_of(header.as_ref(), self.cookie.cookie.as_bytes()) {
                found = found.or_else(|| self.index(value));
            }
        }
        found
    }

    /// Looks at all values, so that the time tells nothing of how much of one was right.
    fn index(&self, value: &[u8]) -> Option<u32> {
        let mut found = None;
        for (index, known) in (0..).zip(&self.values) {
            if bool::from(known.as_bytes().ct_eq(value)) {
                found = Some(index);
            }
        }
        found
    }

    /// Returns the `Set-Cookie` that keeps a client at a place. `path` is where requests come from
    /// for which it is meant.
    pub(crate) fn set_cookie(&self, place: u32, path: &str, https: bool) -> Option<String> {
        let value = self.values.get(usize::try_from(place).ok()?)?;
        let Sticky { cookie, ttl } = &self.cookie;
        // A path with a semicolon would end the attribute.
        let path = if path.bytes().all(|b| b.is_ascii_graphic() && b != b';') { path } else { "/" };
        let mut header = format!("{cookie}={value}; Path={path}; HttpOnly; SameSite=Lax");
        if let Some(ttl) = ttl {
            header.push_str("; Max-Age=");
            header.push_str(&ttl.0.to_string());
        }
        if https {
            header.push_str("; Secure");
        }
        Some(header)
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(key: &StickyKey, parts: [&str; 3]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("any length");
    for part in parts {
        // With its length before each part, no two lists of parts read the same.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    let digest = mac.finalize().into_bytes();
    URL_SAFE_NO_PAD.encode(digest.get(..LENGTH).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use portway_model::Seconds;

    use super::*;

    fn tokens(key: u8, scope: &str) -> Tokens {
        let cookie = Sticky { cookie: "t".to_owned(), ttl: Some(Seconds(60)) };
        let places = ["10.0.0.4:80", "10.0.0.5:80"];
        Tokens::new(&StickyKey::new([key; 32]), cookie, scope, &places)
    }

    fn value(tokens: &Tokens, place: u32) -> String {
        let header = tokens.set_cookie(place, "/", true).unwrap();
        header.split_once(';').unwrap().0.to_owned()
    }

    #[test]
    fn a_client_comes_back_to_its_place() {
        let tokens = tokens(1, "blog");
        for place in 0..2 {
            let header = format!("a=b; {}; c=d", value(&tokens, place));
            assert_eq!(tokens.place([header].iter()), Some(place));
        }
    }

    #[test]
    fn a_place_cannot_be_chosen() {
        let tokens = tokens(1, "blog");
        let own = value(&tokens, 0);
        let other_key = value(&self::tokens(2, "blog"), 0);
        let other_scope = value(&self::tokens(1, "shop"), 0);
        let shorter = own.get(..own.len() - 1).unwrap().to_owned();
        let longer = format!("{own}A");
        for forged in
            [&other_key, &other_scope, &shorter, &longer, "t=", "t=0", "t=10.0.0.4:80", "x=1", ""]
        {
            assert_eq!(tokens.place([forged].iter()), None, "{forged}");
        }
    }

    #[test]
    fn the_cookie_names_no_address_and_is_guarded() {
        let tokens = tokens(1, "blog");
        let header = tokens.set_cookie(0, "/app", true).unwrap();
        assert!(!header.contains("10.0.0"), "{header}");
        let (value, attributes) = header.split_once("; ").unwrap();
        assert_eq!(value.len(), 2 + 22);
        assert_eq!(attributes, "Path=/app; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        assert!(!tokens.set_cookie(0, "/", false).unwrap().contains("Secure"));
        assert!(tokens.set_cookie(0, "/a;Domain=b", true).unwrap().contains("Path=/;"));
        assert_eq!(tokens.set_cookie(9, "/", true), None);
    }

    #[test]
    fn of_several_cookies_the_one_that_is_known_counts() {
        let tokens = tokens(1, "blog");
        let headers = ["t=stale; t=\"x\"".to_owned(), value(&tokens, 1)];
        assert_eq!(tokens.place(headers.iter()), Some(1));
    }
}
