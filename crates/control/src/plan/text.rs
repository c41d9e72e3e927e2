//! What is put on a node, as it can be shown: texts with names that stay the same when their content
//! changes, and without secrets. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portway_engine::{Extension, Object, Secrecy};
use portway_policy::Digest;
use portway_wire::plan::{FileDiff, HiddenFile};

use crate::{deploy::TO_COME, diff::unified};

/// What a thing's own part of the entry is called.
const ENTRY: &str = "entry";
/// So many digits of a digest tell it apart from others.
const DIGITS: usize = 12;

/// What something comes to on a node, as it can be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Texts by name, in the order in which they name each other.
    files: Vec<(String, String)>,
    /// The names of what is not shown.
    hidden: BTreeSet<String>,
}

impl Shown {
    /// Returns what an entry and its objects come to. Of `secrets`, none is left in any text.
    pub(super) fn of(entry: &str, objects: &[Arc<Object>], secrets: &[String]) -> Self {
        let entry = laid_out(entry);
        let mut names = Names::of(objects);
        names.follow(&entry);
        let mut shown = Self { files: Vec::new(), hidden: names.hidden() };
        shown.files.push((ENTRY.to_owned(), readable(&entry, &names, secrets)));
        for (name, text) in names.texts() {
            shown.files.push((name, readable(&text, &names, secrets)));
        }
        shown
    }

    /// Returns what differs from what was before: texts, and what is not shown.
    pub(super) fn since(before: &Self, after: &Self) -> (Vec<FileDiff>, Vec<HiddenFile>) {
        let text = |of: &Self, name: &str| {
            of.files.iter().find(|(file, _)| file == name).map(|(_, text)| text.clone())
        };
        let gone = before.files.iter().filter(|(name, _)| text(after, name).is_none());
        let files = after.files.iter().chain(gone).filter_map(|(name, _)| {
            let (old, new) = (text(before, name), text(after, name));
            let is_same = old == new;
            let diff = unified(&old.unwrap_or_default(), &new.unwrap_or_default());
            (!is_same && !diff.is_empty()).then(|| FileDiff { file: name.clone(), diff })
        });
        let comes = after.hidden.difference(&before.hidden).map(|file| (file, true));
        let goes = before.hidden.difference(&after.hidden).map(|file| (file, false));
        let hidden =
            comes.chain(goes).map(|(file, comes)| HiddenFile { file: file.clone(), comes });
        (files.collect(), hidden.collect())
    }
}

/// Returns the first digits of a digest.
pub(super) fn short(digest: Digest) -> String {
    digest.to_string().chars().take(DIGITS).collect()
}

/// What objects are called here: by their turn where they are shown, by their digest where not.
struct Names<'a> {
    objects: BTreeMap<String, &'a Arc<Object>>,
    shown: Vec<String>,
    called: BTreeMap<String, String>,
}

impl<'a> Names<'a> {
    fn of(objects: &'a [Arc<Object>]) -> Self {
        let objects: BTreeMap<_, _> =
            objects.iter().map(|object| (object.file_name(), object)).collect();
        Self { objects, shown: Vec::new(), called: BTreeMap::new() }
    }

    /// Calls everything by its name that a text names, and what that names in turn.
    fn follow(&mut self, entry: &str) {
        self.call_those_in(entry);
        let mut next = 0;
        while let Some(file) = self.shown.get(next).cloned() {
            next += 1;
            if let Some(text) = self.objects.get(&file).and_then(|object| text_of(object)) {
                self.call_those_in(&text);
            }
        }
        // What no text names is there all the same.
        let rest: Vec<String> = self.objects.keys().cloned().collect();
        for file in rest {
            self.call(&file);
        }
    }

    fn call_those_in(&mut self, text: &str) {
        let mut found: Vec<(usize, String)> = self
            .objects
            .keys()
            .filter_map(|file| text.find(file.as_str()).map(|at| (at, file.clone())))
            .collect();
        found.sort();
        for (_, file) in found {
            self.call(&file);
        }
    }

    fn call(&mut self, file: &str) {
        let Some(object) = self.objects.get(file).filter(|_| !self.called.contains_key(file))
        else {
            return;
        };
        let name = if text_of(object).is_some() {
            self.shown.push(file.to_owned());
            format!("{}.{}", self.shown.len(), object.extension())
        } else if is_to_come(object) {
            format!("new.{}", object.extension())
        } else {
            format!("{}.{}", short(object.digest()), object.extension())
        };
        self.called.insert(file.to_owned(), name);
    }

    fn texts(&self) -> impl Iterator<Item = (String, String)> {
        self.shown.iter().filter_map(|file| {
            let text = text_of(self.objects.get(file)?)?;
            Some((self.called.get(file)?.clone(), text))
        })
    }

