//! Targets as operators write them: `5000`, `host:port`, `https://host`, `unix:/run/app.sock`.

use camino::{Utf8Path, Utf8PathBuf};

use crate::{HostError, HostPattern, HostPort, site::Target};

/// A target with what is spoken with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) scheme: Scheme,
    pub(super) target: Target,
}

/// What is spoken with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    H2c,
    H2,
}

/// Why a text is not a target; where it is known, `instead` is what was meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) text: String,
    pub(super) remedy: String,
    pub(super) instead: Option<String>,
}

impl Refusal {
    fn new(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { text: text.into(), remedy: remedy.into(), instead: None }
    }

    fn instead(text: impl Into<String>, instead: String) -> Self {
        Self { text: text.into(), remedy: format!("write `{instead}`"), instead: Some(instead) }
    }
}

impl Scheme {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::H2 => "h2",
        }
    }

    const fn usual_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https | Self::H2 => 443,
        }
    }
}

/// Reads a target.
pub(super) fn parse(text: &str) -> Result<Endpoint, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("the target is empty", EXAMPLES));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return port_of_this_machine(text);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(text, path, Scheme::Http);
    }
    if let Some(path) = text.strip_prefix("unix+h2c:") {
        return unix(text, path, Scheme::H2c);
    }
    if text.starts_with(['/', '.']) {
        return Err(path_instead_of_target(text));
    }
    match text.split_once("://") {
        None => plain(text),
        Some(("http", rest)) => url(text, Scheme::Http, rest),
        Some(("https", rest)) => url(text, Scheme::Https, rest),
        Some(("h2c", rest)) => url(text, Scheme::H2c, rest),
        Some(("h2", rest)) => url(text, Scheme::H2, rest),
        Some((scheme, rest)) => Err(unknown_scheme(text, scheme, rest)),
    }
}

const EXAMPLES: &str =
    "write for example `127.0.0.1:5000`, `https://app.internal` or `unix:/run/app.sock`";

fn port_of_this_machine(text: &str) -> Result<Endpoint, Refusal> {
    let port = text.parse().ok().filter(|port| *port != 0);
    let Some(port) = port else {
        return Err(Refusal::new(
            format!("`{text}` is not a port"),
            "a port is a number from 1 to 65535",
        ));
    };
    let target = Target::Tcp(HostPort { host: "127.0.0.1".to_owned(), port });
    Ok(Endpoint { scheme: Scheme::Http, target })
}

fn unix(text: &str, path: &str, scheme: Scheme) -> Result<Endpoint, Refusal> {
    if let Some(rest) = path.strip_prefix("//") {
        let scheme = text.split_once(':').map_or("unix", |(scheme, _)| scheme);
        let instead = format!("{scheme}:/{}", rest.trim_start_matches('/'));
        return Err(Refusal::instead(format!("`{text}` has too many slashes"), instead));
    }
    if !path.starts_with('/') {
        return Err(Refusal::new(
            format!("`{text}` does not name a socket by its absolute path"),
            "write for example `unix:/run/app.sock`",
        ));
    }
    if path.split('/').any(|part| part == "..") || path.contains('\0') || path.ends_with('/') {
        return Err(Refusal::new(
            format!("`{text}` is not the path of a socket"),
            "write the path without `..`, for example `unix:/run/app.sock`",
        ));
    }
    Ok(Endpoint { scheme, target: Target::Unix(Utf8PathBuf::from(path)) })
}

fn path_instead_of_target(text: &str) -> Refusal {
    let problem = format!("`{text}` is a path, not a target");
    if text.starts_with('/') && Utf8Path::new(text).extension() == Some("sock") {
        return Refusal::instead(problem, format!("unix:{text}"));
    }
    Refusal::new(problem, "write `unix:` before the path of a socket, or `files:` for a folder")
}

fn unknown_scheme(text: &str, scheme: &str, rest: &str) -> Refusal {
    let problem = format!("`{scheme}` is not spoken with upstreams");
    let known = match scheme.to_ascii_lowercase().as_str() {
        "ws" | "http" | "tcp" => "http",
        "wss" | "https" => "https",
        "h2" | "grpcs" => "h2",
        "grpc" | "h2c" => "h2c",
        _ => return Refusal::new(problem, EXAMPLES),
    };
    match url(text, Scheme::Http, rest) {
        Ok(_) => Refusal::instead(problem, format!("{known}://{rest}")),
        Err(_) => Refusal::new(problem, EXAMPLES),
    }
}

