//! What must hold of a request beside its path: method, headers, query.

use http::{HeaderName, HeaderValue, Method};
use portway_model::site::Match;

/// What must hold of a request beside its path.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// Methods; all when empty.
    pub(crate) methods: Vec<Method>,
    /// Headers and their values.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters and their values, decoded.
    pub(crate) query: Vec<(String, String)>,
}

/// Returns how many things must hold beside the path.
pub(super) fn count(matches: &Match) -> usize {
    usize::from(!matches.methods.is_empty()) + matches.headers.len() + matches.query.len()
}

impl Conditions {
    /// Tells whether all of them hold.
    pub(crate) fn hold(&self, request: &http::request::Parts) -> bool {
        let method = self.methods.is_empty() || self.methods.contains(&request.method);
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            request.headers.get_all(name).iter().any(|found| found == value)
        };
        method
            && self.headers.iter().all(header)
            && (self.query.is_empty() || self.query_holds(request.uri.query().unwrap_or_default()))
    }

    /// Says what does not hold; nothing where all does.
    pub(crate) fn why_not(&self, request: &http::request::Parts) -> Option<String> {
        if !self.methods.is_empty() && !self.methods.contains(&request.method) {
            let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
            return Some(format!("it is for {} only", methods.join(", ")));
        }
        for (name, value) in &self.headers {
            if !request.headers.get_all(name).iter().any(|found| found == value) {
                let value = String::from_utf8_lossy(value.as_bytes());
                return Some(format!("the header {name} is not `{value}`"));
            }
        }
        let query = request.uri.query().unwrap_or_default();
        let lacking = self.query.iter().find(|(name, value)| !Self::query_has(query, name, value));
        lacking.map(|(name, value)| format!("the query has no `{name}={value}`"))
    }

    fn query_holds(&self, query: &str) -> bool {
        self.query.iter().all(|(name, value)| Self::query_has(query, name, value))
    }

    fn query_has(query: &str, name: &str, value: &str) -> bool {
        query.split('&').any(|pair| {
            let (found, its) = pair.split_once('=').unwrap_or((pair, ""));
            form_decode(found) == name.as_bytes() && form_decode(its) == value.as_bytes()
        })
    }
}

/// Decodes a part of a query as forms encode it; a broken escape stands for itself.
fn form_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escape = || {
            let (digits, tail) = tail.split_at_checked(2)?;
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let mut value = 0;
            for byte in digits {
                value = value * 16 + digit(byte)?;
            }
            Some((u8::try_from(value).ok()?, tail))
        };
        match (byte, escape()) {
            (b'+', _) => decoded.push(b' '),
            (b'%', Some((value, tail))) => {
                decoded.push(value);
                rest = tail;
            }
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_compared_decoded() {
        let conditions =
            Conditions { query: vec![("a b".into(), "ü".into())], ..Conditions::default() };
        let request = |query: &str| {
            let uri = format!("http://h/?{query}");
            http::Request::get(uri).body(()).unwrap().into_parts().0
        };
        assert!(conditions.hold(&request("x=1&a+b=%C3%BC")));
        assert!(conditions.hold(&request("a%20b=%c3%bc")));
        assert!(!conditions.hold(&request("a+b=u")));
        assert!(!conditions.hold(&request("")));
    }
}
