//! Entity tags (RFC 9110 §8.8.3), and the lists of them that requests carry.

/// Tells whether a list of tags is `*` or holds one that fits.
pub(crate) fn holds(list: &str, fits: impl Fn(&str) -> bool) -> bool {
    list.trim() == "*" || listed(list).any(fits)
}

/// Returns the tags of a list as they stand there, with quotes. A tag may hold commas, and no character of
/// it is escaped.
pub(crate) fn listed(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let tags = list.split(move |c: char| {
        if c == '"' {
            quoted = !quoted;
        }
        c == ',' && !quoted
    });
    tags.map(str::trim).filter(|tag| !tag.is_empty())
}

/// Returns a tag without its mark of weakness.
pub(crate) fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tag_may_hold_commas_and_backslashes() {
        let tags: Vec<_> = listed(r#" "a,b" ,, W/"c\", "d", bare,"open, and on"#).collect();
        assert_eq!(tags, [r#""a,b""#, r#"W/"c\""#, r#""d""#, "bare", r#""open, and on"#]);
        assert!(holds(" * ", |_| false) && !holds("\"*\"", |tag| tag == "*"));
    }

    proptest! {
        #[test]
        fn tags_are_read_as_they_were_listed(
            tags in prop::collection::vec(r#"(W/)?"[!#-~]{0,8}""#, 0..6),
            comma in prop::sample::select(vec![",", ", ", " ,\t", ",,"]),
        ) {
            let list = tags.join(comma);
            prop_assert_eq!(listed(&list).collect::<Vec<_>>(), tags.iter().collect::<Vec<_>>());
            for tag in &tags {
                prop_assert!(holds(&list, |listed| opaque(listed) == opaque(tag)));
            }
        }
    }
}
