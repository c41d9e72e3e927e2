//! The corpus: messages with the outcome that is written beside each, in `corpus/`.
//!
//! Adding a case is adding a few lines to one of its files. A case is a block that ends with an empty
//! line: `case:` is its name, `asked:` the request that a response answers (GET if left out),
//! `expect:` the rule that refuses the message or what is read of it; the message follows.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use http::Method;
use portway_http1::{
    Framing, Kind, Limits,
    request::RequestHead,
    response::{Answer, Asked, ResponseHead},
};

use crate::{
    checks,
    outcome::{Outcome, read_request, read_response},
};

/// One message of the corpus.
pub(crate) struct Case {
    /// Where it stands.
    pub(crate) place: String,
    /// The request that is answered; only for responses.
    pub(crate) asked: Asked,
    /// What is to come of it.
    pub(crate) expect: String,
    /// Its bytes.
    pub(crate) message: Vec<u8>,
}

#[test]
fn every_request_has_its_outcome() {
    let cases = read("requests");
    assert!(cases.len() >= 300, "{} cases", cases.len());
    judge(&cases, |case| {
        let outcome = read_request([&case.message[..]], &Limits::default());
        describe(&outcome, describe_request)
    });
}

#[test]
fn every_response_has_its_outcome() {
    let cases = read("responses");
    assert!(cases.len() >= 100, "{} cases", cases.len());
    judge(&cases, |case| {
        let outcome = read_response([&case.message[..]], &case.asked, &Limits::default());
        describe(&outcome, describe_answer)
    });
}

#[test]
fn every_message_keeps_the_promises() {
    for case in read("requests") {
        checks::request(&case.message);
    }
    for case in read("responses") {
        checks::response(&case.message);
    }
}

/// A rule that no case breaks is a rule that may not hold.
#[test]
fn every_rule_of_a_head_or_body_has_a_case() {
    let cases = read("requests").into_iter().chain(read("responses"));
    let broken: BTreeSet<String> = cases.map(|case| case.expect).collect();
    let without: Vec<&str> = Kind::ALL
        .iter()
        // These come from the caller: a bound of its own, and the end of the connection.
        .filter(|kind| !matches!(kind, Kind::BodyTooLarge | Kind::Truncated))
        .map(|kind| kind.name())
        .filter(|name| !broken.contains(*name))
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

fn judge(cases: &[Case], outcome: impl Fn(&Case) -> String) {
    let mut wrong = String::new();
    for case in cases {
        let found = outcome(case);
        if found != case.expect {
            let (place, expect) = (&case.place, &case.expect);
            writeln!(wrong, "{place}\n  expected {expect}\n  found    {found}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn describe<H>(outcome: &Outcome<H>, head: impl Fn(&H) -> String) -> String {
    if let Some(reject) = outcome.refused {
        return reject.kind.name().to_owned();
    }
    let Some(found) = &outcome.head else { return "incomplete".to_owned() };
    let mut text = String::new();
    for interim in &outcome.interim {
        write!(text, "interim {}, ", interim.status.as_u16()).unwrap();
    }
    text += &head(found);
    if !outcome.data.is_empty() {
        write!(text, " \"{}\"", outcome.data.escape_ascii()).unwrap();
    }
    if let Some(trailers) = &outcome.trailers {
        let plural = if trailers.len() == 1 { "" } else { "s" };
        write!(text, " {} trailer{plural}", trailers.len()).unwrap();
    }
    if !outcome.ended {
        text += " unfinished";
    }
    if !outcome.left.is_empty() {
        write!(text, " + \"{}\"", outcome.left.escape_ascii()).unwrap();
    }
    text
}

fn describe_request(head: &RequestHead) -> String {
    let target = head.target.clone().into_uri();
    let mut text = format!("{} {target} {}", head.method, describe_framing(head.framing));
    for (said, word) in [
        (!head.persistent, " close"),
        (head.expect_continue, " continue"),
        (head.upgrade, " upgrade"),
    ] {
        if said {
            text += word;
        }
    }
    text
}

fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Interim(head) => format!("interim {}", head.status.as_u16()),
        Answer::Tunnel(head) => format!("tunnel {}", head.status.as_u16()),
        Answer::Final(head) => describe_final(head),
    }
}

fn describe_final(head: &ResponseHead) -> String {
    let mut text = format!("{} {}", head.status.as_u16(), describe_framing(head.framing));
    if let (Framing::None, Some(length)) = (head.framing, head.content_length) {
        write!(text, " says {length}").unwrap();
    }
    if !head.persistent {
        text += " close";
    }
    text
}

fn describe_framing(framing: Framing) -> String {
    match framing {
        Framing::None => "none".to_owned(),
        Framing::Length(length) => format!("length {length}"),
        Framing::Chunked => "chunked".to_owned(),
        Framing::UntilClose => "until-close".to_owned(),
    }
}

/// Reads all cases in the files of a folder of the corpus.
pub(crate) fn read(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy();
        let mut rule = "";
        for block in text.split("\n\n").map(str::trim) {
            if let Some(found) = block.strip_prefix("rule: ") {
                rule = found;
            } else if block.starts_with("case: ") {
                cases.push(parse_case(&format!("{file}: {rule}"), block));
            }
        }
    }
    cases
}

fn parse_case(rule: &str, block: &str) -> Case {
    let mut case = Case {
        place: String::new(),
        asked: Asked::plain(Method::GET),
        expect: String::new(),
        message: Vec::new(),
    };
    let mut message = String::new();
    for line in block.lines() {
        if let Some(name) = line.strip_prefix("case: ") {
            case.place = format!("{rule}: {name}");
        } else if let Some(expect) = line.strip_prefix("expect: ") {
            expect.clone_into(&mut case.expect);
        } else if let Some(asked) = line.strip_prefix("asked: ") {
            let (method, upgrade) = match asked.strip_suffix(" upgrade") {
                Some(method) => (method, true),
                None => (asked, false),
            };
            case.asked = Asked { method: method.parse().unwrap(), upgrade };
        } else {
            message += line;
        }
    }
    unescape(&message, &mut case.message);
    case
}

fn unescape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        rest = unescape_one(escaped, out);
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Writes what an escape stands for, given what follows its backslash, and returns what follows it.
fn unescape_one<'a>(text: &'a str, out: &mut Vec<u8>) -> &'a str {
    for (letter, byte) in [("r", b'\r'), ("n", b'\n'), ("t", b'\t'), ("0", 0), ("\\", b'\\')] {
        if let Some(rest) = text.strip_prefix(letter) {
            out.push(byte);
            return rest;
        }
    }
    if let Some(rest) = text.strip_prefix('x') {
        let (digits, rest) = rest.split_at(2);
        out.push(u8::from_str_radix(digits, 16).unwrap());
        return rest;
    }
    let repeated = text.strip_prefix('{').and_then(|text| text.split_once('}'));
    let Some((repeated, rest)) = repeated else { panic!("no such escape: \\{text}") };
    let (count, text) = repeated.split_once(':').unwrap();
    for _ in 0..count.parse().unwrap() {
        unescape(text, out);
    }
    rest
}
