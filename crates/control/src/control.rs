//! The control plane as a whole: what it is made of, and how it starts.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use ipnet::IpNet;
use jiff::Timestamp;
use portway_model::{Id, Name, RevisionNumber};
use portway_secrets::{Context, FingerprintKey, KeyRing, Purpose, Reference, Sealed, key_file};
use portway_store::{DatabaseUrl, ManagerRow, NodeRow, SealedSecret, Store};
use portway_telemetry::ControlMetrics;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    ControlError, IdentityError, PublishedConsole,
    certificates::{self, Leaves},
    deploy::Deploy,
    edge_client::EdgeClient,
    fleet::Fleet,
    health::HealthWatch,
    jwt::JwtKeys,
    logs::Seats,
    manager,
    nodes::{Discovery, SshKey},
    observe::Observer,
    password::Hashers,
    rollout::Rollouts,
    roots::Roots,
    tasks::{Clock, TaskHandle},
};

/// Under this reference the store keeps the key from which references are made.
const FINGERPRINT_KEY: &str = "installation-fingerprint-key";

/// What the control plane must be told.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The folder of the manager's own data.
    pub data_dir: Utf8PathBuf,
    /// The folder in which the edge writes the logs of sites.
    pub log_dir: Utf8PathBuf,
    /// The master key's file.
    pub key_file: Utf8PathBuf,
    /// The database; SQLite in the data folder unless set.
    pub database: DatabaseUrl,
    /// The edge's control socket.
    pub edge_socket: Utf8PathBuf,
    /// Where people reach the console, for links: `http://localhost:8900`.
    pub console_url: String,
    /// Members of this group are administrators on the local socket.
    pub admin_group: Option<u32>,
    /// Networks whose `X-Forwarded-*` headers the edge believes.
    pub trusted_proxies: Vec<IpNet>,
    /// Addresses of this machine, which upstreams of clients must not have.
    pub own_addresses: Vec<IpAddr>,
    /// How often nodes are read.
    pub observe_every: Duration,
    /// Whether administrators may run commands on nodes.
    pub node_exec: bool,
    /// How changes come to their nodes of which nothing is said; without it, to all of them at once.
    pub rollouts: Option<portway_model::rollout::Strategy>,
    /// From where on something about a node deserves attention, unless the node says otherwise.
    pub health: portway_model::node::spec::ThresholdsSpec,
    /// How the console is published, where it is.
    pub console: Option<PublishedConsole>,
}

/// The control plane. Cheap to clone; every clone is the same one.
#[derive(Clone)]
pub struct Control {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("database", &self.inner.config.database)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) config: ControlConfig,
    pub(crate) store: Store,
    pub(crate) keys: KeyRing,
    pub(crate) fingerprints: FingerprintKey,
    pub(crate) ssh_key: SshKey,
    pub(crate) jwt: JwtKeys,
    pub(crate) authority: Roots,
    pub(crate) leaves: Mutex<Leaves>,
    /// Held by whoever issues a certificate.
    pub(crate) issuing: tokio::sync::Mutex<()>,
    pub(crate) manager: ManagerRow,
    pub(crate) edge: EdgeClient,
    pub(crate) node: Id<NodeRow>,
    pub(crate) node_name: Name,
    pub(crate) deploy: Deploy,
    pub(crate) fleet: Fleet,
    pub(crate) rollouts: Rollouts,
    pub(crate) hashing: Hashers,
    pub(crate) health: HealthWatch,
    pub(crate) discovery: Discovery,
    pub(crate) observer: Observer,
    /// Who follows how many logs.
    pub(crate) seats: Seats,
    pub(crate) metrics: ControlMetrics,
    pub(crate) clock: Clock,
    pub(crate) tasks: OnceLock<Vec<TaskHandle>>,
}

