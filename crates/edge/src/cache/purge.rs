//! What is to be taken away, in the form in which it is kept.

use http::{Request, Uri};
use portway_policy::bundle::PurgeWhat;

use crate::canonical::{self, RequestFault, RequestPath};

/// More tags than anybody purges at once.
const MOST_TAGS: usize = 1_000;

/// Why something cannot be taken away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PurgeError {
    /// It is neither a URL nor a path.
    #[error("`{0}` is neither a URL like `https://shop.example/a` nor a path like `/a`")]
    NoUrl(String),
    /// It has no safe meaning.
    #[error("`{0}` cannot be what is kept: {1}")]
    Odd(String, RequestFault),
    /// There are no tags, or too many.
    #[error("between one and {MOST_TAGS} tags can be purged at once")]
    Tags,
}

/// Returns what is to be taken away in its one form: URLs without their scheme, as it makes no
/// difference to what is meant.
pub(crate) fn canonical(what: PurgeWhat) -> Result<PurgeWhat, PurgeError> {
    Ok(match what {
        PurgeWhat::All => PurgeWhat::All,
        PurgeWhat::Url(url) => PurgeWhat::Url(bare(&url)?),
        PurgeWhat::Prefix(prefix) => PurgeWhat::Prefix(bare(&prefix)?),
        PurgeWhat::Tags(tags) if (1..=MOST_TAGS).contains(&tags.len()) => PurgeWhat::Tags(tags),
        PurgeWhat::Tags(_) => return Err(PurgeError::Tags),
    })
}

fn bare(text: &str) -> Result<String, PurgeError> {
    let none = || PurgeError::NoUrl(text.to_owned());
    let odd = |fault| PurgeError::Odd(text.to_owned(), fault);
    let uri: Uri = text.parse().map_err(|_| none())?;
    let (path, _) = RequestPath::of(&uri).map_err(odd)?;
    let path = path.whole().map_err(|_| none())?;
    if text.starts_with('/') {
        return Ok(path.to_string());
    }
    let usual = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) | None => return Err(none()),
    };
    let (parts, ()) = Request::get(uri).body(()).map_err(|_| none())?.into_parts();
    let host = canonical::host(&parts).map_err(odd)?;
    let port = host.port.filter(|port| *port != usual);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}{port}{path}", host.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_a_request_would_be() {
        for (text, meant) in [
            ("/a/%62//c?x=%61", Some("/a/b/c?x=%61")),
            ("https://A.example:443/%61", Some("a.example/a")),
            ("http://a.example:8080", Some("a.example:8080/")),
            ("https://a.example/?", Some("a.example/?")),
            ("a.example/x", None),
            ("ftp://a.example/x", None),
            ("", None),
            ("/a b", None),
            ("/%zz", None),
        ] {
            let found = canonical(PurgeWhat::Url(text.to_owned())).ok();
            assert_eq!(found, meant.map(|meant| PurgeWhat::Url(meant.to_owned())), "{text}");
        }
        assert!(canonical(PurgeWhat::Tags(vec![])).is_err());
    }
}
