//! Paths as nginx compares them: decoded, like the edge does.

/// Returns a path of a route with its escapes decoded; nothing where it has a spelling that requests
/// are refused for, so that it could never match.
pub(super) fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let value = u8::from_str_radix(digits, 16).ok()?;
        let is_odd = matches!(value, b'/' | b'\\' | 0..=0x1f | 0x7f)
            || digits.starts_with('+')
            || (value == b'%'
                && tail.get(..2).is_some_and(|t| t.iter().all(u8::is_ascii_hexdigit)));
        if is_odd {
            return None;
        }
        bytes.push(value);
        rest = tail;
    }
    let text = String::from_utf8(bytes).ok()?;
    let has_dots = text.split('/').any(|part| {
        let bare = part.split(';').next().unwrap_or_default();
        bare == "." || bare == ".."
    });
    (!has_dots).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once() {
        assert_eq!(decoded("/a%20b/%C3%A4").as_deref(), Some("/a b/ä"));
        for path in ["/a%2Fb", "/%5c", "/%00", "/%252F", "/%", "/%+1", "/%ff", "/%2e%2e", "/..;a"] {
            assert_eq!(decoded(path), None, "{path}");
        }
    }
}
