//! Paths as engines compare them.

/// Returns a path of a site with its escapes undone. The model lets only whole escapes of UTF-8 in
/// whose reading is one; any other stays as it is, and matches nothing.
pub(crate) fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, escaped(tail)) {
            (b'%', Some((value, tail))) => {
                bytes.push(value);
                rest = tail;
            }
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

fn escaped(tail: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, tail) = tail.split_at_checked(2)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = u8::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)?;
    Some((value, tail))
}

/// Tells why a path of a site can never match in the one form that requests have, where it cannot.
pub(crate) fn never_matches(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let traps = ["%2f", "%5c", "%00", "%25"];
    traps.iter().any(|trap| lower.contains(trap)) || decoded(path).contains('\u{fffd}')
}

/// Tells whether every percent sign begins an escape.
pub(crate) fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| escaped(rest.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_once() {
        for (path, read) in [
            ("/a%20b", "/a b"),
            ("/%C3%A4", "/ä"),
            ("/%2541", "/%41"),
            ("/%", "/%"),
            ("/%+1", "/%+1"),
        ] {
            assert_eq!(decoded(path), read);
        }
    }
}
