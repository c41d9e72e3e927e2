//! The edge's own disk: what it was last given, by digest, with an index of its sites. It starts
//! from here without the control plane. A change is one transaction: all of it or nothing.
//!
//! What routing needs of a site is kept apart from its policy (a [`Head`]), so that a start reads
//! a few hundred bytes per site and parses no policy.

mod archive;
mod error;
mod head;

use std::{
    fs::{DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::{Id, Site};
use portway_policy::{Digest, NodeSettings, Owner};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition,
};
use serde::Serialize;

use self::archive::{Archive, Kind, Writing};
pub use self::error::StateError;
pub(crate) use self::head::{Head, TlsHead};

/// The format of the file. A reader takes its own and the one before.
const FORMAT: u32 = 1;

/// Pages kept in memory. A site is read once and then kept as it was compiled.
const CACHE_BYTES: usize = 4 << 20;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const SITES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("sites");
const POLICIES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("policies");
const CERTIFICATES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("certificates");

/// How long a process that was to succeed this one, and failed, may take to let go of the state.
const LETTING_GO: Duration = Duration::from_secs(10);

/// How often it is tried meanwhile.
const EVERY: Duration = Duration::from_millis(20);

/// The state of an edge. While it is open, no other process can open it.
pub(crate) struct State {
    source: RwLock<Source>,
    folder: Utf8PathBuf,
    path: Utf8PathBuf,
}

/// Where objects are read.
enum Source {
    /// The state itself.
    Open(Database),
    /// A copy; the state is another process's.
    Given(Archive),
}

/// Everything a start needs.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings of the node.
    pub(crate) settings: NodeSettings,
    /// Whose the edge is.
    pub(crate) owner: Option<Owner>,
    /// The sites.
    pub(crate) sites: Vec<(Id<Site>, Head)>,
    /// The certificates that are held.
    pub(crate) certificates: Vec<Digest>,
    /// Entries that could not be read; the other sites are served.
    pub(crate) damaged: Vec<(Id<Site>, serde_json::Error)>,
}

/// A change, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// New settings.
    pub(crate) settings: Option<NodeSettings>,
    /// Whose the edge is from now on, where that changes.
    pub(crate) owner: Option<Kept>,
    /// Sites that are new or changed, with the bytes of their policies.
    pub(crate) put: Vec<(Id<Site>, Head, Vec<u8>)>,
    /// Sites that are gone.
    pub(crate) remove: Vec<Id<Site>>,
    /// Policies that no site has any more.
    pub(crate) drop_policies: Vec<Digest>,
    /// New certificates.
    pub(crate) certificates: Vec<(Digest, Vec<u8>)>,
    /// Certificates that no site has any more.
    pub(crate) drop_certificates: Vec<Digest>,
}

/// Whose the edge is from now on; nobody's where there is none.
#[derive(Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Kept(pub(crate) Option<Owner>);

