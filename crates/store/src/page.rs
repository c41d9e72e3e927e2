//! Lists by the page: a limit, and a cursor that names the last thing seen, so that a page costs the
//! same however far down it lies and rows that come and go shift nothing.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;

/// The most things on a page.
pub const MAX_LIMIT: u32 = 1000;

/// Which page of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    limit: u32,
    after: Option<Cursor>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins; nothing on the last one.
    pub next: Option<Cursor>,
}

/// A place in a list. Opaque to its holder, who may keep it and send it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl PageRequest {
    /// Asks for the first page with at most `limit` things; 1 to [`MAX_LIMIT`], what lies outside is
    /// brought to the nearer end.
    pub fn first(limit: u32) -> Self {
        Self { limit: limit.clamp(1, MAX_LIMIT), after: None }
    }

    /// Asks for the page that begins at `cursor`.
    #[must_use]
    pub fn after(self, cursor: Cursor) -> Self {
        Self { after: Some(cursor), ..self }
    }

    /// Asks for the page after `page` with the same limit, where there is one.
    pub fn next<T>(&self, page: &Page<T>) -> Option<Self> {
        page.next.clone().map(|cursor| self.clone().after(cursor))
    }

    /// Returns how many rows to read: one more than wanted, which tells whether more follow.
    pub(crate) fn rows(&self) -> u64 {
        u64::from(self.limit) + 1
    }

    /// Returns the key after which the page begins, for the list called `list`.
    pub(crate) fn key<K: DeserializeOwned>(&self, list: &str) -> Result<Option<K>, StoreError> {
        self.after.as_ref().map(|cursor| cursor.key(list)).transpose()
    }

    /// Makes a page of the rows that were read.
    pub(crate) fn page<T, K: Serialize>(
        &self,
        list: &str,
        mut rows: Vec<T>,
        key: impl FnOnce(&T) -> K,
    ) -> Result<Page<T>, StoreError> {
        let limit = self.limit as usize;
        let is_last = rows.len() <= limit;
        rows.truncate(limit);
        let next = match rows.last() {
            Some(end) if !is_last => Some(Cursor::new(list, &key(end))?),
            Some(_) | None => None,
        };
        Ok(Page { items: rows, next })
    }
}

impl<T> Page<T> {
    /// Returns the page with each thing replaced; the first that cannot be is the error.
    pub(crate) fn try_map<U>(
        self,
        map: impl FnMut(T) -> Result<U, StoreError>,
    ) -> Result<Page<U>, StoreError> {
        let items = self.items.into_iter().map(map).collect::<Result<_, _>>()?;
        Ok(Page { items, next: self.next })
    }
}

impl Cursor {
    /// The name of the list stands in the cursor, so that one of another list is refused.
    fn new(list: &str, key: &impl Serialize) -> Result<Self, StoreError> {
        let bytes =
            serde_json::to_vec(&(list, key)).map_err(StoreError::defect("make a cursor"))?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn key<K: DeserializeOwned>(&self, list: &str) -> Result<K, StoreError> {
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| StoreError::BadCursor)?;
        let (of, key): (String, K) =
            serde_json::from_slice(&bytes).map_err(|_| StoreError::BadCursor)?;
        if of == list { Ok(key) } else { Err(StoreError::BadCursor) }
    }
}

impl FromStr for Cursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let is_cursor = URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| !bytes.is_empty());
        if is_cursor { Ok(Self(text.to_owned())) } else { Err(StoreError::BadCursor) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_next_only_when_a_row_follows() {
        let request = PageRequest::first(2);

        let full = request.page("numbers", vec![1, 2, 3], |n| *n).unwrap();
        let last = request.page("numbers", vec![1, 2], |n| *n).unwrap();

        assert_eq!(full.items, [1, 2]);
        let next = request.next(&full).unwrap();
        assert_eq!(next.key::<i32>("numbers").unwrap(), Some(2));
        assert_eq!(last.next, None);
    }

    #[test]
    fn a_cursor_survives_being_written_and_is_refused_elsewhere() {
        let cursor = Cursor::new("sites", &"shop").unwrap();

        let read: Cursor = cursor.to_string().parse().unwrap();

        assert_eq!(read, cursor);
        assert!(matches!(read.key::<String>("audit"), Err(StoreError::BadCursor)));
        assert!(matches!(read.key::<i64>("sites"), Err(StoreError::BadCursor)));
        assert!("not a cursor!".parse::<Cursor>().is_err());
    }
}
