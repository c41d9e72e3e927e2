//! The session cookie of browsers (RFC 6265).
//!
//! Over TLS it is `__Host-portway`, which a browser takes from this host alone and returns over TLS
//! alone. On the loopback listener there is no TLS, and browsers do not tell ports apart: there the
//! path keeps the cookie away from the other programs that answer as `localhost`.

use http::{HeaderMap, HeaderValue, header};
use portway_wire::ProblemCode;

use crate::problem::Refusal;

const SECURE: &str = "__Host-portway";
const PLAIN: &str = "portway_session";

/// Returns the session that a request carries.
pub(crate) fn read(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let wanted = if secure { SECURE } else { PLAIN };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
}

/// Returns the header that gives a browser its session.
pub(crate) fn give(session: &str, secure: bool) -> Result<HeaderValue, Refusal> {
    let text = if secure {
        format!("{SECURE}={session}; Path=/; Secure; HttpOnly; SameSite=Strict")
    } else {
        format!("{PLAIN}={session}; Path=/api/v1; HttpOnly; SameSite=Strict")
    };
    let mut value = HeaderValue::from_str(&text).map_err(|error| {
        Refusal::new(ProblemCode::Internal, "the session has no form for a cookie").cause(error)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns the header that takes the session away.
pub(crate) fn take(secure: bool) -> HeaderValue {
    HeaderValue::from_static(if secure {
        "__Host-portway=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
    } else {
        "portway_session=; Path=/api/v1; HttpOnly; SameSite=Strict; Max-Age=0"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_of_the_other_scheme_is_not_read() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; portway_session=plain".parse().unwrap());
        headers.append(header::COOKIE, "__Host-portway=tls".parse().unwrap());
        assert_eq!(read(&headers, true), Some("tls"));
        assert_eq!(read(&headers, false), Some("plain"));
        headers.remove(header::COOKIE);
        assert_eq!(read(&headers, false), None);
    }

    #[test]
    fn a_name_that_merely_ends_alike_is_another_cookie() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "x__Host-portway=evil".parse().unwrap());
        assert_eq!(read(&headers, true), None);
    }

    #[test]
    fn a_session_is_given_to_this_host_and_hidden_from_scripts() {
        let tls = give("pws_x", true).unwrap();
        assert_eq!(
            tls.to_str().unwrap(),
            "__Host-portway=pws_x; Path=/; Secure; HttpOnly; SameSite=Strict"
        );
        let plain = give("pws_x", false).unwrap();
        assert!(!plain.to_str().unwrap().contains("Secure"));
        assert!(give("a\nb", true).is_err());
    }
}