/// Why the control plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The master key cannot be read or made.
    #[error(transparent)]
    Key(#[from] key_file::KeyFileError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] portway_store::StoreError),
    /// The database was sealed with another key.
    #[error(
        "the database {database} was sealed with another master key than {key_file}: {source}; bring the right one with `portway key import`, or point `--data` to its folder"
    )]
    WrongKey {
        /// The database.
        database: String,
        /// The key's file.
        key_file: Utf8PathBuf,
        /// Which key is wanted.
        source: portway_secrets::OpenError,
    },
    /// The database was sealed, and there is no key at all.
    #[error(
        "the database {database} was sealed with a master key, but there is none at {key_file}; bring it with `portway key import`, or point `--data` to its folder"
    )]
    NoKey {
        /// The database.
        database: String,
        /// The key's file.
        key_file: Utf8PathBuf,
    },
    /// The database holds nothing that a key could belong to.
    #[error(
        "the database {database} holds no installation, so its key is not changed; is it the one that `portway serve` uses?"
    )]
    Empty {
        /// The database.
        database: String,
    },
    /// The manager does not know who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Something else failed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Control {
    /// Opens the store and begins the background tasks, which end when `stop` is cancelled; wait
    /// for them with the tracker.
    pub async fn start(
        config: ControlConfig,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<(Self, TaskTracker), StartError> {
        let control = Self::open(config, clock).await?;
        let tracker = control.start_tasks(&stop);
        Ok((control, tracker))
    }

    /// Opens the store and everything in it, without running anything.
    pub async fn open(config: ControlConfig, clock: Clock) -> Result<Self, StartError> {
        let now = clock();
        let keys = key_file::load_or_create(&config.key_file)?.ring;
        let store = Store::open(&config.database).await?;
        verify_key(&store, &keys, &config, now).await?;
        let fingerprints = fingerprint_key(&store, &keys, now).await?;
        let ssh_key = SshKey::load_or_create(&store, &keys, now).await?;
        let jwt = JwtKeys::new(keys.derive(Purpose::JwtSigning).expose());
        let authority = Roots::load_or_create(&store, &keys, now).await?;
        let machine = certificates::machine_name();
        let manager = manager::identify(&store, &config.data_dir, &machine, now).await?;
        let node = edge_node(&store, &manager, now).await?;
        let inner = Inner {
            edge: EdgeClient::new(config.edge_socket.clone()),
            config,
            store,
            keys,
            fingerprints,
            ssh_key,
            jwt,
            authority,
            leaves: Mutex::default(),
            issuing: tokio::sync::Mutex::default(),
            manager,
            node: node.id,
            node_name: node.name,
            deploy: Deploy::new(),
            fleet: Fleet::default(),
            rollouts: Rollouts::new(now),
            hashing: Hashers::new(),
            health: HealthWatch::new(),
            discovery: Discovery::default(),
            observer: Observer::default(),
            seats: Seats::default(),
            metrics: ControlMetrics::new(env!("CARGO_PKG_VERSION")),
            clock,
            tasks: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the client of the edge.
    pub fn edge(&self) -> &EdgeClient {
        &self.inner.edge
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    pub(crate) fn keys(&self) -> &KeyRing {
        &self.inner.keys
    }

    pub(crate) fn own_addresses(&self) -> Vec<IpAddr> {
        self.inner.config.own_addresses.clone()
    }
}

/// Refuses a store that was sealed with another key; marks a new one as sealed with this.
async fn verify_key(
    store: &Store,
    keys: &KeyRing,
    config: &ControlConfig,
    now: Timestamp,
) -> Result<(), StartError> {
    let installation = match store.installation().get().await? {
        Some(row) => row,
        None => {
            let check = keys
                .check_value()
                .map_err(|error| ControlError::internal("sealing the check value", error))?;
            let id = keys.current().id().to_string();
            store.installation().init(Uuid::now_v7(), &id, &check.to_bytes(), now).await?
        }
    };
    keys.verify(&installation.key_check).map_err(|source| StartError::WrongKey {
        database: config.database.to_string(),
        key_file: config.key_file.clone(),
        source,
    })
}

async fn fingerprint_key(
    store: &Store,
    keys: &KeyRing,
    now: Timestamp,
) -> Result<FingerprintKey, ControlError> {
    let internal = |error: Box<dyn std::error::Error + Send + Sync>| {
        ControlError::internal("loading the key of references", error)
    };
    let kept = store.secrets().get(&[FINGERPRINT_KEY]).await?;
    if let Some(secret) = kept.get(FINGERPRINT_KEY) {
        return FingerprintKey::open(keys, &secret.sealed).map_err(|error| internal(error.into()));
    }
    let key = FingerprintKey::generate().map_err(|error| internal(error.into()))?;
    let sealed = key.seal(keys).map_err(|error| internal(error.into()))?;
    let secret = SealedSecret {
        reference: FINGERPRINT_KEY.to_owned(),
        kind: portway_store::SecretKind::SigningKey,
        owner: None,
        site: None,
        key_id: sealed.key_id().to_string(),
        sealed: sealed.to_bytes(),
        created_at: now,
    };
    store.secrets().put_if_absent(&[secret]).await?;
    // Another manager may have been first; what is kept counts.
    let kept = store.secrets().get(&[FINGERPRINT_KEY]).await?;
    match kept.get(FINGERPRINT_KEY) {
        Some(secret) => {
            FingerprintKey::open(keys, &secret.sealed).map_err(|error| internal(error.into()))
        }
        None => Err(internal("it was not kept".into())),
    }
}

/// Returns this machine's edge as the installation knows it: a local node belongs to the manager on
/// whose machine it is.
async fn edge_node(
    store: &Store,
    manager: &ManagerRow,
    now: Timestamp,
) -> Result<NodeRow, ControlError> {
    let name = format!("edge-{}", manager.name)
        .parse()
        .map_err(|error| ControlError::internal("naming the edge", error))?;
    let node = NodeRow {
        id: Id::from_uuid(Uuid::now_v7()),
        name,
        engine: "edge".to_owned(),
        deployed: RevisionNumber(0),
        digest: None,
        created_at: now,
        updated_at: now,
        declared: None,
    };
    Ok(store.nodes().ensure(&node).await?)
}

/// Replaces the master key: everything is sealed anew with a new one, and the old one is
/// forgotten. The manager must not be running. Returns how many values were sealed.
pub async fn rotate_key(key_file: &Utf8Path, database: &DatabaseUrl) -> Result<usize, StartError> {
    let internal = |error: Box<dyn std::error::Error + Send + Sync>| {
        StartError::Control(ControlError::internal("rotating the master key", error))
    };
    let old = key_file::load(key_file)?;
    let store = Store::open(database).await?;
    // A key that another database is sealed with must not be forgotten here.
    let Some(installation) = store.installation().get().await? else {
        return Err(StartError::Empty { database: database.to_string() });
    };
    old.verify(&installation.key_check).map_err(|source| StartError::WrongKey {
        database: database.to_string(),
        key_file: key_file.to_owned(),
        source,
    })?;
    let ring = old.rotate().map_err(|error| internal(error.into()))?;
    // Both keys are in the file until nothing is sealed with the old one: a crash loses nothing.
    key_file::replace(key_file, &ring)?;
    let check = ring.check_value().map_err(|error| internal(error.into()))?;
    let id = ring.current().id().to_string();
    let resealed = store
        .reseal(&id, &check.to_bytes(), |item| {
            let (context, sealed) = place_of(item)?;
            let sealed = Sealed::from_bytes(sealed).map_err(|error| error.to_string())?;
            ring.reseal(&context, &sealed)
                .map(|sealed| sealed.to_bytes())
                .map_err(|error| error.to_string())
        })
        .await?;
    match resealed {
        portway_store::Resealed::Done(count) => {
            key_file::replace(key_file, &ring.retire())?;
            Ok(count)
        }
        portway_store::Resealed::Undone(error) => Err(internal(error.into())),
    }
}

fn place_of(item: portway_store::SealedItem<'_>) -> Result<(Context, &[u8]), String> {
    match item {
        portway_store::SealedItem::Secret { reference: FINGERPRINT_KEY, sealed } => {
            Ok((FingerprintKey::context(), sealed))
        }
        portway_store::SealedItem::Secret { reference: SshKey::REFERENCE, sealed } => {
            Ok((SshKey::context(), sealed))
        }
        portway_store::SealedItem::Secret { reference, sealed } => {
            let reference: Reference =
                reference.parse().map_err(|_| format!("`{reference}` is no reference"))?;
            Ok((Context::secret(&reference), sealed))
        }
        portway_store::SealedItem::CertificateKey { certificate, sealed } => {
            Ok((certificates::key_context(certificate), sealed))
        }
    }
}
