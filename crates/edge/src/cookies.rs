//! The cookies of a request (RFC 6265 §5.4).

use http::{HeaderMap, header};

/// Returns the values of a cookie in a `Cookie` header, which may have several.
pub(crate) fn values_of<'a>(header: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    header.split(|byte| *byte == b';').filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value))
    })
}

/// Returns the cookies of a request by their names, quotes and all.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter();
    // What is no text is somebody's own, under a name that no rule has.
    let texts = lines.map(|line| line.to_str().unwrap_or("?"));
    texts.flat_map(|text| text.split(';')).map(str::trim).filter(|pair| !pair.is_empty()).map(
        |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.trim(), value.trim())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_read_as_browsers_write_them() {
        let read = |header: &str| {
            values_of(header.as_bytes(), b"a").map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(read("a=1;a=2 ; aa=3;b=a=4; a=\"5\"; a"), [b"1", b"2", b"5"]);
    }
}
