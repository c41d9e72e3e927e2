//! What became of every directive. None is left out: whoever reads a file enters all that stands in
//! it, and each entry is judged; one that nobody judged says so.

use portway_model::Name;
use serde::Serialize;

/// What became of a directive, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The sites do the same.
    Converted,
    /// The sites do nearly the same; the note says how it differs.
    Approximated,
    /// The sites do not do it; the note says why.
    NotConverted,
}

/// A directive and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The directive, without what may be secret in it.
    pub text: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How it differs, or why it is not converted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Whether sites or routes let nobody in because of it.
    #[serde(skip_serializing_if = "is_false")]
    pub closes: bool,
    /// The sites that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<Name>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Outcome {
    /// Returns it for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Converted => "converted",
            Self::Approximated => "approximated",
            Self::NotConverted => "not converted",
        }
    }
}

/// How much a report tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every directive.
    All,
    /// Those that are not simply converted.
    Changed,
}

/// Writes entries for people: one line each, and its notes below it.
pub fn text(entries: &[Entry], detail: Detail) -> String {
    let mut text = String::new();
    for entry in entries {
        if detail == Detail::Changed && entry.outcome == Outcome::Converted {
            continue;
        }
        let closes = if entry.closes { " (closes)" } else { "" };
        let Entry { file, line, text: words, outcome, .. } = entry;
        let sites: Vec<&str> = entry.sites.iter().map(Name::as_str).collect();
        let sites =
            if sites.is_empty() { String::new() } else { format!(" [{}]", sites.join(", ")) };
        let head = format!("{file}:{line}: {}{closes}: {words}{sites}", outcome.as_str());
        for line in
            std::iter::once(head).chain(entry.notes.iter().map(|note| format!("    {note}")))
        {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// Names an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(usize);

/// The report under construction.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    entry: Entry,
    is_judged: bool,
}

/// As long as a line of a terminal; the place says where to read the rest.
const LONGEST_TEXT: usize = 100;

impl Ledger {
    /// Enters a directive.
    pub(crate) fn enter(&mut self, file: &str, line: usize, words: &[String]) -> Id {
        let entry = Entry {
            file: file.to_owned(),
            line,
            text: shown(words),
            outcome: Outcome::Converted,
            notes: Vec::new(),
            closes: false,
            sites: Vec::new(),
        };
        self.entries.push(Record { entry, is_judged: false });
        Id(self.entries.len() - 1)
    }

    /// Says that the sites do the same, as far as this use of the directive goes.
    pub(crate) fn converted(&mut self, id: Id) {
        self.judge(id, Outcome::Converted, None);
    }

    /// Says that the sites do the same in another way.
    pub(crate) fn converted_by(&mut self, id: Id, note: impl Into<String>) {
        self.judge(id, Outcome::Converted, Some(note.into()));
    }

    /// Says how the sites differ.
    pub(crate) fn approximated(&mut self, id: Id, note: impl Into<String>) {
        self.judge(id, Outcome::Approximated, Some(note.into()));
    }

    /// Says why the sites do not do it.
    pub(crate) fn not_converted(&mut self, id: Id, note: impl Into<String>) {
        self.judge(id, Outcome::NotConverted, Some(note.into()));
    }

    /// Says that nobody is let in because of it.
    pub(crate) fn closes(&mut self, id: Id, note: impl Into<String>) {
        self.judge(id, Outcome::NotConverted, Some(note.into()));
        if let Some(record) = self.entries.get_mut(id.0) {
            record.entry.closes = true;
        }
    }

    /// Says which site a directive is about.
    pub(crate) fn about(&mut self, id: Id, site: &Name) {
        if let Some(record) = self.entries.get_mut(id.0)
            && !record.entry.sites.contains(site)
        {
            record.entry.sites.push(site.clone());
        }
    }

    /// Tells whether a directive was judged.
    pub(crate) fn is_judged(&self, id: Id) -> bool {
        self.entries.get(id.0).is_some_and(|record| record.is_judged)
    }

    /// A directive that is used in several places gets the worst of what becomes of it.
    fn judge(&mut self, id: Id, outcome: Outcome, note: Option<String>) {
        let Some(record) = self.entries.get_mut(id.0) else { return };
        let entry = &mut record.entry;
        if record.is_judged && outcome < entry.outcome {
            return;
        }
        if !record.is_judged || outcome > entry.outcome {
            entry.notes.clear();
        }
        record.is_judged = true;
        entry.outcome = outcome;
        entry.notes.extend(note.filter(|note| !entry.notes.contains(note)));
    }

    /// Returns the entries as they stand in the files.
    pub(crate) fn finish(self) -> Vec<Entry> {
        let entries = self.entries.into_iter().map(|Record { mut entry, is_judged }| {
            if !is_judged {
                entry.outcome = Outcome::NotConverted;
                entry.notes = vec!["nothing that is served makes use of it".to_owned()];
            }
            entry
        });
        entries.collect()
    }
}

/// Returns a directive as it is shown, without what may be secret: a header or an option whose name
/// says so, hashes of passwords, and credentials in an address.
fn shown(words: &[String]) -> String {
    let mut shown: Vec<String> = Vec::with_capacity(words.len());
    let mut is_secret = false;
    for word in words {
        shown.push(match word.as_str() {
            "" => "\"\"".to_owned(),
            _ if is_secret => "…".to_owned(),
            word => visible(word),
        });
        is_secret |= names_a_secret(word);
    }
    let text = shown.join(" ");
    if text.chars().count() <= LONGEST_TEXT {
        return text;
    }
    text.chars().take(LONGEST_TEXT - 1).chain(['…']).collect()
}

fn names_a_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    !word.starts_with('$')
        && word != "server_tokens"
        && !word.contains('/')
        && ["authorization", "cookie", "password", "secret", "token", "api-key", "apikey"]
            .iter()
            .any(|name| word.contains(name))
}

fn visible(word: &str) -> String {
    let is_hash = word.starts_with("$2") && word.len() > 20;
    let has_hash =
        ["$2a$", "$2b$", "$2y$", "$apr1$", "{SHA}"].iter().any(|mark| word.contains(mark));
    if is_hash || has_hash {
        return "…".to_owned();
    }
    let word = match word.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
        Some((scheme, Some((_, rest)))) => format!("{scheme}://…@{rest}"),
        Some((_, None)) | None => word.to_owned(),
    };
    word.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        for text in [
            "proxy_set_header Authorization Basic hunter2",
            "proxy_set_header X-Api-Key hunter2",
            "ada $2y$10$hunter2hunter2hunter2hunter2hunter2",
            "proxy_pass http://user:hunter2@app",
        ] {
            assert!(!shown(&words(text)).contains("hunter2"), "{text}");
        }
        assert_eq!(shown(&words("auth_basic_user_file /etc/nginx/.htpasswd")).len(), 41);
    }

    #[test]
    fn the_worst_of_several_uses_counts() {
        let mut ledger = Ledger::default();
        let id = ledger.enter("a", 1, &words("a b"));
        let lost = ledger.enter("a", 2, &words("c"));
        ledger.approximated(id, "nearly");
        ledger.not_converted(id, "not there");
        ledger.converted(id);
        ledger.not_converted(id, "not there");
        let entries = ledger.finish();
        assert_eq!(
            (entries[0].outcome, entries[0].notes.as_slice()),
            (Outcome::NotConverted, &["not there".to_owned()][..])
        );
        assert_eq!(entries[lost.0].outcome, Outcome::NotConverted);
    }
}
