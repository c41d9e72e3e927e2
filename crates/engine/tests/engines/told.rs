//! Differences between an engine and the edge, each of which must be told: by what the engine says of a
//! setting that a site uses, or by a sentence of its page.

use std::collections::BTreeMap;

use portway_engine::{Engine, EngineFacts, Support, engines_markdown, uses};
use portway_policy::SitePolicy;
use serde::Deserialize;

/// What is seen of an answer, part by part.
pub(crate) type View = BTreeMap<String, String>;

/// A difference of one request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Difference {
    /// Who tells it: a setting, or `page: ` with a sentence of the engine's page.
    pub(crate) told: String,
    /// The parts as the engine has them; nothing where it has none. Another status says all.
    pub(crate) is: BTreeMap<String, Option<String>>,
}

/// A difference of many requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manner {
    pub(crate) told: String,
    /// What the edge answers where it shows; `*` is any text, and nothing that there is none.
    #[serde(default)]
    pub(crate) when: BTreeMap<String, Option<String>>,
    pub(crate) is: BTreeMap<String, Option<String>>,
}

impl Difference {
    /// Returns what the engine is to answer where the edge answers this.
    pub(crate) fn of(&self, edge: &View) -> View {
        if let Some(status) = self.is.get("status") {
            let status = status.clone().unwrap_or_default();
            return [("status".to_owned(), status)].into();
        }
        let mut view = edge.clone();
        for (part, value) in &self.is {
            match value {
                Some(value) => drop(view.insert(part.clone(), value.clone())),
                None => drop(view.remove(part)),
            }
        }
        view
    }
}

impl Manner {
    /// Tells whether it is why a part differs.
    pub(crate) fn explains(&self, part: &str, edge: &View, engine: &View) -> bool {
        self.is.get(part).is_some_and(|wanted| fits(wanted.as_deref(), engine.get(part)))
            && self.when.iter().all(|(part, wanted)| fits(wanted.as_deref(), edge.get(part)))
    }
}

fn fits(wanted: Option<&str>, found: Option<&String>) -> bool {
    match (wanted, found) {
        (Some("*"), Some(_)) | (None, None) => true,
        (Some(wanted), Some(found)) => wanted == found,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Tells whether an engine says that it differs.
pub(crate) fn is_told(
    told: &str,
    engine: &dyn Engine,
    facts: &EngineFacts,
    sites: &[SitePolicy],
) -> bool {
    if let Some(sentence) = told.strip_prefix("page: ") {
        let page = engines_markdown();
        let section = page.split("\n## ").find(|section| section.starts_with(engine.name()));
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        return section.is_some_and(|section| words(section).contains(&words(sentence)));
    }
    let differs = |site: &SitePolicy| {
        uses(site).iter().any(|used| {
            format!("{:?}", used.setting) == told
                && engine.support_of(used, facts) != Support::Exact
        })
    };
    sites.iter().any(differs)
}