fn url(text: &str, scheme: Scheme, rest: &str) -> Result<Endpoint, Refusal> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err(Refusal::new(
            "a target has no user name and password",
            "set the header that the upstream wants: `headers: {request: {set: {…}}}`",
        ));
    }
    if authority.len() != rest.len() {
        return Err(refuse_path(text, scheme, authority));
    }
    let target = match authority.parse::<HostPort>() {
        Ok(address) => address,
        Err(_) if !has_port(authority) => {
            with_port(authority, scheme.usual_port()).ok_or_else(|| not_a_target(text))?
        }
        Err(_) => return Err(not_a_target(text)),
    };
    Ok(Endpoint { scheme, target: Target::Tcp(target) })
}

fn refuse_path(text: &str, scheme: Scheme, authority: &str) -> Refusal {
    let problem = format!("`{text}` has a path; a target is an address alone");
    let instead = format!("{}://{authority}", scheme.as_str());
    let mut refusal = Refusal::instead(problem, instead);
    refusal.remedy.push_str("; `strip_prefix` takes a prefix away before the upstream sees it");
    refusal
}

fn plain(text: &str) -> Result<Endpoint, Refusal> {
    if let Ok(address) = text.parse::<HostPort>() {
        return Ok(Endpoint { scheme: Scheme::Http, target: Target::Tcp(address) });
    }
    let bare = text.split('/').next().unwrap_or(text);
    if bare.len() != text.len() {
        let instead = bare.to_owned();
        if bare.parse::<HostPort>().is_ok() {
            return Err(Refusal::instead(
                format!("`{text}` has a path; a target is an address alone"),
                instead,
            ));
        }
        return Err(not_a_target(text));
    }
    match with_port(text, 80) {
        Some(address) if !has_port(text) => {
            Err(Refusal::instead(format!("`{text}` has no port"), address.to_string()))
        }
        Some(_) | None => Err(not_a_target(text)),
    }
}

/// Tells whether something stands where a port would.
fn has_port(authority: &str) -> bool {
    let after_address = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    after_address.contains(':') && authority.parse::<HostPattern>().is_err()
}

fn with_port(host: &str, port: u16) -> Option<HostPort> {
    let bracketed = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    bracketed.parse().ok()
}

fn not_a_target(text: &str) -> Refusal {
    let problem = match text.parse::<HostPort>() {
        Err(HostError::BadPort(_)) if has_port(text) => {
            format!("`{text}` has no valid port (1 to 65535)")
        }
        Ok(_) | Err(_) => format!("`{text}` is not a target"),
    };
    Refusal::new(problem, EXAMPLES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Scheme, String) {
        let endpoint = parse(text).unwrap();
        (endpoint.scheme, endpoint.target.to_string())
    }

    #[test]
    fn every_spelling_of_a_target_is_read() {
        let cases = [
            ("5000", Scheme::Http, "127.0.0.1:5000"),
            ("app:8000", Scheme::Http, "app:8000"),
            ("[::1]:8000", Scheme::Http, "[::1]:8000"),
            ("http://app", Scheme::Http, "app:80"),
            ("http://app:8000", Scheme::Http, "app:8000"),
            ("https://app.internal", Scheme::Https, "app.internal:443"),
            ("https://[::1]", Scheme::Https, "[::1]:443"),
            ("https://[::1]:8443", Scheme::Https, "[::1]:8443"),
            ("h2c://127.0.0.1:9000", Scheme::H2c, "127.0.0.1:9000"),
            ("h2://app.internal", Scheme::H2, "app.internal:443"),
            ("unix:/run/app.sock", Scheme::Http, "unix:/run/app.sock"),
            ("unix+h2c:/run/app.sock", Scheme::H2c, "unix:/run/app.sock"),
        ];
        for (text, scheme, target) in cases {
            assert_eq!(read(text), (scheme, target.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_was_meant_is_named() {
        let cases = [
            ("app", "app:80"),
            ("192.0.2.1", "192.0.2.1:80"),
            ("::1", "[::1]:80"),
            ("http://app:5000/", "http://app:5000"),
            ("https://app/v1?x=1", "https://app"),
            ("app:5000/v1", "app:5000"),
            ("/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
            ("unix://run/app.sock", "unix:/run/app.sock"),
            ("ws://app:5000", "http://app:5000"),
            ("grpc://app:5000", "h2c://app:5000"),
            ("grpcs://app:5000", "h2://app:5000"),
        ];
        for (text, instead) in cases {
            assert_eq!(parse(text).unwrap_err().instead.as_deref(), Some(instead), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "0",
            "70000",
            "app:0",
            "app:x",
            "http://",
            "http://:80",
            "http://a b",
            "unix:",
            "unix:app.sock",
            "unix:/run/../app.sock",
            "ftp://app",
            "http://user:pw@app",
            "./app",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
