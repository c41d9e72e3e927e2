//! What patterns look like. That Go agrees is proven by the real engines.

use proptest::prelude::*;
use regex::Regex;

use super::*;

#[test]
fn a_pattern_holds_nothing_that_a_user_could_end_a_text_with() {
    for text in ["a`b", "{{x}}", "\"", "'", "\\", "$", "\n", "#", " ", "ä", "<<E"] {
        let pattern = GoPattern::whole(text);
        let inner = pattern.as_str().trim_start_matches('^').trim_end_matches('$');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "\\{}/-_.".contains(c);
        assert!(inner.chars().all(is_plain), "{pattern}");
        assert!(!inner.contains("{{"), "{pattern}");
    }
}

#[test]
fn a_prefix_is_one_of_whole_segments() {
    let below = Regex::new(GoPattern::below("/a.b").as_str()).unwrap();
    for (path, is_below) in [("/a.b", true), ("/a.b/", true), ("/a.b/c", true), ("/axb", false)] {
        assert_eq!(below.is_match(path), is_below, "{path}");
    }
    assert!(!below.is_match("/a.bc"));
    assert!(!below.is_match("/x/a.b"));
}

#[test]
fn a_query_is_found_in_every_encoding() {
    let found = |name: &str, value: &str, query: &str| {
        Regex::new(GoPattern::query(name, value).as_str()).unwrap().is_match(query)
    };
    for query in ["a+b=%C3%BC", "x=1&a%20b=%c3%bc", "%61+b=%c3%Bc&y"] {
        assert!(found("a b", "ü", query), "{query}");
    }
    assert!(!found("a b", "ü", "a+b=u"));
    assert!(found("k", "", "k") && found("k", "", "k=") && !found("k", "", "k=1"));
    assert!(found("k", "a=b", "k=a=b") && found("k", "a=b", "k=a%3db"));
    assert!(!found("k", "v", "xk=v") && !found("k", "v", "k=vx"));
}

#[test]
fn names_that_begin_with_a_dot_are_found_but_one() {
    let hidden = Regex::new(GoPattern::hidden_but(".well-known").as_str()).unwrap();
    for path in [
        "/.git",
        "/a/.htaccess",
        "/.",
        "/.w",
        "/.well",
        "/.well-known2",
        "/.wellx/a",
        "/.a/.well-known",
    ] {
        assert!(hidden.is_match(path), "{path}");
    }
    for path in ["/", "/a.b", "/.well-known", "/.well-known/x", "/a/.well-known/x.y"] {
        assert!(!hidden.is_match(path), "{path}");
    }
}

#[test]
fn what_go_does_not_know_is_refused_by_name() {
    for (pattern, why) in [
        ("\\bx", Untranslatable::Word),
        ("(?Rm)^x$", Untranslatable::Line),
        ("[a&&b]", Untranslatable::Never),
        ("(?:a{100}){100}", Untranslatable::Repetitions),
    ] {
        assert_eq!(GoPattern::like(pattern), Err(why), "{pattern}");
    }
    assert!(matches!(GoPattern::like("("), Err(Untranslatable::Invalid(_))));
}

/// What is written is also an expression of the `regex` crate, with the same meaning.
#[test]
fn what_is_translated_matches_the_same() {
    let texts = ["/v1/x", "/v٣/", "/V1", "/a b", "/x.html", "/ß", "/A\u{17f}"];
    for pattern in
        ["^/v[0-9]+/", "\\d", "(?i)/v1", "\\s", "\\.(html|css)$", "[^a-z/]", "(?i)s", "a{0,2}b?"]
    {
        let written = GoPattern::like(pattern).unwrap();
        let (one, other) = (Regex::new(pattern).unwrap(), Regex::new(written.as_str()).unwrap());
        for text in texts {
            assert_eq!(one.is_match(text), other.is_match(text), "{pattern} {written} {text}");
        }
    }
}

proptest! {
    #[test]
    fn a_number_is_above_another_as_numbers_are(most in 0..2000_u64, number in 0..20_000_u64) {
        let above = Regex::new(GoPattern::number_above(most).as_str()).unwrap();
        prop_assert_eq!(above.is_match(&number.to_string()), number > most);
        prop_assert_eq!(above.is_match(&format!("00{number}")), number > most);
    }

    #[test]
    fn a_text_matches_itself_alone(text in "\\PC{0,12}", other in "\\PC{0,12}") {
        let pattern = Regex::new(GoPattern::whole(&text).as_str()).unwrap();
        prop_assert!(pattern.is_match(&text));
        prop_assert_eq!(pattern.is_match(&other), text == other);
    }
}
