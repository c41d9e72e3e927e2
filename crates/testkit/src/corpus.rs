//! The corpus that the codec of HTTP/1.1 is held against (`crates/http1/corpus`), as bytes to be sent
//! to a server or by an upstream. Its form is told in `crates/http1/tests/codec/corpus.rs`.

use std::{fs, path::Path};

use anyhow::Context as _;

/// A message of the corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it answers, if it is an answer; a GET unless the corpus says otherwise.
    pub asked: Asked,
    /// Its name.
    pub name: String,
    /// What the codec makes of it: the name of a fault, or what was read.
    pub expect: String,
    /// Its bytes.
    pub message: Vec<u8>,
}

/// What an answer was asked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// A GET.
    #[default]
    Get,
    /// A GET that offers another protocol.
    Upgrade,
    /// A HEAD.
    Head,
    /// A CONNECT.
    Connect,
}

impl Case {
    /// Tells whether it is to be refused: the name of a fault is one word, and what was read is
    /// several.
    pub fn is_malformed(&self) -> bool {
        self.expect != "incomplete" && !self.expect.contains(' ')
    }
}

/// Reads all requests of the corpus, in the order of its files.
pub fn requests() -> anyhow::Result<Vec<Case>> {
    read("requests")
}

/// Reads all answers of the corpus, in the order of its files.
pub fn responses() -> anyhow::Result<Vec<Case>> {
    read("responses")
}

fn read(kind: &str) -> anyhow::Result<Vec<Case>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../http1/corpus").join(kind);
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        for block in text.split("\n\n").map(str::trim).filter(|block| block.starts_with("case: ")) {
            let case = parse(block).with_context(|| format!("{}: {block}", file.display()))?;
            cases.push(case);
        }
    }
    Ok(cases)
}

fn parse(block: &str) -> anyhow::Result<Case> {
    let mut lines = block.lines().peekable();
    let mut field = |name| lines.next_if(|line| line.starts_with(name))?.strip_prefix(name);
    let name = field("case: ").context("a case has a name")?.to_owned();
    let asked = field("asked: ").map_or(Ok(Asked::default()), asked)?;
    let expect = field("expect: ").context("a case has an outcome")?.to_owned();
    let mut message = Vec::new();
    unescape(&lines.collect::<String>(), &mut message)?;
    Ok(Case { asked, name, expect, message })
}

fn asked(text: &str) -> anyhow::Result<Asked> {
    match text {
        "GET upgrade" => Ok(Asked::Upgrade),
        "HEAD" => Ok(Asked::Head),
        "CONNECT" => Ok(Asked::Connect),
        other => anyhow::bail!("`{other}` is not asked by anyone"),
    }
}

fn unescape(text: &str, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        out.extend_from_slice(plain.as_bytes());
        rest = unescape_one(escaped, out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(())
}

/// Writes what an escape stands for, given what follows its backslash, and returns what follows it.
fn unescape_one<'a>(text: &'a str, out: &mut Vec<u8>) -> anyhow::Result<&'a str> {
    for (letter, byte) in [("r", b'\r'), ("n", b'\n'), ("t", b'\t'), ("0", 0), ("\\", b'\\')] {
        if let Some(rest) = text.strip_prefix(letter) {
            out.push(byte);
            return Ok(rest);
        }
    }
    if let Some((digits, rest)) = text.strip_prefix('x').and_then(|text| text.split_at_checked(2)) {
        out.push(u8::from_str_radix(digits, 16)?);
        return Ok(rest);
    }
    let repeated = text.strip_prefix('{').and_then(|text| text.split_once('}'));
    let (repeated, rest) = repeated.context("no such escape")?;
    let (count, text) = repeated.split_once(':').context("how often?")?;
    for _ in 0..count.parse()? {
        unescape(text, out)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_read_and_its_escapes_are_bytes() {
        let cases = requests().unwrap();
        assert!(cases.len() >= 300, "{} cases", cases.len());
        let malformed = cases.iter().filter(|case| case.is_malformed()).count();
        assert!((100..cases.len()).contains(&malformed), "{malformed} malformed");
        let case = parse("case: a\nexpect: Nul\nG\\x45T\\0\\{2:\\t-}\\\\\n\\r\\n").unwrap();
        assert_eq!(case.message, b"GET\0\t-\t-\\\r\n");
        assert_eq!(case.asked, Asked::Get);
    }

    #[test]
    fn answers_say_what_they_were_asked_by() {
        let cases = responses().unwrap();
        assert!(cases.len() >= 100, "{} cases", cases.len());
        for (asked, least) in [(Asked::Upgrade, 5), (Asked::Head, 5), (Asked::Connect, 4)] {
            let count = cases.iter().filter(|case| case.asked == asked).count();
            assert!(count >= least, "{count} of {asked:?}");
        }
        assert!(parse("case: a\nasked: BREW\nexpect: Nul\nx").is_err());
    }
}
