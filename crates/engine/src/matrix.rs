//! What every engine makes of every setting, for the API and as a page of the documentation. It is made
//! from what the engines themselves say, so that it cannot say anything else.

use portway_model::EngineKind;

use crate::{
    Engine, EngineFacts, Fit, Setting, Support, Version,
    caddy::{self, Caddy},
    judge,
    nginx::{self, Nginx},
    traefik::{self, Traefik},
};

const INTRODUCTION: &str = include_str!("matrix/introduction.md");

/// What an engine makes of every setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineMatrix {
    /// The engine, as nodes have it.
    pub kind: EngineKind,
    /// The engine, as people write it.
    pub name: &'static str,
    /// The oldest version that is rendered for.
    pub oldest: Version,
    /// The version of which this is told, without further modules.
    pub version: Version,
    /// Every setting, in the order of the documentation.
    pub rows: Vec<MatrixRow>,
}

/// What an engine makes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixRow {
    /// Which.
    pub setting: Setting,
    /// What becomes of it.
    pub support: Support,
}

impl MatrixRow {
    /// Returns what it comes to for a site.
    pub const fn fit(&self) -> Fit {
        self.support.fit(self.setting.bearing())
    }

    /// Returns what helps where it is not carried out.
    pub fn remedy(&self) -> Option<String> {
        judge::remedy(self.setting, self.fit())
    }

    fn cell(&self) -> String {
        let detail = self.support.detail().unwrap_or_default();
        match self.fit() {
            Fit::Exact => "exact".to_owned(),
            Fit::Emulated => format!("differs: {detail}"),
            Fit::LeftOut => format!("left out: {detail}"),
            Fit::Refused => format!("**refused**: {detail}"),
        }
    }
}

/// Returns what every engine but the edge makes of every setting.
pub fn matrix() -> [EngineMatrix; 3] {
    [
        of(EngineKind::Nginx, &Nginx, &nginx::usual_facts()),
        of(EngineKind::Caddy, &Caddy, &caddy::usual_facts()),
        of(EngineKind::Traefik, &Traefik, &traefik::usual_facts()),
    ]
}

fn of(kind: EngineKind, engine: &dyn Engine, facts: &EngineFacts) -> EngineMatrix {
    let row = |setting: &Setting| MatrixRow {
        setting: *setting,
        support: engine.support(*setting, facts),
    };
    EngineMatrix {
        kind,
        name: engine.name(),
        oldest: engine.oldest(),
        version: facts.version,
        rows: Setting::ALL.iter().map(row).collect(),
    }
}

/// Returns the page that tells what engines can do.
pub fn engines_markdown() -> String {
    let engines = matrix();
    let mut page = INTRODUCTION.to_owned();
    let heads = engines.iter().map(|engine| format!("{} {}", engine.name, engine.version));
    push(&mut page, ["setting".to_owned(), "what it is".to_owned()].into_iter().chain(heads));
    page.push_str(&"|---".repeat(2 + engines.len()));
    page.push_str("|\n");
    for (place, setting) in Setting::ALL.iter().enumerate() {
        let first = [format!("`{}`", setting.field()), setting.doc().to_owned()];
        let cells = engines.iter().filter_map(|engine| engine.rows.get(place));
        push(&mut page, first.into_iter().chain(cells.map(MatrixRow::cell)));
    }
    page
}

fn push(page: &mut String, cells: impl Iterator<Item = String>) {
    let row: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    page.extend(["| ", &row.join(" | "), " |\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_row_of_whole_cells() {
        let page = engines_markdown();
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), Setting::ALL.len());
        let columns = |row: &str| row.replace("\\|", "").matches('|').count();
        assert!(rows.iter().all(|row| columns(row) == columns(rows[0])));
    }
}
