//! The host that a request means.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderValue, Version, header::HOST, request::Parts, uri::Scheme};

use super::RequestFault;

/// The longest host name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// The host that a request means, in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHost {
    /// The host.
    pub(crate) name: HostName,
    /// The port, when one was named.
    pub(crate) port: Option<u16>,
}

/// A host without its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostName {
    /// A DNS name: lower case, no trailing dot.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// None was named, as HTTP/1.0 and an empty Host header allow.
    Nothing,
}

/// Returns the host that a request means: that of its target where it has one, else of its only
/// Host header. Where both are given they must agree.
pub(crate) fn host(request: &Parts) -> Result<RequestHost, RequestFault> {
    let mut headers = request.headers.get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(RequestFault::SeveralHosts);
    }
    let header = header.map(parse_header).transpose()?;
    let Some(authority) = request.uri.authority() else {
        return match header {
            Some(host) => Ok(host),
            None if request.version < Version::HTTP_11 => {
                Ok(RequestHost { name: HostName::Nothing, port: None })
            }
            None => Err(RequestFault::NoHost),
        };
    };
    let target = parse(authority.as_str())?;
    let default = default_port(request.uri.scheme());
    if let Some(header) = header
        && (header.name != target.name || header.port.or(default) != target.port.or(default))
    {
        return Err(RequestFault::HostMismatch);
    }
    Ok(target)
}

impl RequestHost {
    /// Tells whether a text is the one form of this host, where it is a name.
    pub(crate) fn is_written(&self, text: &str) -> bool {
        let HostName::Dns(name) = &self.name else { return false };
        let Some(rest) = text.strip_prefix(name.as_str()) else { return false };
        match self.port {
            None => rest.is_empty(),
            Some(port) => rest.strip_prefix(':').is_some_and(|digits| {
                !digits.starts_with('0') && digits.parse::<u16>() == Ok(port)
            }),
        }
    }
}

fn parse_header(value: &HeaderValue) -> Result<RequestHost, RequestFault> {
    parse(value.to_str().map_err(|_| RequestFault::BadHost)?)
}

fn parse(text: &str) -> Result<RequestHost, RequestFault> {
    let (host, port) = split_port(text)?;
    let port = match port {
        None | Some("") => None,
        Some(digits) => Some(parse_port(digits)?),
    };
    Ok(RequestHost { name: parse_name(host)?, port })
}

/// Splits at the colon in front of the port, which inside brackets is none.
fn split_port(text: &str) -> Result<(&str, Option<&str>), RequestFault> {
    if !text.starts_with('[') {
        return Ok(match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        });
    }
    let end = text.find(']').ok_or(RequestFault::BadHost)?;
    let (host, rest) = text.split_at(end + 1);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err(RequestFault::BadHost),
    }
}

fn parse_port(digits: &str) -> Result<u16, RequestFault> {
    let numeric = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| numeric && *port != 0);
    port.ok_or(RequestFault::BadHost)
}

fn parse_name(host: &str) -> Result<HostName, RequestFault> {
    if host.is_empty() {
        return Ok(HostName::Nothing);
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return address
            .map(|address| HostName::Ip(IpAddr::V6(address).to_canonical()))
            .ok_or(RequestFault::BadHost);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    // Without brackets there is no colon, so an address ends with a digit.
    let may_be_address = host.as_bytes().last().is_some_and(u8::is_ascii_digit);
    if may_be_address && let Ok(address) = host.parse::<IpAddr>() {
        return Ok(HostName::Ip(address));
    }
    let is_label =
        |label: &[u8]| (1..=63).contains(&label.len()) && label.iter().copied().all(is_name_byte);
    if host.len() > MAX_NAME || !host.as_bytes().split(|byte| *byte == b'.').all(is_label) {
        return Err(RequestFault::BadHost);
    }
    Ok(HostName::Dns(host.to_ascii_lowercase()))
}

/// Names inside a network carry underscores, so they pass here although no certificate would.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn default_port(scheme: Option<&Scheme>) -> Option<u16> {
    match scheme.map(Scheme::as_str) {
        Some("https") => Some(443),
        Some("http") => Some(80),
        Some(_) | None => None,
    }
}

impl std::fmt::Display for RequestHost {
    /// Writes the host as it stands in a URL, with its port when one was named.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl std::fmt::Display for HostName {
    /// Writes the host as it stands in a URL; IPv6 in brackets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_host_has_one_form() {
        for (header, form) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("example.org:8443", "example.org:8443"),
            ("example.org:", "example.org"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:443", "[::1]:443"),
            ("[0:0::1]", "[::1]"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
            ("my_app.internal", "my_app.internal"),
            ("", ""),
        ] {
            let found = host(&request("/", &[header])).map(|host| host.to_string());
            assert_eq!(found.as_deref(), Ok(form), "{header}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for header in [
            "a b",
            "a..b",
            "a.org:0",
            "a.org:99999",
            "a.org:+80",
            "a.org:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "user@a.org",
            "a.org/x",
            "a%2eorg",
            "..",
            ".",
            "a,b",
        ] {
            assert_eq!(host(&request("/", &[header])), Err(RequestFault::BadHost), "{header}");
        }
        let long = format!("{}org", "abcdefghi.".repeat(26));
        assert_eq!(host(&request("/", &[&long])), Err(RequestFault::BadHost));
    }

    #[test]
    fn several_hosts_are_refused_even_when_equal() {
        let parts = request("/", &["a.org", "a.org"]);
        assert_eq!(host(&parts), Err(RequestFault::SeveralHosts));
    }

    #[test]
    fn the_target_and_the_header_must_agree() {
        let found = |uri, hosts: &[&str]| host(&request(uri, hosts)).map(|host| host.to_string());
        assert_eq!(found("http://A.org/", &["a.org:80"]).as_deref(), Ok("a.org"));
        assert_eq!(found("https://a.org:443/", &["a.org"]).as_deref(), Ok("a.org:443"));
        assert_eq!(found("https://a.org/", &[]).as_deref(), Ok("a.org"));
        assert_eq!(found("http://a.org/", &["b.org"]), Err(RequestFault::HostMismatch));
        assert_eq!(found("http://a.org/", &["a.org:81"]), Err(RequestFault::HostMismatch));
        assert_eq!(found("http://a.org/", &[""]), Err(RequestFault::HostMismatch));
    }

    #[test]
    fn only_http_1_0_may_name_no_host() {
        let mut parts = request("/", &[]);
        assert_eq!(host(&parts), Err(RequestFault::NoHost));
        parts.version = Version::HTTP_10;
        assert_eq!(host(&parts).map(|host| host.name), Ok(HostName::Nothing));
    }

    proptest! {
        #[test]
        fn a_form_is_its_own_form(text in "[a-zA-Z0-9.:_\\[\\]-]{0,30}") {
            if let Ok(first) = parse(&text) {
                prop_assert_eq!(parse(&first.to_string()), Ok(first));
            }
        }
    }

    fn request(uri: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }
}
