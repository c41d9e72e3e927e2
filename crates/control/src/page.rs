//! Pages of lists, between the API and the store.

use portway_store::{Page, PageRequest};
use portway_wire::PageQuery;

use crate::ControlError;

/// How many elements a page has when nothing is said.
const DEFAULT: u32 = 50;
/// The most elements of a page of the API.
const MAX: u32 = 500;

/// Reads which page is wanted.
pub(crate) fn request(
    limit: Option<u32>,
    cursor: Option<&str>,
) -> Result<PageRequest, ControlError> {
    let limit = limit.unwrap_or(DEFAULT);
    if !(1..=MAX).contains(&limit) {
        return Err(ControlError::BadRequest(format!("`limit` is 1 to {MAX}, not {limit}")));
    }
    let request = PageRequest::first(limit);
    match cursor {
        None => Ok(request),
        Some(text) => {
            let cursor = text
                .parse()
                .map_err(|_| ControlError::BadRequest(format!("`{text}` is no cursor")))?;
            Ok(request.after(cursor))
        }
    }
}

/// Reads which page is wanted.
pub(crate) fn of(query: &PageQuery) -> Result<PageRequest, ControlError> {
    request(query.limit, query.cursor.as_deref())
}

/// Turns a page of rows into one of what the API shows.
pub(crate) fn map<T, U>(page: Page<T>, map: impl FnMut(T) -> U) -> portway_wire::Page<U> {
    portway_wire::Page {
        items: page.items.into_iter().map(map).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    }
}
