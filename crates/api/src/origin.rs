//! Whether a browser sends a request on behalf of a page of ours.
//!
//! `SameSite=Strict` keeps cookies away from other sites, not from other ports of this machine or
//! other hosts of the console's domain; the origin does.

use http::{HeaderMap, Method, header};
use portway_wire::ProblemCode;

use crate::problem::Refusal;

/// Refuses a request that changes something and comes from a page of another origin.
pub(crate) fn judge(method: &Method, headers: &HeaderMap, secure: bool) -> Result<(), Refusal> {
    if method.is_safe() || source(headers, secure) != Source::Foreign {
        return Ok(());
    }
    Err(Refusal::new(ProblemCode::Forbidden, "a page of another origin may not change anything"))
}

/// Refuses a request that changes something by the authority of a cookie and does not say that it
/// comes from a page of ours.
pub(crate) fn judge_cookie(
    method: &Method,
    headers: &HeaderMap,
    secure: bool,
) -> Result<(), Refusal> {
    if method.is_safe() || source(headers, secure) == Source::Own {
        return Ok(());
    }
    let detail = "a request with a session cookie changes something only with an Origin header of \
                  this address; programs use a token";
    Err(Refusal::new(ProblemCode::Forbidden, detail))
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    Own,
    Foreign,
    Unknown,
}

fn source(headers: &HeaderMap, secure: bool) -> Source {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (headers.get(header::ORIGIN), headers.get("sec-fetch-site")) {
        (Some(origin), _) => {
            let own =
                host.map(|host| format!("{}://{host}", if secure { "https" } else { "http" }));
            let is_own =
                own.is_some_and(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes()));
            if is_own { Source::Own } else { Source::Foreign }
        }
        (None, Some(site)) if site == "same-origin" => Source::Own,
        (None, Some(_)) => Source::Foreign,
        (None, None) => Source::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let host = [("host", "localhost:8900")];
        let all = host.iter().chain(pairs);
        all.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_foreign_page_changes_nothing() {
        for origin in [
            "http://evil.example",
            "http://localhost:5000",
            "https://localhost:8900",
            "http://localhost",
            "null",
        ] {
            let headers = headers(&[("origin", origin)]);
            assert!(judge(&Method::POST, &headers, false).is_err(), "{origin}");
            assert!(judge_cookie(&Method::DELETE, &headers, false).is_err(), "{origin}");
            assert!(judge(&Method::GET, &headers, false).is_ok(), "{origin}");
        }
        let site = headers(&[("sec-fetch-site", "same-site")]);
        assert!(judge(&Method::POST, &site, false).is_err());
    }

    #[test]
    fn an_own_page_may_change_things() {
        let origin = headers(&[("origin", "http://localhost:8900")]);
        assert!(judge_cookie(&Method::POST, &origin, false).is_ok());
        let site = headers(&[("sec-fetch-site", "same-origin")]);
        assert!(judge_cookie(&Method::POST, &site, true).is_ok());
    }

    #[test]
    fn a_program_needs_no_origin_and_a_cookie_does() {
        let none = headers(&[]);
        assert!(judge(&Method::POST, &none, false).is_ok());
        assert!(judge_cookie(&Method::POST, &none, false).is_err());
        assert!(judge_cookie(&Method::GET, &none, false).is_ok());
    }
}
