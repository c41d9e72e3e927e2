//! Sizes and times as nginx writes them.

/// Returns the bytes of `8k`, `1m`, `2g` or a number.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (digits, factor) = match text.to_ascii_lowercase().strip_suffix(['k', 'm', 'g']) {
        Some(digits) => {
            let factor = match text.chars().last()?.to_ascii_lowercase() {
                'k' => 1 << 10,
                'm' => 1 << 20,
                _ => 1 << 30,
            };
            (digits.to_owned(), factor)
        }
        None => (text.to_owned(), 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Returns the seconds of `90`, `90s`, `1h 30m`, `500ms`; a part of a second counts as a whole one.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut millis: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(end);
        let number: u64 = digits.parse().ok()?;
        let units = [
            ("ms", 0),
            ("s", 1),
            ("m", 60),
            ("h", 3600),
            ("d", 86_400),
            ("w", 604_800),
            ("M", 2_592_000),
            ("y", 31_536_000),
        ];
        let found =
            units.iter().find_map(|(unit, factor)| Some((tail.strip_prefix(unit)?, *factor)));
        let (tail, factor) = match found {
            Some(found) => found,
            None if tail.is_empty() => (tail, 1),
            None => return None,
        };
        if factor == 0 {
            millis = millis.checked_add(number)?;
        }
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = tail.trim_start();
    }
    total.checked_add(millis.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_nginx_reads_them() {
        assert_eq!(
            (bytes("1m"), bytes("8K"), bytes("0"), bytes("x")),
            (Some(1 << 20), Some(8192), Some(0), None)
        );
        assert_eq!(
            (seconds("90"), seconds("1h 30m"), seconds("500ms")),
            (Some(90), Some(5400), Some(1))
        );
        assert_eq!((seconds("1x"), seconds(""), seconds("1M")), (None, None, Some(2_592_000)));
    }
}
