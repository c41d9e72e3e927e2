//! What engines make of each setting, as the API tells it.

use portway_engine::{Bearing, EngineMatrix, Fit, MatrixRow};
use portway_wire::engine::{EngineSetting, EngineView, SettingBearing, SettingSupport};

/// Returns what every engine but the edge makes of every setting.
pub fn engines() -> Vec<EngineView> {
    portway_engine::matrix().iter().map(engine).collect()
}

fn engine(matrix: &EngineMatrix) -> EngineView {
    EngineView {
        name: matrix.kind.to_string(),
        oldest: matrix.oldest.to_string(),
        version: matrix.version.to_string(),
        settings: matrix.rows.iter().map(setting).collect(),
    }
}

fn setting(row: &MatrixRow) -> EngineSetting {
    EngineSetting {
        field: row.setting.field().to_owned(),
        about: row.setting.doc().to_owned(),
        bearing: bearing(row.setting.bearing()),
        support: support(row.fit()),
        detail: row.support.detail().map(str::to_owned),
        remedy: row.remedy(),
    }
}

fn bearing(bearing: Bearing) -> SettingBearing {
    match bearing {
        Bearing::Security => SettingBearing::Security,
        Bearing::Essential => SettingBearing::Essential,
        Bearing::Preference => SettingBearing::Preference,
    }
}

fn support(fit: Fit) -> SettingSupport {
    match fit {
        Fit::Exact => SettingSupport::Exact,
        Fit::Emulated => SettingSupport::Emulated,
        Fit::LeftOut => SettingSupport::LeftOut,
        Fit::Refused => SettingSupport::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/engines.md");

    fn word(support: SettingSupport) -> &'static str {
        match support {
            SettingSupport::Exact => "exact",
            SettingSupport::Emulated => "differs: ",
            SettingSupport::LeftOut => "left out: ",
            SettingSupport::Refused => "**refused**: ",
        }
    }

    #[test]
    fn what_the_api_tells_of_engines_is_what_their_page_tells() {
        let engines = engines();
        let names: Vec<_> = engines.iter().map(|engine| engine.name.as_str()).collect();
        assert_eq!(names, ["nginx", "caddy", "traefik"]);
        let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `")).collect();
        for engine in &engines {
            assert_eq!(engine.settings.len(), rows.len(), "{}", engine.name);
        }
        for (place, row) in rows.into_iter().enumerate() {
            let of_all: Vec<_> = engines.iter().map(|engine| &engine.settings[place]).collect();
            let cells = of_all.iter().map(|setting| {
                let detail = setting.detail.as_deref().unwrap_or_default();
                format!("{}{detail}", word(setting.support)).replace('|', "\\|")
            });
            let cells: Vec<String> = cells.collect();
            let (field, about) = (&of_all[0].field, of_all[0].about.replace('|', "\\|"));
            assert_eq!(row, format!("| `{field}` | {about} | {} |", cells.join(" | ")));
        }
    }

    #[test]
    fn whatever_is_not_carried_out_comes_with_a_remedy() {
        for setting in engines().iter().flat_map(|engine| &engine.settings) {
            let is_carried_out =
                matches!(setting.support, SettingSupport::Exact | SettingSupport::Emulated);
            assert_eq!(setting.remedy.is_none(), is_carried_out, "{setting:?}");
            assert_eq!(setting.detail.is_none(), setting.support == SettingSupport::Exact);
        }
    }
}
