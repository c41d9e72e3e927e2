//! Splits: the side of a request is chosen together with its route.

use portway_model::{
    FieldPath,
    site::{SideRule, Split, Wanted},
};

use super::{
    names::Draft,
    routes::named,
    syntax::{Directive, line},
    value::{cookie, header, in_regex},
};

/// Returns the location that carries out a side.
pub(super) fn side(route: usize, side: usize) -> String {
    format!("{}_side_{side}", named(route))
}

/// Makes the variable that names the location of a request's side, and returns it.
pub(super) fn goal(draft: &mut Draft<'_>, index: usize, split: &Split) -> String {
    let at = FieldPath::root().key("routes").index(index).key("split");
    let mut goal = by_weight(draft, index, split, &at);
    let rules = split.sides.iter().enumerate().flat_map(|(place, side)| {
        side.rules.iter().enumerate().map(move |(number, rule)| (place, number, rule))
    });
    // The last rule is looked at last, so it is made first.
    let rules: Vec<(usize, usize, &SideRule)> = rules.collect();
    for (place, number, rule) in rules.into_iter().rev() {
        let (source, wanted) = match rule {
            SideRule::Header(wanted) => (header(&wanted.name), wanted),
            SideRule::Cookie(wanted) => (cookie(&wanted.name), wanted),
        };
        // Refused before where nginx has no variable for it.
        let source = source.unwrap_or_default();
        let suffix = format!("r{index}_s{place}_{number}");
        let at = at.key("sides").index(place).key("by").index(number);
        goal = draft.map(&suffix, &source, [(pattern(wanted), side(index, place))], &goal, &at);
    }
    goal
}

fn pattern(wanted: &Wanted) -> String {
    match &wanted.value {
        Some(value) => format!("\\A{}\\z", in_regex(value)),
        None => ".".to_owned(),
    }
}

/// Hundredths of percents are what nginx divides by.
fn by_weight(draft: &mut Draft<'_>, index: usize, split: &Split, at: &FieldPath) -> String {
    let total: u64 = split.sides.iter().map(|side| u64::from(side.weight)).sum();
    let mut shares: Vec<(usize, u64)> = split
        .sides
        .iter()
        .enumerate()
        .filter(|(_, side)| side.weight > 0)
        .map(|(place, side)| (place, u64::from(side.weight) * 10_000 / total.max(1)))
        .collect();
    let Some((last, _)) = shares.pop() else { return super::routes::NONE.to_owned() };
    let mut block: Vec<Directive> = shares
        .into_iter()
        .filter(|(_, share)| *share > 0)
        .map(|(place, share)| {
            line!(format!("{}.{:02}%", share / 100, share % 100), side(index, place))
        })
        .collect();
    block.push(line!("*", side(index, last)));
    let variable = format!("${}", draft.name(&format!("r{index}_side")));
    let clients = line!("split_clients", "$request_id", variable);
    draft.beside.push(clients.with(block).from_field(at));
    variable
}