impl State {
    /// Opens or creates the state in a folder.
    pub(crate) fn open(dir: &Utf8Path) -> Result<Self, StateError> {
        let create = |path: &Utf8Path, source| StateError::Create { path: path.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| create(dir, source))?;
        let path = dir.join("edge.redb");
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| create(&path, source))?;
        let source = RwLock::new(Source::Open(open_database(&path)?));
        let state = Self { source, folder: dir.to_owned(), path };
        state.prepare()?;
        Ok(state)
    }

    /// Lets another process open the state. What this one may still have to read it copies before.
    pub(crate) fn give(&self) -> Result<(), StateError> {
        let archive = {
            let source = self.source();
            let database = self.database(&source)?;
            self.archive(database)?
        };
        // Dropping the database closes the file in order.
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = Source::Given(archive);
        Ok(())
    }

    /// Opens the state again, after another process that could have had it failed.
    pub(crate) fn take_back(&self) -> Result<(), StateError> {
        let deadline = Instant::now() + LETTING_GO;
        loop {
            match open_database(&self.path) {
                Err(StateError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::park_timeout(EVERY);
                }
                Err(error) => return Err(error),
                Ok(database) => {
                    let mut source = self.source.write().unwrap_or_else(PoisonError::into_inner);
                    *source = Source::Open(database);
                    return Ok(());
                }
            }
        }
    }

    fn archive(&self, database: &Database) -> Result<Archive, StateError> {
        let copy = |source| StateError::Copy { path: self.path.clone(), source };
        let storage = |error: redb::Error| self.storage(error);
        let mut writing = Writing::begin(&self.folder).map_err(copy)?;
        let read = database.begin_read().map_err(|e| storage(e.into()))?;
        for (kind, table) in [(Kind::Policy, POLICIES), (Kind::Certificate, CERTIFICATES)] {
            let table = read.open_table(table).map_err(|e| storage(e.into()))?;
            for entry in table.iter().map_err(|e| storage(e.into()))? {
                let (key, value) = entry.map_err(|e| storage(e.into()))?;
                let digest = Digest::from_bytes(*key.value());
                writing.put(kind, digest, value.value()).map_err(copy)?;
            }
        }
        writing.finish().map_err(copy)
    }

    fn source(&self) -> RwLockReadGuard<'_, Source> {
        self.source.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn database<'a>(&self, source: &'a Source) -> Result<&'a Database, StateError> {
        match source {
            Source::Open(database) => Ok(database),
            Source::Given(_) => Err(StateError::Given { path: self.path.clone() }),
        }
    }

    /// Reads everything a start needs.
    pub(crate) fn load(&self) -> Result<Loaded, StateError> {
        let storage = |error: redb::Error| self.storage(error);
        let source = self.source();
        let read = self.database(&source)?.begin_read().map_err(|e| storage(e.into()))?;
        let meta = read.open_table(META).map_err(|e| storage(e.into()))?;
        let settings = match meta.get("settings").map_err(|e| storage(e.into()))? {
            Some(bytes) => serde_json::from_slice(bytes.value())
                .map_err(|source| self.damaged("settings", source))?,
            None => NodeSettings::default(),
        };
        let owner = match meta.get("owner").map_err(|e| storage(e.into()))? {
            Some(bytes) => serde_json::from_slice(bytes.value())
                .map_err(|source| self.damaged("owner", source))?,
            None => None,
        };
        let mut loaded =
            Loaded { settings, owner, sites: vec![], certificates: vec![], damaged: vec![] };
        let sites = read.open_table(SITES).map_err(|e| storage(e.into()))?;
        for entry in sites.iter().map_err(|e| storage(e.into()))? {
            let (key, value) = entry.map_err(|e| storage(e.into()))?;
            let id = Id::from_uuid(uuid::Uuid::from_bytes(*key.value()));
            match serde_json::from_slice(value.value()) {
                Ok(head) => loaded.sites.push((id, head)),
                Err(error) => loaded.damaged.push((id, error)),
            }
        }
        let certificates = read.open_table(CERTIFICATES).map_err(|e| storage(e.into()))?;
        for entry in certificates.iter().map_err(|e| storage(e.into()))? {
            let (key, _) = entry.map_err(|e| storage(e.into()))?;
            loaded.certificates.push(Digest::from_bytes(*key.value()));
        }
        Ok(loaded)
    }

    /// Returns the bytes of a policy.
    pub(crate) fn policy(&self, digest: Digest) -> Result<Option<Vec<u8>>, StateError> {
        self.object(Kind::Policy, digest)
    }

    /// Returns the bytes of a certificate.
    pub(crate) fn certificate(&self, digest: Digest) -> Result<Option<Vec<u8>>, StateError> {
        self.object(Kind::Certificate, digest)
    }

    /// Writes a change. It is on the disk when this returns.
    pub(crate) fn commit(&self, batch: &Batch) -> Result<(), StateError> {
        let heads = batch.put.iter().map(|(_, head, _)| encode("index", head));
        let heads = heads.collect::<Result<Vec<_>, _>>()?;
        let settings =
            batch.settings.as_ref().map(|settings| encode("settings", settings)).transpose()?;
        let owner = batch.owner.as_ref().map(|owner| encode("owner", owner)).transpose()?;
        let meta = [("settings", settings), ("owner", owner)];
        let source = self.source();
        let database = self.database(&source)?;
        Self::write(database, batch, &heads, &meta).map_err(|error| self.storage(error))
    }

    fn write(
        database: &Database,
        batch: &Batch,
        heads: &[Vec<u8>],
        meta: &[(&str, Option<Vec<u8>>)],
    ) -> Result<(), redb::Error> {
        let mut write = database.begin_write()?;
        // After a kill the file is opened at once instead of being scanned.
        write.set_quick_repair(true);
        {
            for (name, value) in meta {
                if let Some(value) = value {
                    write.open_table(META)?.insert(*name, value.as_slice())?;
                }
            }
            let mut certificates = write.open_table(CERTIFICATES)?;
            for digest in &batch.drop_certificates {
                certificates.remove(digest.as_bytes())?;
            }
            for (digest, bytes) in &batch.certificates {
                certificates.insert(digest.as_bytes(), bytes.as_slice())?;
            }
            let mut policies = write.open_table(POLICIES)?;
            for digest in &batch.drop_policies {
                policies.remove(digest.as_bytes())?;
            }
            let mut sites = write.open_table(SITES)?;
            for id in &batch.remove {
                sites.remove(id.uuid().as_bytes())?;
            }
            for ((id, head, policy), bytes) in batch.put.iter().zip(heads) {
                policies.insert(head.digest.as_bytes(), policy.as_slice())?;
                sites.insert(id.uuid().as_bytes(), bytes.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    fn object(&self, kind: Kind, digest: Digest) -> Result<Option<Vec<u8>>, StateError> {
        let source = self.source();
        let database = match &*source {
            Source::Open(database) => database,
            Source::Given(archive) => {
                let copy = |source| StateError::Copy { path: self.path.clone(), source };
                return archive.get(kind, digest).map_err(copy);
            }
        };
        let table = match kind {
            Kind::Policy => POLICIES,
            Kind::Certificate => CERTIFICATES,
        };
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = database.begin_read()?.open_table(table)?;
            Ok(table.get(digest.as_bytes())?.map(|bytes| bytes.value().to_vec()))
        };
        read().map_err(|error| self.storage(error))
    }

    /// Makes the tables, or checks who made them.
    fn prepare(&self) -> Result<(), StateError> {
        let source = self.source();
        let database = self.database(&source)?;
        let found = Self::prepare_tables(database).map_err(|error| self.storage(error))?;
        if found == FORMAT {
            Ok(())
        } else {
            Err(StateError::Format { path: self.path.clone(), found })
        }
    }

    fn prepare_tables(database: &Database) -> Result<u32, redb::Error> {
        let write = database.begin_write()?;
        let found = {
            let mut meta = write.open_table(META)?;
            let found = meta.get("format")?.map(|bytes| {
                <[u8; 4]>::try_from(bytes.value()).map_or(u32::MAX, u32::from_le_bytes)
            });
            if found.is_none() {
                meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
            }
            found
        };
        if let Some(found) = found {
            write.abort()?;
            return Ok(found);
        }
        write.open_table(SITES)?;
        write.open_table(POLICIES)?;
        write.open_table(CERTIFICATES)?;
        write.commit()?;
        Ok(FORMAT)
    }

    fn storage(&self, error: redb::Error) -> StateError {
        StateError::Storage { path: self.path.clone(), source: Box::new(error) }
    }

    fn damaged(&self, what: &'static str, source: serde_json::Error) -> StateError {
        StateError::Damaged { path: self.path.clone(), what, source }
    }
}

fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(value).map_err(|source| StateError::Encode { what, source })
}

fn open_database(path: &Utf8Path) -> Result<Database, StateError> {
    let opened = Builder::new().set_cache_size(CACHE_BYTES).create(path);
    opened.map_err(|error| open_error(path, error))
}

fn open_error(path: &Utf8Path, error: DatabaseError) -> StateError {
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return StateError::InUse { path: path.to_owned() };
    }
    StateError::Storage { path: path.to_owned(), source: Box::new(error.into()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use portway_model::site::Limits;

    use super::*;

    #[test]
    fn what_was_written_is_read_after_a_restart_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("state");
        let state = State::open(&path).unwrap();
        let id = Id::from_uuid(uuid::Uuid::from_u128(7));
        let batch = Batch { put: vec![(id, head(), b"policy".to_vec())], ..Batch::default() };

        state.commit(&batch).unwrap();
        drop(state);
        let state = State::open(&path).unwrap();

        assert_eq!(state.load().unwrap().sites, [(id, head())]);
        assert_eq!(state.policy(head().digest).unwrap().as_deref(), Some(b"policy".as_slice()));
        let mode = |path: &Utf8Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("edge.redb"))), (0o700, 0o600));
    }

    #[test]
    fn a_second_edge_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let _first = State::open(path).unwrap();
        assert!(matches!(State::open(path), Err(StateError::InUse { .. })));
    }

    #[test]
    fn what_was_given_away_is_still_read_and_is_written_once_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let state = State::open(path).unwrap();
        let put = |number: u128| Batch {
            put: vec![(Id::from_uuid(uuid::Uuid::from_u128(number)), head(), b"policy".to_vec())],
            ..Batch::default()
        };
        state.commit(&put(1)).unwrap();

        state.give().unwrap();
        let read = |state: &State| state.policy(head().digest).unwrap();
        assert_eq!(read(&state).as_deref(), Some(b"policy".as_slice()));
        assert!(matches!(state.commit(&put(2)), Err(StateError::Given { .. })));
        let other = State::open(path).unwrap();
        other.commit(&put(2)).unwrap();
        drop(other);

        state.take_back().unwrap();
        state.commit(&put(3)).unwrap();
        assert_eq!(state.load().unwrap().sites.len(), 3);
        assert_eq!(read(&state).as_deref(), Some(b"policy".as_slice()));
    }

    fn head() -> Head {
        Head {
            digest: Digest::of(b"policy"),
            name: "a".parse().unwrap(),
            hosts: vec!["a.example".parse().unwrap()],
            tls: None,
            matches: vec![1],
            limits: Some(Box::new(Limits { headers: 20, ..Limits::default() })),
        }
    }
}