    fn hidden(&self) -> BTreeSet<String> {
        let of =
            |(file, name): (&String, &String)| (!self.shown.contains(file)).then(|| name.clone());
        self.called.iter().filter_map(of).collect()
    }
}

/// Returns the text of an object that everyone on the node may read and that people can.
fn text_of(object: &Arc<Object>) -> Option<String> {
    let is_text = match object.extension() {
        Extension::Conf | Extension::Caddy | Extension::Yml | Extension::Html => true,
        Extension::Crt | Extension::Key | Extension::Htpasswd | Extension::Bin => false,
    };
    let is_open = match object.secrecy() {
        Secrecy::Open => true,
        Secrecy::Workers | Secrecy::Owner => false,
    };
    if !is_text || !is_open {
        return None;
    }
    String::from_utf8(object.bytes().to_vec()).ok()
}

fn is_to_come(object: &Arc<Object>) -> bool {
    object.bytes().windows(TO_COME.len()).any(|part| part == TO_COME.as_bytes())
}

/// Gives files their names and takes secrets out: the digest of each stands in its place.
fn readable(text: &str, names: &Names<'_>, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), &called(secret));
        }
    }
    for (file, name) in &names.called {
        text = text.replace(file.as_str(), name);
    }
    text
}

fn called(secret: &str) -> String {
    if secret.starts_with(TO_COME) {
        return "(a new secret)".to_owned();
    }
    format!("(the secret {})", short(Digest::of(secret.as_bytes())))
}

/// What an engine takes as one line of JSON is shown with a line for each value.
fn laid_out(entry: &str) -> String {
    if !entry.starts_with('{') {
        return entry.to_owned();
    }
    let read = serde_json::from_str::<serde_json::Value>(entry);
    let written = read.and_then(|value| serde_json::to_string_pretty(&value));
    written.map_or_else(|_| entry.to_owned(), |text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "$2b$10$abcdefghijklmnopqrstuv";

    fn object(extension: Extension, secrecy: Secrecy, text: &str) -> Arc<Object> {
        Arc::new(Object::new(extension, secrecy, text.as_bytes().to_vec()))
    }

    fn site(body: &str, users: &str) -> Shown {
        let users = object(Extension::Htpasswd, Secrecy::Workers, users);
        let inner =
            object(Extension::Conf, Secrecy::Open, &format!("{body} {}\n", users.file_name()));
        let entry = format!("include /o/{};\n", inner.file_name());
        Shown::of(&entry, &[users, inner], &[SECRET.to_owned()])
    }

    #[test]
    fn a_changed_text_is_a_diff_of_that_text_alone() {
        let (before, after) = (site("one", "ann:x"), site("two", "ann:x"));

        let (files, hidden) = Shown::since(&before, &after);

        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].file, "1.conf");
        assert!(files[0].diff.contains("-one ") && files[0].diff.contains("+two "), "{files:?}");
        assert_eq!(hidden, []);
        assert_eq!(Shown::since(&before, &before), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_holds_secrets_is_named_by_its_digest_and_never_shown() {
        let (before, after) = (site("one", "ann:hidden"), site("one", "ann:other"));

        let (files, hidden) = Shown::since(&before, &after);

        let name = |text: &str| format!("{}.htpasswd", short(Digest::of(text.as_bytes())));
        let file = |text: &str, comes| HiddenFile { file: name(text), comes };
        assert_eq!(hidden, [file("ann:other", true), file("ann:hidden", false)]);
        let told = format!("{files:?}{hidden:?}");
        assert!(!told.contains("ann:"), "{told}");
    }

    #[test]
    fn a_secret_in_the_midst_of_a_text_is_taken_out() {
        let shown = Shown::of(&format!("basic_auth ann {SECRET}\n"), &[], &[SECRET.to_owned()]);
        let told = format!("{shown:?}");
        assert!(!told.contains(SECRET) && told.contains("(the secret "), "{told}");
        let new = format!("{TO_COME} password-1");
        let shown = Shown::of(&format!("basic_auth ann \"{new}\"\n"), &[], &[new]);
        assert!(format!("{shown:?}").contains("(a new secret)"), "{shown:?}");
    }

    #[test]
    fn what_is_made_when_it_is_applied_says_so() {
        let users = object(Extension::Htpasswd, Secrecy::Workers, &format!("ann:{TO_COME} x"));
        let shown = Shown::of("", &[users], &[]);
        assert_eq!(shown.hidden, BTreeSet::from(["new.htpasswd".to_owned()]));
    }

    #[test]
    fn json_is_shown_line_by_line() {
        let shown = Shown::of(r#"{"a":{"b":1}}"#, &[], &[]);
        assert_eq!(shown.files[0].1, "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n");
    }
}
