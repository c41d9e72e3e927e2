//! `engine list|show`.

use portway_model::EngineKind;
use portway_wire::engine::{EngineSetting, EngineView, SettingSupport};

use crate::{
    args::EngineCommand,
    exit::{Exit, Failure, Outcome},
    out::{Table, clean_line},
    session::Session,
};

/// `portway engine …`
pub(super) async fn run(session: &Session, command: EngineCommand) -> Outcome {
    let engines = session.client().await?.engines().await?.items;
    match command {
        EngineCommand::List => session.out.list(&engines, engine_table, "no engines")?,
        EngineCommand::Show { engine, field, differing } => {
            let settings = settings_of(engines, engine)?;
            let is_wanted = |setting: &EngineSetting| {
                let is_field =
                    field.as_deref().is_none_or(|field| setting.field.starts_with(field));
                is_field && !(differing && setting.support == SettingSupport::Exact)
            };
            let wanted: Vec<EngineSetting> = settings.into_iter().filter(is_wanted).collect();
            session.out.list(&wanted, setting_table, "no such settings")?;
        }
    }
    Ok(Exit::Ok)
}

fn settings_of(
    engines: Vec<EngineView>,
    wanted: EngineKind,
) -> Result<Vec<EngineSetting>, Failure> {
    let mut engines = engines.into_iter();
    let found = engines.find(|engine| engine.name == wanted.as_str());
    found.map(|engine| engine.settings).ok_or_else(|| {
        Failure::usage(format!("nothing is told of `{wanted}`")).help(
            "an edge carries out every setting as it is documented; see `portway engine list`",
        )
    })
}

fn engine_table(engines: &[EngineView]) -> Table {
    let rows = engines.iter().map(|engine| {
        let count = |support| {
            let settings = engine.settings.iter().filter(|setting| setting.support == support);
            settings.count().to_string()
        };
        [
            engine.name.clone(),
            engine.oldest.clone(),
            engine.version.clone(),
            count(SettingSupport::Exact),
            count(SettingSupport::Emulated),
            count(SettingSupport::LeftOut),
            count(SettingSupport::Refused),
        ]
    });
    let columns = ["engine", "from version", "told of", "exact", "differs", "left out", "refused"];
    let table = Table::new(columns);
    table.right("exact").right("differs").right("left out").right("refused").rows(rows)
}

fn setting_table(settings: &[EngineSetting]) -> Table {
    let rows = settings.iter().map(|setting| {
        [
            setting.field.clone(),
            word(setting.support).to_owned(),
            clean_line(setting.detail.as_deref().unwrap_or_default()),
        ]
    });
    Table::new(["setting", "support", "how or why"]).rows(rows)
}

fn word(support: SettingSupport) -> &'static str {
    match support {
        SettingSupport::Exact => "exact",
        SettingSupport::Emulated => "differs",
        SettingSupport::LeftOut => "left out",
        SettingSupport::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_the_measure_and_has_no_table() {
        let engines = portway_control::engines();
        assert!(settings_of(engines.clone(), EngineKind::Edge).is_err());
        for engine in [EngineKind::Nginx, EngineKind::Caddy, EngineKind::Traefik] {
            assert!(settings_of(engines.clone(), engine).is_ok(), "{engine}");
        }
    }
}
