//! The merged files of a folder, with an entry in the report for every value.

use camino::Utf8Path;

use crate::{
    report::{Id, Ledger},
    value::{Kind, Value},
};

/// A value with the entries of all that is in it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) id: Id,
    pub(super) kind: Form,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Text(String),
    List(Vec<Table>),
    Map(Vec<(String, Table)>),
}

impl Table {
    /// Enters a value and all that is in it.
    pub(super) fn enter(value: &Value, name: &str, file: &Utf8Path, ledger: &mut Ledger) -> Self {
        let words = match &value.kind {
            Kind::Text(text) => vec![format!("{name}:"), text.clone()],
            Kind::List(_) | Kind::Map(_) => vec![format!("{name}:")],
        };
        let id = ledger.enter(file.as_str(), value.line, &words);
        let kind = match &value.kind {
            Kind::Text(text) => Form::Text(text.clone()),
            Kind::List(items) => Form::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        Self::enter(item, &format!("{name}[{index}]"), file, ledger)
                    })
                    .collect(),
            ),
            Kind::Map(entries) => Form::Map(
                entries
                    .iter()
                    .map(|(key, item)| {
                        let inner =
                            if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                        (key.clone(), Self::enter(item, &inner, file, ledger))
                    })
                    .collect(),
            ),
        };
        Self { id, kind }
    }

    /// Returns a field; names have no case.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, table)| table)
    }

    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.kind {
            Form::Map(entries) => entries,
            Form::Text(_) | Form::List(_) => &[],
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Form::List(items) => items,
            Form::Text(_) | Form::Map(_) => &[],
        }
    }

    pub(super) fn text(&self) -> &str {
        match &self.kind {
            Form::Text(text) => text,
            Form::List(_) | Form::Map(_) => "",
        }
    }

    /// Returns the texts of a list, or the one text.
    pub(super) fn texts(&self) -> Vec<&str> {
        match &self.kind {
            Form::Text(text) => vec![text],
            Form::List(items) => items.iter().map(Self::text).collect(),
            Form::Map(_) => Vec::new(),
        }
    }

    /// Calls `judge` with this entry and all that are in it.
    pub(super) fn each(&self, judge: &mut dyn FnMut(Id)) {
        judge(self.id);
        for inner in self.items().iter().chain(self.entries().iter().map(|(_, table)| table)) {
            inner.each(judge);
        }
    }

    /// Says that all of it is converted.
    pub(super) fn converted(&self, ledger: &mut Ledger) {
        self.each(&mut |id| ledger.converted(id));
    }

    /// Says why it is not converted.
    pub(super) fn lost(&self, why: &str, ledger: &mut Ledger) {
        self.each(&mut |id| ledger.not_converted(id, why));
    }

    /// Says how it differs.
    pub(super) fn nearly(&self, why: &str, ledger: &mut Ledger) {
        self.each(&mut |id| ledger.approximated(id, why));
    }

    /// Says that nobody is let in because of it.
    pub(super) fn closes(&self, why: &str, ledger: &mut Ledger) {
        self.each(&mut |id| ledger.closes(id, format!("{why}; nobody is let in")));
    }
}
