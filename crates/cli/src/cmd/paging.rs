//! Reading lists page by page.

use portway_wire::{Page, client::ClientError};

/// The most elements that one page may have.
const LARGEST_PAGE: usize = 500;

/// Reads pages until there are no more, or `limit` elements are there. `ask` is given the cursor
/// and how many elements are wanted.
pub(super) async fn all<T, F>(
    limit: Option<usize>,
    mut ask: impl FnMut(Option<String>, u32) -> F,
) -> Result<Vec<T>, ClientError>
where
    F: Future<Output = Result<Page<T>, ClientError>>,
{
    let mut items = Vec::new();
    let mut cursor = None;
    loop {
        let wanted = limit.map_or(LARGEST_PAGE, |limit| limit.saturating_sub(items.len()));
        if wanted == 0 {
            return Ok(items);
        }
        let count = u32::try_from(wanted.min(LARGEST_PAGE)).unwrap_or(u32::MAX);
        let page = ask(cursor.take(), count).await?;
        let was_empty = page.items.is_empty();
        items.extend(page.items);
        // A page with a cursor and nothing in it would be asked for without end.
        let Some(next) = page.next.filter(|_| !was_empty) else { break };
        cursor = Some(next);
    }
    if let Some(limit) = limit {
        items.truncate(limit);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A server with numbers below `count`, whose cursors are the next number.
    async fn read(count: u32, limit: Option<usize>) -> (Vec<u32>, usize) {
        let calls = RefCell::new(0);
        let items = all(limit, |cursor, wanted| {
            *calls.borrow_mut() += 1;
            let from: u32 = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let to = (from + wanted).min(count);
            let next = (to < count).then(|| to.to_string());
            async move { Ok(Page { items: (from..to).collect(), next }) }
        })
        .await
        .unwrap();
        (items, calls.into_inner())
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_end_or_to_the_limit() {
        assert_eq!(read(1200, None).await, ((0..1200).collect(), 3));
        assert_eq!(read(1200, Some(600)).await, ((0..600).collect(), 2));
        assert_eq!(read(10, Some(3)).await, (vec![0, 1, 2], 1));
        assert_eq!(read(0, None).await, (vec![], 1));
        assert_eq!(read(10, Some(0)).await, (vec![], 0));
    }
}
