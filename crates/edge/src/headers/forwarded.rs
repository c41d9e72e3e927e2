//! `Forwarded` (RFC 7239): read from trusted proxies, written in the place of what came. A header
//! that cannot be understood wholly counts for nothing.

use std::{iter::Peekable, net::IpAddr, str::Chars};

use http::{HeaderMap, header::FORWARDED};

/// One hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// Who asked there; nothing where that is hidden.
    pub(crate) asked_by: Option<IpAddr>,
    /// Whether it was asked over HTTPS, where that is said.
    pub(crate) https: Option<bool>,
}

/// Returns the hops, the first one first; nothing where the header is missing or malformed.
pub(crate) fn parse(headers: &HeaderMap) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    for value in headers.get_all(FORWARDED) {
        let mut reader = Reader { chars: value.to_str().ok()?.chars().peekable() };
        loop {
            elements.push(reader.element()?);
            match reader.chars.next() {
                None => break,
                Some(',') => {}
                Some(_) => return None,
            }
        }
    }
    (!elements.is_empty()).then_some(elements)
}

/// Writes one hop. A host that needs quotes gets them.
pub(crate) fn write(asked_by: &str, host: Option<&str>, https: Option<bool>) -> String {
    let mut text = match asked_by.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => format!("for={address}"),
        Ok(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
        Err(_) => "for=unknown".to_owned(),
    };
    if let Some(host) = host {
        let quote = if !host.is_empty() && host.chars().all(is_token) { "" } else { "\"" };
        for part in [";host=", quote, host, quote] {
            text.push_str(part);
        }
    }
    if let Some(https) = https {
        text.push_str(if https { ";proto=https" } else { ";proto=http" });
    }
    text
}

/// Reads from front to back.
struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn element(&mut self) -> Option<Element> {
        let mut element = Element { asked_by: None, https: None };
        let mut seen = Vec::new();
        loop {
            self.skip_space();
            let name = self.token()?.to_ascii_lowercase();
            if self.chars.next() != Some('=') || seen.contains(&name) {
                return None;
            }
            let value =
                if self.chars.peek() == Some(&'"') { self.quoted()? } else { self.token()? };
            match name.as_str() {
                "for" => element.asked_by = Node::parse(&value)?.address(),
                "proto" => element.https = Some(value.eq_ignore_ascii_case("https")),
                _ => {}
            }
            seen.push(name);
            self.skip_space();
            if self.chars.next_if_eq(&';').is_none() {
                return Some(element);
            }
        }
    }

    fn skip_space(&mut self) {
        while self.chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
    }

    fn token(&mut self) -> Option<String> {
        let mut token = String::new();
        while let Some(c) = self.chars.next_if(|c| is_token(*c)) {
            token.push(c);
        }
        (!token.is_empty()).then_some(token)
    }

    fn quoted(&mut self) -> Option<String> {
        self.chars.next();
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.chars.next()?),
                c => text.push(c),
            }
        }
    }
}

/// Who asked.
enum Node {
    Address(IpAddr),
    Hidden,
}

impl Node {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
            return Some(Self::Hidden);
        }
        let (address, port) = match text.rsplit_once(':') {
            Some((address, port)) if !port.contains(']') && !address.ends_with(':') => {
                (address, port)
            }
            Some(_) | None => (text, ""),
        };
        let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let address: IpAddr = bare.unwrap_or(address).parse().ok()?;
        // A port may be hidden too.
        let is_port = port.is_empty() || port.starts_with('_') || port.parse::<u16>().is_ok();
        // Without brackets nobody can tell a port from the end of an address.
        let is_node = is_port && address.is_ipv6() == bare.is_some();
        is_node.then(|| Self::Address(address.to_canonical()))
    }

    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Hidden => None,
        }
    }
}

/// RFC 9110 §5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hops_are_read_in_their_order() {
        for (values, found) in [
            (
                &["for=192.0.2.60;proto=http;by=203.0.113.43"][..],
                &[(Some("192.0.2.60"), Some(false))][..],
            ),
            (&["For=\"[2001:db8::17]:4711\"; Proto=HTTPS"], &[(Some("2001:db8::17"), Some(true))]),
            (
                &["for=192.0.2.43, for=198.51.100.17"],
                &[(Some("192.0.2.43"), None), (Some("198.51.100.17"), None)],
            ),
            (&["for=\"1.2.3.4:_port\"", "for=unknown"], &[(Some("1.2.3.4"), None), (None, None)]),
            (&["for=_hidden;x=\"a\\\"b,c\""], &[(None, None)]),
            (&["host=a.example"], &[(None, None)]),
        ] {
            let read = parse(&map(values)).unwrap();
            let read: Vec<_> =
                read.iter().map(|hop| (hop.asked_by.map(|a| a.to_string()), hop.https)).collect();
            let found: Vec<_> =
                found.iter().map(|(by, https)| (by.map(str::to_owned), *https)).collect();
            assert_eq!(read, found, "{values:?}");
        }
    }

    #[test]
    fn what_is_malformed_counts_for_nothing() {
        for value in [
            "",
            "for",
            "for=",
            "for=\"1.2.3.4",
            "for=1.2.3.4;",
            "for=1.2.3.4,",
            "for=1.2.3.4 for=5.6.7.8",
            "for=1.2.3.4;for=5.6.7.8",
            "for=2001:db8::1",
            "for=[2001:db8::1]",
            "for=\"1.2.3.4:99999\"",
            "for=somebody",
            "for = 1.2.3.4",
        ] {
            assert_eq!(parse(&map(&[value])), None, "{value}");
        }
        assert_eq!(parse(&map(&["for=1.2.3.4", "nonsense"])), None);
        assert_eq!(parse(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_written_is_what_rfc_7239_shows() {
        assert_eq!(
            write("1.2.3.4", Some("a.example"), Some(true)),
            "for=1.2.3.4;host=a.example;proto=https"
        );
        assert_eq!(write("::1", Some("a.example:81"), None), "for=\"[::1]\";host=\"a.example:81\"");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~]{0,60}") {
            drop(parse(&map(&[&text])));
        }

        #[test]
        fn what_was_written_is_read_again(address in any::<IpAddr>(), https in any::<bool>()) {
            let address = address.to_canonical();
            let text = write(&address.to_string(), Some("a.example:8443"), Some(https));
            let hop = Element { asked_by: Some(address), https: Some(https) };
            prop_assert_eq!(parse(&map(&[&text])), Some(vec![hop]));
        }
    }

    fn map(values: &[&str]) -> HeaderMap {
        let value = |value: &&str| (FORWARDED, HeaderValue::from_str(value).unwrap());
        values.iter().map(value).collect()
    }
}
