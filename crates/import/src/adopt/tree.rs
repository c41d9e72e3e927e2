//! Two files of nginx, compared as nginx understands them: without comments, with sizes and times in
//! one spelling, and in no order where the order means nothing.

use portway_engine::{
    Object,
    nginx::{Directive, parse},
};
use portway_model::FieldPath;
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{Found, Obstacle};
use crate::nginx::units;

/// A directive.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its words, in one spelling.
    pub(super) words: Vec<String>,
    /// Its words as they are written.
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) block: Option<Vec<Item>>,
    /// What it was made from, where Portway wrote it.
    pub(super) field: Option<FieldPath>,
    /// All that it says, with what stands in its braces.
    said: String,
}

/// What differs between two files.
#[derive(Clone, Debug)]
pub(super) struct Difference<'a> {
    /// As it was; nothing where it is new.
    pub(super) before: Option<&'a Item>,
    /// As it is; nothing where it is gone.
    pub(super) after: Option<&'a Item>,
    /// The blocks that it stands in, the outermost first: as they were and as they are.
    pub(super) within: Vec<(&'a Item, &'a Item)>,
    /// What stands beside it, as it was and as it is.
    pub(super) beside: (&'a [Item], &'a [Item]),
}

impl Item {
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub(super) fn arg(&self, index: usize) -> &str {
        self.words.get(index + 1).map_or("", String::as_str)
    }

    pub(super) fn args(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Tells whether both say the same, with all that stands in them.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.said == other.said
    }

    /// Calls `seen` with the directive and each one within it.
    pub(super) fn each<'a>(&'a self, seen: &mut impl FnMut(&'a Self)) {
        seen(self);
        for inner in self.block.iter().flatten() {
            inner.each(seen);
        }
    }
}

impl Difference<'_> {
    /// Returns the line of the file as it was found.
    pub(super) fn line(&self) -> usize {
        let around = || self.within.last().map(|(_, after)| after.line);
        self.after.map(|item| item.line).or_else(around).unwrap_or(1)
    }

    pub(super) fn text(&self) -> String {
        match (self.before, self.after) {
            (_, Some(after)) => after.text.clone(),
            (Some(before), None) => format!("{} (gone)", before.text),
            (None, None) => String::new(),
        }
    }

    /// Returns the name of what differs.
    pub(super) fn name(&self) -> &str {
        self.after.or(self.before).map_or("", Item::name)
    }
}

/// Reads a file as it was deployed and as it was found.
pub(super) fn both(file: &Found<'_>) -> Result<(Vec<Item>, Vec<Item>), Obstacle> {
    Ok((written(file.deployed)?, read(file.text, None)?))
}

/// Reads a file as Portway writes it.
pub(super) fn written(object: &Object) -> Result<Vec<Item>, Obstacle> {
    read(&String::from_utf8_lossy(object.bytes()), Some(object))
}

fn read(text: &str, object: Option<&Object>) -> Result<Vec<Item>, Obstacle> {
    let directives = parse(text).map_err(|error| Obstacle {
        file: 0,
        line: error.line,
        text: text.lines().nth(error.line.saturating_sub(1)).unwrap_or_default().trim().to_owned(),
        why: format!("nginx itself could not read it: {}", error.problem),
    })?;
    Ok(items(directives, object, ""))
}

fn items(directives: Vec<Directive>, object: Option<&Object>, within: &str) -> Vec<Item> {
    let mut items: Vec<Item> =
        directives.into_iter().flat_map(|directive| split(directive, object)).collect();
    // Entries of tables are tried in their order.
    if !matches!(within, "map" | "geo" | "split_clients") {
        items.sort_by_cached_key(|item| {
            // Headers are no sequence; of one name the first stays the first.
            let is_header = item.name().ends_with("_header");
            (group(item.name()).to_owned(), is_header.then(|| item.arg(0).to_owned()))
        });
    }
    items
}

