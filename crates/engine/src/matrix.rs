//! What every engine makes of every setting, as a page of the documentation. It is made from what the
//! engines themselves say, so that it cannot say anything else.

use crate::{
    Bearing, Engine, EngineFacts, Setting, Support,
    caddy::{self, Caddy},
    nginx::{self, Nginx},
    traefik::{self, Traefik},
};

const INTRODUCTION: &str = include_str!("matrix/introduction.md");

/// Returns the page that tells what engines can do.
pub fn engines_markdown() -> String {
    let engines: [(&dyn Engine, EngineFacts); 3] = [
        (&Nginx, nginx::usual_facts()),
        (&Caddy, caddy::usual_facts()),
        (&Traefik, traefik::usual_facts()),
    ];
    let mut page = INTRODUCTION.to_owned();
    push(
        &mut page,
        &["setting".to_owned(), "what it is".to_owned()],
        &engines,
        |(engine, facts)| format!("{} {}", engine.name(), facts.version),
    );
    page.push_str(&"|---".repeat(2 + engines.len()));
    page.push_str("|\n");
    for setting in Setting::ALL {
        let first = [format!("`{}`", setting.field()), setting.doc().to_owned()];
        push(&mut page, &first, &engines, |(engine, facts)| {
            cell(engine.support(*setting, facts), setting.bearing())
        });
    }
    page
}

fn push<'a, T: 'a>(
    page: &mut String,
    first: &[String],
    engines: impl IntoIterator<Item = &'a T>,
    cell: impl Fn(&T) -> String,
) {
    let cells = first.iter().cloned().chain(engines.into_iter().map(cell));
    let row: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    page.extend(["| ", &row.join(" | "), " |\n"]);
}

fn cell(support: Support, bearing: Bearing) -> String {
    match (support, bearing) {
        (Support::Exact, _) => "exact".to_owned(),
        (Support::Emulated { differs }, _) => format!("differs: {differs}"),
        (Support::Refused { why }, Bearing::Preference) => format!("left out: {why}"),
        (Support::Refused { why }, Bearing::Security | Bearing::Essential) => {
            format!("**refused**: {why}")
        }
    }
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
