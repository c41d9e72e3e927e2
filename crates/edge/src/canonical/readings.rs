//! How other programs may read a path that has an odd spelling. Where a site allows one, the path is
//! passed on with it; an application that decodes it must not get where a rule of another route would
//! have kept the client out. So every reading must lead to the same route.

use super::{
    RequestFault, Spellings,
    path::{refuse_dot_parameters, remove_dot_segments},
};

/// The most times that programs are expected to undo escapes.
const MOST_ROUNDS: usize = 3;

/// A way to read a path.
#[derive(Clone, Copy)]
struct Program {
    /// How often escapes are undone.
    rounds: usize,
    /// Whether an escaped slash separates segments.
    slash: bool,
    /// Whether a backslash does.
    backslash: bool,
    /// Whether NUL ends the path.
    nul: bool,
}

/// Returns how programs may read a canonical path, each as [`super::decode`] would give it to routes;
/// refuses what means too many things.
pub(crate) fn readings(path: &str, spellings: Spellings) -> Result<Vec<String>, RequestFault> {
    let most = if spellings.are_encoded_twice() { MOST_ROUNDS } else { 1 };
    if still_escaped(path, most) {
        return Err(RequestFault::ManyEncodings);
    }
    let mut all: Vec<String> = Vec::new();
    for rounds in 1..=most {
        for mask in 0..8_u8 {
            let (slash, backslash, nul) = (mask & 1 != 0, mask & 2 != 0, mask & 4 != 0);
            let reading = Program { rounds, slash, backslash, nul }.read(path);
            refuse_dot_parameters(&reading)?;
            if !all.contains(&reading) {
                all.push(reading);
            }
        }
    }
    Ok(all)
}

impl Program {
    fn read(self, path: &str) -> String {
        let mut bytes = path.as_bytes().to_vec();
        for round in 1..=self.rounds {
            bytes = self.undo(&bytes, round == self.rounds);
        }
        remove_dot_segments(&String::from_utf8_lossy(&bytes))
    }

    /// Undoes escapes once. What means nothing to the program keeps its escape, as it does for
    /// routes: a name with an escaped slash in it is no folder.
    fn undo(self, bytes: &[u8], is_last: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            let Some(byte) = Some(first).filter(|first| **first == b'%').and(escaped(after)) else {
                out.push(*first);
                rest = after;
                continue;
            };
            rest = after.get(2..).unwrap_or_default();
            match byte {
                0 if self.nul => break,
                b'/' if self.slash => out.push(b'/'),
                b'\\' if self.backslash => out.push(b'/'),
                b'%' if is_last && escaped(rest).is_some() => out.extend_from_slice(b"%25"),
                b'/' => out.extend_from_slice(b"%2F"),
                b'\\' => out.extend_from_slice(b"%5C"),
                0 => out.extend_from_slice(b"%00"),
                byte => out.push(byte),
            }
        }
        out
    }
}

/// Tells whether something is left to undo after so many times.
fn still_escaped(path: &str, rounds: usize) -> bool {
    let undo = |bytes: Vec<u8>, _| {
        Program { rounds, slash: true, backslash: true, nul: false }.undo(&bytes, false)
    };
    let undone = (0..rounds).fold(path.as_bytes().to_vec(), undo);
    let text = String::from_utf8_lossy(&undone);
    text.split('%').skip(1).any(|rest| escaped(rest.as_bytes()).is_some_and(|byte| byte != 0))
}

