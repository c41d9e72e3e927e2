//! What must hold of a request beside its path, each as a variable that is 1 or 0.

use portway_model::{FieldPath, site::Match};

use super::{
    names::Draft,
    value::{header, in_regex},
};

/// Makes the variables of a route's conditions; all of them must be 1.
pub(super) fn of(draft: &mut Draft<'_>, index: usize, matches: &Match) -> Vec<String> {
    let at = FieldPath::root().key("routes").index(index);
    let mut variables = Vec::new();
    if !matches.methods.is_empty() {
        let methods: Vec<String> = matches.methods.iter().map(|name| in_regex(name)).collect();
        let pattern = format!("\\A(?:{})\\z", methods.join("|"));
        let name = format!("r{index}_m");
        variables.push(holds(draft, &name, "$request_method", pattern, &at.key("methods")));
    }
    for (place, (name, value)) in matches.headers.iter().enumerate() {
        // Refused before where nginx has no variable for it.
        let source = header(name).unwrap_or_default();
        let pattern = format!("\\A{}\\z", in_regex(value));
        let suffix = format!("r{index}_h{place}");
        variables.push(holds(draft, &suffix, &source, pattern, &at.key("match_headers").key(name)));
    }
    for (place, (name, value)) in matches.query.iter().enumerate() {
        let suffix = format!("r{index}_q{place}");
        let at = at.key("match_query").key(name);
        variables.push(holds(draft, &suffix, "$args", parameter(name, value), &at));
    }
    variables
}

/// Makes a variable that is 1 where a value matches, and 0 otherwise.
pub(super) fn holds(
    draft: &mut Draft<'_>,
    suffix: &str,
    source: &str,
    pattern: String,
    at: &FieldPath,
) -> String {
    draft.map(suffix, source, [(pattern, "1".to_owned())], "0", at)
}

/// Returns the number of conditions, by which routes with the same path are ordered.
pub(super) fn count(matches: &Match) -> usize {
    usize::from(!matches.methods.is_empty()) + matches.headers.len() + matches.query.len()
}

/// Returns the expression of a parameter of a query, in every way in which a form may encode it.
fn parameter(name: &str, value: &str) -> String {
    let name: String = name.bytes().map(|byte| encoded(byte, byte == b'=')).collect();
    let tail = if value.is_empty() {
        "=?".to_owned()
    } else {
        value.bytes().fold("=".to_owned(), |tail, byte| tail + &encoded(byte, false))
    };
    format!("(?:\\A|&){name}{tail}(?:&|\\z)")
}

fn encoded(byte: u8, is_separator: bool) -> String {
    let (high, low) = (byte >> 4, byte & 15);
    let digit = |digit: u8| match digit {
        0..=9 => char::from(b'0' + digit).to_string(),
        _ => format!("[{}{}]", char::from(b'a' + digit - 10), char::from(b'A' + digit - 10)),
    };
    let escape = format!("%{}{}", digit(high), digit(low));
    match byte {
        b' ' => format!("(?:\\+|{escape})"),
        b'+' | b'&' => escape,
        // A broken escape stands for itself.
        b'%' => format!("(?:{escape}|%(?![0-9A-Fa-f]{{2}}))"),
        _ if is_separator => escape,
        _ => format!("(?:\\x{byte:02x}|{escape})"),
    }
}

/// Returns the expression of decimal numbers that are greater than `limit`.
pub(super) fn greater_than(limit: u64) -> String {
    let digits = limit.to_string();
    let mut alternatives = vec![format!("[1-9][0-9]{{{},}}", digits.len())];
    for (place, digit) in digits.bytes().enumerate() {
        if digit == b'9' {
            continue;
        }
        let same = digits.get(..place).unwrap_or_default();
        let next = char::from(digit + 1);
        let rest = digits.len() - place - 1;
        alternatives.push(format!("{same}[{next}-9][0-9]{{{rest}}}"));
    }
    format!("\\A0*(?:{})\\z", alternatives.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_their_digits() {
        let pattern = greater_than(1209);
        let pattern = pattern.replace("\\A", "^").replace("\\z", "$");
        let regex = regex_lite(&pattern);
        for (number, greater) in [
            ("1209", false),
            ("1208", false),
            ("999", false),
            ("0", false),
            ("1210", true),
            ("1300", true),
            ("2000", true),
            ("10000", true),
            ("0001210", true),
            ("0001209", false),
        ] {
            assert_eq!(regex.is_match(number), greater, "{number}");
        }
        assert!(regex_lite(&greater_than(0).replace("\\A", "^").replace("\\z", "$")).is_match("1"));
    }

    #[test]
    fn a_parameter_is_known_however_it_is_encoded() {
        let regex = regex_lite(
            &parameter("a b", "c&d")
                .replace("\\A", "^")
                .replace("\\z", "$")
                .replace("(?![0-9A-Fa-f]{2})", ""),
        );
        for (query, holds) in [
            ("a+b=c%26d", true),
            ("x=1&%61%20b=c%26%64&y", true),
            ("a+b=c&d", false),
            ("a+b=c%26de", false),
            ("xa+b=c%26d", false),
        ] {
            assert_eq!(regex.is_match(query), holds, "{query}");
        }
    }

    fn regex_lite(pattern: &str) -> regex::Regex {
        regex::Regex::new(pattern).unwrap()
    }
}
