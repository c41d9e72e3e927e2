//! How values stand in columns: times as microseconds UTC, ids as UUIDs, structures as JSON text,
//! words as `snake_case` text.

use jiff::Timestamp;
use portway_model::{Id, RevisionNumber, User};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use crate::{StoreError, error::Cause};

/// How many rows one statement writes, and how many values one `IN` list holds. `SQLite` binds at
/// most 32,766 values, PostgreSQL 65,535.
pub(crate) const CHUNK: usize = 500;

/// Takes rows apart into pieces of at most [`CHUNK`], without copying them.
pub(crate) fn chunked<T>(rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let piece: Vec<T> = rows.by_ref().take(CHUNK).collect();
        (!piece.is_empty()).then_some(piece)
    })
}

/// The longest text that somebody without rights can have stored or looked up, in characters.
const FOREIGN_TEXT: usize = 256;
/// The most bytes that are kept of why something failed: of a command with its paths and of what it said.
pub(crate) const REASON: usize = 4 << 10;

pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(crate) fn optional_micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(micros)
}

pub(crate) fn uuid<T>(id: Option<Id<T>>) -> Option<Uuid> {
    id.map(Id::uuid)
}

pub(crate) fn user(id: Option<Uuid>) -> Option<Id<User>> {
    id.map(Id::from_uuid)
}

pub(crate) fn number(revision: Option<RevisionNumber>) -> Option<i64> {
    revision.map(|revision| revision.0)
}

pub(crate) fn json(doing: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::defect(doing))
}

/// Writes a value that serialises as one word.
pub(crate) fn word(doing: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    let value = serde_json::to_value(value).map_err(StoreError::defect(doing))?;
    let word = value.as_str().map(str::to_owned);
    word.ok_or_else(|| StoreError::defect(doing)(format!("`{value}` is not one word")))
}

/// Brings text of strangers (a name at login, a browser's name) to what both databases can hold and
/// index: no NUL, which PostgreSQL refuses, and not too long.
pub(crate) fn foreign(text: &str) -> String {
    text.chars().take(FOREIGN_TEXT).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect()
}

/// Brings what a program said, and people read, to what both databases can hold, in at most about `most`
/// bytes: its beginning, which says what was done, and its end, which mostly says why it failed.
pub(crate) fn said(text: &str, most: usize) -> String {
    let text = text.replace('\0', "\u{fffd}");
    if text.len() <= most {
        return text;
    }
    let head = text.floor_char_boundary(most / 2);
    let tail = text.ceil_char_boundary(text.len() - most / 2);
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    format!("{head}\n… {} bytes are left out …\n{tail}", text.len() - head.len() - tail.len())
}

/// Reads the columns of one table; what cannot be read is damage, named by table and column.
pub(crate) struct Columns {
    doing: &'static str,
    table: &'static str,
}

impl Columns {
    pub(crate) const fn of(table: &'static str, doing: &'static str) -> Self {
        Self { doing, table }
    }

    pub(crate) fn time(&self, column: &str, micros: i64) -> Result<Timestamp, StoreError> {
        self.read(column, Timestamp::from_microsecond(micros))
    }

    pub(crate) fn optional_time(
        &self,
        column: &str,
        micros: Option<i64>,
    ) -> Result<Option<Timestamp>, StoreError> {
        micros.map(|micros| self.time(column, micros)).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        column: &str,
        text: &str,
    ) -> Result<T, StoreError> {
        self.read(column, serde_json::from_str(text))
    }

    pub(crate) fn word<T: DeserializeOwned>(
        &self,
        column: &str,
        text: String,
    ) -> Result<T, StoreError> {
        self.read(column, serde_json::from_value(Value::String(text)))
    }

    pub(crate) fn read<T, E: Into<Cause>>(
        &self,
        column: &str,
        value: Result<T, E>,
    ) -> Result<T, StoreError> {
        value.map_err(|error| {
            StoreError::corrupt(self.doing, &format!("{}.{column}", self.table))(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use portway_model::Stage;

    use super::*;

    #[test]
    fn words_are_read_back() {
        let columns = Columns::of("deployments", "read");

        let text = word("write", &Stage::RollingBack).unwrap();

        assert_eq!(text, "rolling_back");
        assert_eq!(columns.word::<Stage>("stage", text).unwrap(), Stage::RollingBack);
    }

    #[test]
    fn damage_is_named_by_table_and_column() {
        let error = Columns::of("sites", "list sites").json::<Value>("spec", "{").unwrap_err();

        assert_eq!(error.to_string(), "cannot list sites: the database is damaged (sites.spec)");
    }

    #[test]
    fn rows_are_taken_apart_whole_and_in_order() {
        let rows: Vec<usize> = (0..=2 * CHUNK).collect();

        let pieces: Vec<Vec<usize>> = chunked(rows.clone()).collect();

        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [CHUNK, CHUNK, 1]);
        assert_eq!(pieces.concat(), rows);
        assert_eq!(chunked(Vec::<usize>::new()).count(), 0);
    }

    #[test]
    fn foreign_text_is_cut_and_free_of_nul() {
        assert_eq!(foreign("a\0b"), "a\u{fffd}b");
        assert_eq!(foreign(&"ä".repeat(1000)).chars().count(), FOREIGN_TEXT);
    }

    #[test]
    fn a_long_text_keeps_its_ends() {
        let long = format!("begin{}end", "ä".repeat(20_000));
        let kept = said(&long, 8000);
        assert!(kept.len() < 8100, "{}", kept.len());
        assert!(kept.starts_with("begin") && kept.ends_with("end") && kept.contains("left out"));
        assert_eq!(said("a\0b", 8000), "a\u{fffd}b");
    }
}
