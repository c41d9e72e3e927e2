//! Byte ranges (RFC 9110 §14.1).

use std::ops::Range;

use super::conditions::Part;

/// More ranges than any honest client asks for; then the whole file is cheaper.
const MAX_RANGES: usize = 16;

/// Reads a `Range` header. One that cannot be read, asks for too much or in too many pieces is
/// ignored, as the RFC allows.
pub(crate) fn parse(header: &str, length: u64) -> Part {
    let Some(ranges) = satisfiable(header, length) else {
        return Part::Whole;
    };
    let total = ranges.iter().map(|range| range.end - range.start).fold(0, u64::saturating_add);
    match ranges.len() {
        0 => Part::NoSuchRange,
        1 => Part::Ranges(ranges),
        _ if total >= length => Part::Whole,
        _ => Part::Ranges(ranges),
    }
}

fn satisfiable(header: &str, length: u64) -> Option<Vec<Range<u64>>> {
    let (unit, list) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut ranges = Vec::new();
    let mut count = 0;
    for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        count += 1;
        let range = range(item, length)?;
        if !range.is_empty() {
            ranges.push(range);
        }
    }
    (1..=MAX_RANGES).contains(&count).then_some(ranges)
}

/// Reads one range: nothing when it is malformed, an empty one when it lies outside of the file.
fn range(item: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = item.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let (start, end) = match (first, last) {
        ("", "") => return None,
        ("", suffix) => (length.saturating_sub(number(suffix)?), length),
        (first, "") => (number(first)?, length),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            (first, last.saturating_add(1).min(length))
        }
    };
    Some(start..end)
}

/// A number that is too large for us is past the end of every file.
fn number(digits: &str) -> Option<u64> {
    let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    numeric.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_writes_them() {
        let ranges = |ranges: &[(u64, u64)]| {
            Part::Ranges(ranges.iter().map(|(start, end)| *start..*end).collect())
        };
        for (header, part) in [
            ("bytes=0-0", ranges(&[(0, 1)])),
            ("bytes=0-", ranges(&[(0, 100)])),
            ("bytes=90-", ranges(&[(90, 100)])),
            ("bytes=-10", ranges(&[(90, 100)])),
            ("bytes=-1000", ranges(&[(0, 100)])),
            ("bytes=95-200", ranges(&[(95, 100)])),
            ("Bytes= 1-2 , 5-6", ranges(&[(1, 3), (5, 7)])),
            ("bytes=1-2,,5-6,", ranges(&[(1, 3), (5, 7)])),
            ("bytes=500-,0-1", ranges(&[(0, 2)])),
            ("bytes=0-99999999999999999999999", ranges(&[(0, 100)])),
            ("bytes=100-", Part::NoSuchRange),
            ("bytes=-0", Part::NoSuchRange),
            ("bytes=99999999999999999999999-", Part::NoSuchRange),
            ("bytes=2-1", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=1", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes", Part::Whole),
            ("bytes=0-50,40-99", Part::Whole),
            ("bytes=0-,0-", Part::Whole),
        ] {
            assert_eq!(parse(header, 100), part, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Part::NoSuchRange);
    }

    #[test]
    fn too_many_ranges_are_answered_with_the_whole() {
        let header = |count: usize| {
            let list: Vec<_> = (0..count).map(|n| format!("{}-{}", n * 2, n * 2)).collect();
            format!("bytes={}", list.join(","))
        };
        assert!(matches!(parse(&header(16), 100), Part::Ranges(ranges) if ranges.len() == 16));
        assert_eq!(parse(&header(17), 100), Part::Whole);
    }

    proptest! {
        #[test]
        fn no_range_leaves_the_file(header in "bytes=[0-9,\\- ]{0,30}", length in 0u64..200) {
            if let Part::Ranges(ranges) = parse(&header, length) {
                prop_assert!(!ranges.is_empty());
                for range in ranges {
                    prop_assert!(range.start < range.end && range.end <= length);
                }
            }
        }
    }
}