/// Returns the byte that an escape stands for; `after` follows its percent sign.
fn escaped(after: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (high, low) = (after.first().and_then(digit)?, after.get(1).and_then(digit)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{decode, path::spelled, path::tests::pathlike},
        *,
    };

    /// The folder that a rule closes.
    const CLOSED: &str = "/a/b";

    #[test]
    fn a_path_is_read_as_programs_would() {
        for (raw, found) in [
            ("/x/a%2Fb", "/x/a/b"),
            ("/x/..%2Fa", "/a"),
            ("/x%5C..%5Ca", "/a"),
            ("/a%00.png", "/a"),
            ("/x/%252e%252e%252Fa", "/a"),
            ("/x/%25252e%25252e/a", "/a"),
        ] {
            let (path, spellings) = spelled(raw).unwrap();
            let readings = readings(&path, spellings).unwrap();
            assert!(readings.iter().any(|reading| reading == found), "{raw}: {readings:?}");
            assert!(readings.contains(&decode(&path).unwrap().into_owned()), "{raw}: {readings:?}");
        }
    }

    #[test]
    fn what_no_program_is_known_to_undo_is_refused() {
        let (path, spellings) = spelled("/%2525252525252e/x").unwrap();
        assert_eq!(readings(&path, spellings), Err(RequestFault::ManyEncodings));
        let (path, spellings) = spelled("/..%253bx/y").unwrap();
        assert_eq!(readings(&path, spellings), Err(RequestFault::DotParameters));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_spelling_leads_past_a_rule(raw in odd_pathlike()) {
            let Ok((path, spellings)) = spelled(&raw) else { return Ok(()) };
            let routed = is_closed(&decode(&path).unwrap());
            let Ok(readings) = readings(&path, spellings) else { return Ok(()) };
            if readings.iter().any(|reading| is_closed(reading) != routed) {
                return Ok(());
            }
            // Let in, so whatever the application makes of it must be on the same side of the rule.
            for program in naive_programs() {
                let read = program(&path);
                prop_assert_eq!(is_closed(&read), routed, "{} is read as {}", path, read);
            }
        }
    }

    fn is_closed(path: &str) -> bool {
        path == CLOSED || path.starts_with("/a/b/")
    }

    type Naive = Box<dyn Fn(&str) -> String>;

    /// What applications do: undo escapes some times, take a backslash for a slash or not, stop at
    /// NUL or not, keep an encoded slash or not; then walk the segments.
    fn naive_programs() -> Vec<Naive> {
        let mut all: Vec<Naive> = Vec::new();
        for rounds in 1..=MOST_ROUNDS {
            for mask in 0..8_u8 {
                all.push(Box::new(move |path| naive(path, rounds, mask)));
            }
        }
        all
    }

    fn naive(path: &str, rounds: usize, mask: u8) -> String {
        let mut bytes = path.as_bytes().to_vec();
        for _ in 0..rounds {
            bytes = undo(&bytes, mask & 4 != 0);
        }
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if mask & 1 != 0 {
            text = text.replace('\\', "/");
        }
        if mask & 2 != 0 {
            text.truncate(text.find('\0').unwrap_or(text.len()));
        }
        let mut stack = Vec::new();
        for segment in text.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(stack.pop()),
                segment => stack.push(segment),
            }
        }
        format!("/{}", stack.join("/"))
    }

    fn undo(bytes: &[u8], keeps_slash: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let digits =
                bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
            let digits =
                digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            match byte.filter(|byte| bytes[at] == b'%' && !(keeps_slash && *byte == b'/')) {
                Some(byte) => {
                    out.push(byte);
                    at += 3;
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        out
    }

    fn odd_pathlike() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            3 => Just("/".to_owned()),
            3 => Just("a".to_owned()),
            3 => Just("b".to_owned()),
            2 => Just("..".to_owned()),
            1 => Just("\\".to_owned()),
            2 => Just("%2f".to_owned()),
            1 => Just("%5C".to_owned()),
            1 => Just("%00".to_owned()),
            1 => Just("%2e".to_owned()),
            2 => Just("%252F".to_owned()),
            1 => Just("%255c".to_owned()),
            1 => Just("%2500".to_owned()),
            1 => Just("%252e".to_owned()),
            1 => Just("%25252f".to_owned()),
            1 => Just("%25".to_owned()),
            1 => Just("61".to_owned()),
        ];
        let pieces = proptest::collection::vec(piece, 0..14);
        prop_oneof![pieces.prop_map(|pieces| format!("/{}", pieces.concat())), pathlike()]
    }
}
