//! Lists of wishes with quality values, as `Accept` and `Accept-Encoding` carry them (RFC 9110
//! §12.4.2).

/// Returns the items of a list with their qualities in thousandths. Parameters other than `q` are
/// dropped; an item whose quality cannot be read is no wish.
pub(crate) fn parse(list: &str) -> impl Iterator<Item = (&str, u16)> {
    list.split(',').filter_map(|item| {
        let mut parts = item.split(';');
        let value = parts.next()?.trim();
        if value.is_empty() {
            return None;
        }
        let mut quality = Some(1000);
        for parameter in parts {
            let Some((name, text)) = parameter.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("q") {
                quality = thousandths(text.trim());
            }
        }
        Some((value, quality?))
    })
}

/// Reads `0`, `1`, and up to three decimals of either.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !digits {
        return None;
    }
    let value: u16 = format!("{whole}{decimals:0<3}").parse().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualities_are_read_as_the_rfc_writes_them() {
        let list = "gzip, br;q=0.8 , zstd ; Q=0.123;x=y, identity;q=0, a;q=1.000, ,b;q=1.";
        let found: Vec<_> = parse(list).collect();
        let expected =
            [("gzip", 1000), ("br", 800), ("zstd", 123), ("identity", 0), ("a", 1000), ("b", 1000)];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_unreadable_quality_is_no_wish() {
        assert_eq!(parse("a;q=2, b;q=0.1234, c;q=-1, d;q=, e;q=1.1, f;q=0.+1").count(), 0);
    }
}
