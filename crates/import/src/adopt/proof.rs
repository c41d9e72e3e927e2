//! Whether a file that is written for a changed site says all that was done by hand.

use std::collections::BTreeSet;

use super::{
    Found, Obstacle, edit,
    tree::{self, Difference, Item},
};

pub(super) fn proven(
    file: &Found<'_>,
    written: &portway_engine::Object,
) -> Result<(), Vec<Obstacle>> {
    let (deployed, found) = tree::both(file).map_err(|obstacle| vec![obstacle])?;
    let written = tree::written(written).map_err(|obstacle| vec![obstacle])?;
    let by_hand = tree::differences(&deployed, &found);
    let obstacles: Vec<Obstacle> = tree::differences(&found, &written)
        .iter()
        .filter(|difference| loses(difference, &by_hand))
        .map(|difference| Obstacle {
            file: 0,
            line: difference.before.map_or_else(|| difference.line(), |item| item.line),
            text: difference
                .before
                .or(difference.after)
                .map_or_else(String::new, |item| item.text.clone()),
            why: lost(difference),
        })
        .collect();
    if obstacles.is_empty() { Ok(()) } else { Err(obstacles) }
}

/// Tells whether what was done by hand is lost by a difference between what was found and what is
/// written.
fn loses(difference: &Difference<'_>, by_hand: &[Difference<'_>]) -> bool {
    match (difference.before, difference.after) {
        (Some(found), Some(written)) if says(found, written, difference) => false,
        (Some(found), _) => {
            let mut lines = BTreeSet::new();
            found.each(&mut |item: &Item| {
                lines.insert(item.line);
            });
            by_hand.iter().filter_map(|hand| hand.after).any(|item| lines.contains(&item.line))
        }
        // What was taken away by hand comes back.
        (None, Some(written)) => by_hand.iter().any(|hand| {
            hand.after.is_none() && hand.before.is_some_and(|gone| gone.says_the_same(written))
        }),
        (None, None) => false,
    }
}

/// Tells whether what is written says all that was found, and no less: Portway writes some words of a
/// target that people leave away.
fn says(found: &Item, written: &Item, difference: &Difference<'_>) -> bool {
    let is_target = found.name() == "server" && edit::is_in_upstream(difference);
    is_target && found.words.iter().all(|word| written.words.contains(word))
}

fn lost(difference: &Difference<'_>) -> String {
    match difference.after {
        Some(written) if difference.before.is_some() => {
            format!("the site would say it as `{}`, which is not the same", written.text)
        }
        Some(_) => "it was taken away there, and the site needs it".to_owned(),
        None => "the changed site would not say it".to_owned(),
    }
}