/// Names that stand in one line are one directive each.
fn split(directive: Directive, object: Option<&Object>) -> Vec<Item> {
    if directive.name() != "server_name" || directive.words.len() < 3 {
        return vec![item(directive, object)];
    }
    let one = |name: &String| {
        let words = [directive.name().to_owned(), name.clone()];
        item(Directive { words: words.into(), ..directive.clone() }, object)
    };
    directive.args().iter().map(one).collect()
}

fn item(directive: Directive, object: Option<&Object>) -> Item {
    let field = object.and_then(|object| object.field(directive.line)).cloned();
    let text = directive.words.join(" ");
    let words = in_one_spelling(directive.words);
    let name = words.first().cloned().unwrap_or_default();
    let block = directive.block.map(|inner| items(inner, object, &name));
    let inner: Vec<&str> = block.iter().flatten().map(|inner| inner.said.as_str()).collect();
    let is_block = if block.is_some() { "{" } else { ";" };
    let said = format!("{}\u{1d}{is_block}{}\u{1d}", words.join("\u{1f}"), inner.join("\u{1e}"));
    Item { words, text, line: directive.line, block, field, said }
}

/// Directives of one group are carried out in their order; between groups nginx knows none.
fn group(name: &str) -> &str {
    match name {
        "if" | "set" | "rewrite" | "return" | "break" => "rewrite",
        "allow" | "deny" => "access",
        name => name,
    }
}

fn in_one_spelling(mut words: Vec<String>) -> Vec<String> {
    let name = words.first().cloned().unwrap_or_default();
    let Some(first) = words.get_mut(1) else { return words };
    if name.ends_with("_timeout") {
        if let Some(seconds) = units::seconds(first) {
            *first = format!("{seconds}s");
        }
    } else if name.ends_with("_size") {
        if let Some(bytes) = units::bytes(first) {
            *first = bytes.to_string();
        }
    } else if matches!(name.as_str(), "allow" | "deny") {
        if let Ok(address) = first.parse::<std::net::IpAddr>() {
            *first = ipnet::IpNet::from(address).to_string();
        }
    } else if name == "add_header"
        || name.ends_with("_set_header")
        || name.ends_with("_hide_header")
    {
        *first = first.to_ascii_lowercase();
    }
    words
}

/// Returns what differs.
pub(super) fn differences<'a>(before: &'a [Item], after: &'a [Item]) -> Vec<Difference<'a>> {
    let mut found = Vec::new();
    compare(before, after, &Vec::new(), &mut found);
    found
}

fn compare<'a>(
    before: &'a [Item],
    after: &'a [Item],
    within: &Vec<(&'a Item, &'a Item)>,
    found: &mut Vec<Difference<'a>>,
) {
    let said = |items: &'a [Item]| items.iter().map(|item| item.said.as_str()).collect::<Vec<_>>();
    let (mut gone, mut new): (Vec<&Item>, Vec<&Item>) = (Vec::new(), Vec::new());
    let mut gaps = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &said(before), &said(after)) {
        if let DiffOp::Equal { .. } = op {
            gaps.push((std::mem::take(&mut gone), std::mem::take(&mut new)));
            continue;
        }
        gone.extend(before.get(op.old_range()).unwrap_or_default());
        new.extend(after.get(op.new_range()).unwrap_or_default());
    }
    gaps.push((gone, new));
    for (gone, mut new) in gaps {
        for item in gone {
            let is_its = |other: &&Item| {
                let is_block = item.block.is_some() || other.block.is_some();
                item.name() == other.name() && (!is_block || item.words == other.words)
            };
            let other = new.iter().position(is_its).map(|at| new.remove(at));
            if let Some(other) = other
                && let (Some(inner), Some(other_inner)) = (&item.block, &other.block)
            {
                let within = within.iter().copied().chain([(item, other)]).collect();
                compare(inner, other_inner, &within, found);
                continue;
            }
            let beside = (before, after);
            let within = within.clone();
            found.push(Difference { before: Some(item), after: other, within, beside });
        }
        found.extend(new.into_iter().map(|item| Difference {
            before: None,
            after: Some(item),
            within: within.clone(),
            beside: (before, after),
        }));
    }
}
