//! A request that is not sent: it is led through the same stages as any other
//! ([`crate::pipeline::pass`]), and what its action would do is told in place of doing it. Nothing is
//! counted, logged or sent.

mod action;
mod telling;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Uri, header, request::Parts};
use portway_model::site::TlsVersion;
use portway_policy::bundle::{Trial, TrialReport};

use self::telling::Telling;
use crate::{
    canonical,
    content::{TlsChoice, passed_over},
    headers::{Origin, address_value},
    pipeline::{self, Arrived, Way},
    tls::TlsFacts,
    worker::{Connection, Shared},
};

/// Why a request cannot be tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    /// The address is none.
    #[error("`{0}` is not an address of a site; write it as https://app.example.org/path")]
    Url(String),
    /// The method is none.
    #[error("`{0}` is not a method")]
    Method(String),
    /// A header is none.
    #[error("`{0}` is not a header with a value that can be sent")]
    Header(String),
}

/// A request as it would arrive.
struct Asked {
    parts: Parts,
    https: bool,
    local: SocketAddr,
}

/// Tells what would become of a request.
pub(crate) async fn explain(shared: &Shared, trial: &Trial) -> Result<TrialReport, TrialError> {
    let Asked { parts, https, local } = read(trial)?;
    let settings = Arc::clone(&shared.content.snapshot().settings);
    let peer = SocketAddr::new(trial.from, 0);
    let origin = Origin::of(&parts.headers, peer, https, &settings.trusted_proxies, &shared.spans);
    let mut telling = Telling::begin(&origin, peer.ip());
    let peer_value = address_value(peer.ip());
    let patience = Rc::default();
    let mut connection = Connection { peer, peer_value, local, tls: None, patience };
    if https {
        let Some(facts) = handshake(shared, &parts, local.ip()) else {
            return Ok(telling.no_certificate());
        };
        connection.tls = Some(facts);
    }
    let has_body = parts.headers.contains_key(header::TRANSFER_ENCODING)
        || parts.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let arrived = Arrived { bytes: size(&parts), took: Duration::ZERO, patience: Rc::default() };
    let request = (parts.clone(), has_body);
    let way = pipeline::pass(shared, &connection, &origin, &mut telling, request, &arrived).await;
    tell_routes(&mut telling, &parts);
    match way {
        Err(refusal) => telling.refused(&refusal),
        Ok(Way::Answered(response)) => telling.answered(&response),
        Ok(Way::Through(passed)) => action::tell(&mut telling, shared, &passed),
    }
    Ok(telling.end())
}

/// Tells which routes take the path, and why they do not take the request.
fn tell_routes(telling: &mut Telling, parts: &Parts) {
    let Some((site, path)) = telling.place() else { return };
    let Ok(path) = canonical::decode(&path) else { return };
    for (label, why) in passed_over(&site, &path, parts) {
        telling.passed_over(&label, &why);
    }
}

/// Returns how a handshake for the request's own host would be answered; nothing where there is no
/// certificate for it.
fn handshake(shared: &Shared, parts: &Parts, local: IpAddr) -> Option<TlsFacts> {
    let host = canonical::host(parts).ok()?;
    let server_name = match host.name {
        canonical::HostName::Dns(name) => Some(name.into_boxed_str()),
        canonical::HostName::Ip(_) | canonical::HostName::Nothing => None,
    };
    let snapshot = shared.content.snapshot();
    let entry = snapshot.find_tls(server_name.as_deref(), local);
    let fallback = snapshot.settings.fallback_certificate.map(|certificate| TlsChoice {
        certificate,
        min_version: TlsVersion::V1_2,
        http2: true,
    });
    let choice = entry.and_then(|entry| entry.tls()).or(fallback)?;
    Some(TlsFacts { server_name, choice, version: "1.3", http2: false })
}

fn read(trial: &Trial) -> Result<Asked, TrialError> {
    let wrong = || TrialError::Url(trial.url.clone());
    let url: Uri = trial.url.parse().map_err(|_| wrong())?;
    let https = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => return Err(wrong()),
    };
    let authority = url.authority().ok_or_else(wrong)?;
    let method = Method::from_bytes(trial.method.as_bytes())
        .map_err(|_| TrialError::Method(trial.method.clone()))?;
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let request = http::Request::builder().method(method).uri(target).body(());
    let (mut parts, ()) = request.map_err(|_| wrong())?.into_parts();
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
    parts.headers.insert(header::HOST, host);
    for (name, value) in &trial.headers {
        let bad = || TrialError::Header(format!("{name}: {value}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        if name == header::HOST {
            parts.headers.insert(name, value);
        } else {
            parts.headers.append(name, value);
        }
    }
    let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
    let local = bare.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
    Ok(Asked { parts, https, local: SocketAddr::new(local, port) })
}

/// Returns the bytes of the head as it would arrive over HTTP/1.1.
fn size(parts: &Parts) -> usize {
    let line = parts.method.as_str().len() + parts.uri.to_string().len() + " HTTP/1.1\r\n".len();
    let fields = parts.headers.iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    line + fields + 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(url: &str, headers: &[(&str, &str)]) -> Trial {
        Trial {
            from: [192, 0, 2, 7].into(),
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn a_request_is_read_as_it_would_arrive() {
        let asked = read(&trial("https://[::1]:8443/a?b", &[("x-a", "1"), ("x-a", "2")])).unwrap();
        assert!(asked.https);
        assert_eq!(asked.local, "[::1]:8443".parse().unwrap());
        assert_eq!(asked.parts.uri, "/a?b");
        assert_eq!(asked.parts.headers.get_all("x-a").iter().count(), 2);
        let other = read(&trial("http://a.example", &[("host", "b.example")])).unwrap();
        assert_eq!(other.parts.headers["host"], "b.example");
        assert_eq!(other.parts.uri, "/");
        assert_eq!(size(&other.parts), "GET / HTTP/1.1\r\nhost: b.example\r\n\r\n".len());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for url in ["/path", "ftp://a.example/", "a.example", "https://"] {
            assert!(matches!(read(&trial(url, &[])), Err(TrialError::Url(_))), "{url}");
        }
        let bad = [("a b", "c"), ("a", "b\nc")];
        for header in bad {
            let read = read(&trial("http://a.example/", &[header]));
            assert!(matches!(read, Err(TrialError::Header(_))), "{header:?}");
        }
    }
}
