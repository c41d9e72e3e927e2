//! Traefik: sites of a file provider's folder, in YAML and TOML.

mod middleware;
mod router;
mod rule;
mod service;
mod table;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use self::table::Table;
use crate::{
    ImportError, Imported,
    options::Options,
    report::Ledger,
    sites,
    tree::{ReadError, Tree},
    value,
};

/// What the conversion of every router has at hand.
struct Cx<'a> {
    tree: &'a dyn Tree,
    options: &'a Options,
    ledger: Ledger,
    folder: Utf8PathBuf,
    services: BTreeMap<String, Table>,
    middlewares: BTreeMap<String, Table>,
    transports: BTreeMap<String, Table>,
    routers: Vec<(String, Table)>,
    /// Options of TLS that ask clients for certificates.
    asking: Vec<String>,
}

const ENDS: [&str; 3] = [".yml", ".yaml", ".toml"];

pub(crate) fn import(
    path: &Utf8Path,
    tree: &dyn Tree,
    options: &Options,
) -> Result<Imported, ImportError> {
    let is_file = ENDS.iter().any(|end| path.as_str().ends_with(end));
    let (folder, paths) = if is_file {
        (path.parent().unwrap_or(Utf8Path::new("/")).to_owned(), vec![path.to_owned()])
    } else {
        let unreadable = |error: ReadError| ImportError::Unreadable(format!("{path}: {error}"));
        let names = tree.list(path).map_err(unreadable)?;
        let known = names.iter().filter(|name| ENDS.iter().any(|end| name.ends_with(end)));
        (path.to_owned(), known.map(|name| path.join(name)).collect())
    };
    let mut cx = Cx {
        tree,
        options,
        ledger: Ledger::default(),
        folder,
        services: BTreeMap::new(),
        middlewares: BTreeMap::new(),
        transports: BTreeMap::new(),
        routers: Vec::new(),
        asking: Vec::new(),
    };
    for path in paths.iter().filter(|path| !options.is_own(path)) {
        cx.file(path).map_err(|problem| ImportError::Unreadable(format!("{path}:{problem}")))?;
    }
    let drafts = router::drafts(&mut cx);
    let sites = sites::finish(drafts, options, &mut cx.ledger);
    Ok(Imported { sites, entries: cx.ledger.finish() })
}

impl Cx<'_> {
    /// A file that cannot be read may hold what protects the routers of another, so there is no import
    /// without it.
    fn file(&mut self, path: &Utf8Path) -> Result<(), String> {
        let text = self.tree.read(path).map_err(|error| format!(" {error}"))?;
        let value = if path.extension() == Some("toml") {
            Some(value::of_toml(&text)?)
        } else {
            value::of_yaml(&text)?
        };
        let Some(value) = value else { return Ok(()) };
        for (key, value) in value.entries() {
            let table = Table::enter(value, key, path, &mut self.ledger);
            match key {
                "http" => self.http(&table),
                "tls" => self.tls(&table),
                _ => table.lost("only HTTP of the file provider is taken over", &mut self.ledger),
            }
        }
        Ok(())
    }

    fn http(&mut self, table: &Table) {
        self.ledger.converted(table.id);
        for (key, inner) in table.entries() {
            self.ledger.converted(inner.id);
            let entries = inner.entries().iter().cloned();
            match key.to_ascii_lowercase().as_str() {
                "routers" => self.routers.extend(entries),
                "services" => self.services.extend(entries),
                "middlewares" => self.middlewares.extend(entries),
                "serverstransports" => self.transports.extend(entries),
                _ => inner.lost("it is not known here", &mut self.ledger),
            }
        }
    }

    fn tls(&mut self, table: &Table) {
        let why =
            "Portway issues and renews certificates itself; one from a file cannot be given yet";
        table.nearly(why, &mut self.ledger);
        for (name, options) in table.get("options").map(Table::entries).unwrap_or_default() {
            if let Some(auth) = options.get("clientAuth") {
                auth.closes("certificates of clients cannot be asked for yet", &mut self.ledger);
                self.asking.push(name.clone());
            }
        }
    }
}
