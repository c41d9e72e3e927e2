//! Databases to throw away, and short ways to fill them.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use portway_model::{
    Bounds, HostPattern, Id, Name, Origin, ResourceKind, RevisionNumber, Role, Site, User,
};
use portway_store::{
    AuditEntry, AuditOutcome, ChangeDraft, CommitError, DatabaseUrl, Expected, Page, PageRequest,
    RevisionDraft, SiteFilter, SiteVersion, Store, StoreError, UserVersion, Visible,
};
use sea_orm::sqlx::{self, Connection, Executor};
use serde_json::json;
use uuid::Uuid;

/// A fresh database with an open store.
pub(crate) struct TestDb {
    pub(crate) store: Store,
    pub(crate) url: DatabaseUrl,
    place: Place,
}

enum Place {
    File(tempfile::TempDir),
    Server { server: String, name: String },
}

impl TestDb {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portway.db");
        let url = DatabaseUrl::file(path.to_str().unwrap());
        let store = Store::open(&url).await.unwrap();
        Self { store, url, place: Place::File(folder) }
    }

    /// Returns nothing, and says so, where no PostgreSQL is installed.
    pub(crate) async fn postgres(test: &str) -> Option<Self> {
        let Some(server) = postgres_server() else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs PostgreSQL");
            eprintln!("skipped: {test}: PostgreSQL is not installed");
            return None;
        };
        let name = format!("t{}", Uuid::now_v7().simple());
        run_sql(&server, &format!("CREATE DATABASE {name}")).await;
        let url = address(&server, &name);
        let store = Store::open(&url.parse().unwrap()).await.unwrap();
        Some(Self { store, url: url.parse().unwrap(), place: Place::Server { server, name } })
    }

    pub(crate) async fn remove(self) {
        self.store.close().await.unwrap();
        if let Place::Server { server, name } = &self.place {
            run_sql(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }

    /// Returns the address with its password, for another process.
    pub(crate) fn address(&self) -> String {
        match &self.place {
            Place::File(folder) => {
                format!("sqlite:{}", folder.path().join("portway.db").to_str().unwrap())
            }
            Place::Server { server, name } => address(server, name),
        }
    }

    /// Runs statements behind the store's back.
    pub(crate) async fn sql(&self, sql: &str) {
        match &self.place {
            Place::File(_) => {
                let path = self.address().replacen("sqlite:", "sqlite://", 1);
                let mut connection = sqlx::SqliteConnection::connect(&path).await.unwrap();
                connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
                connection.close().await.unwrap();
            }
            Place::Server { .. } => run_sql(&self.address(), sql).await,
        }
    }

    /// Returns rows of text, read behind the store's back.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let sql = sqlx::AssertSqlSafe(sql);
        match &self.place {
            Place::File(_) => {
                let path = self.address().replacen("sqlite:", "sqlite://", 1);
                let mut connection = sqlx::SqliteConnection::connect(&path).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
            }
            Place::Server { .. } => {
                let mut connection = sqlx::PgConnection::connect(&self.address()).await.unwrap();
                sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
            }
        }
    }
}

/// Starts the server that all tests of this run share, and returns its address.
fn postgres_server() -> Option<String> {
    if let Ok(url) = std::env::var("PORTWAY_TEST_POSTGRES") {
        return Some(url);
    }
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/testbed/start-postgres.sh");
    let installed = Command::new(&script).arg("bin").output().unwrap().status.success();
    if !installed {
        return None;
    }
    // The test runner starts a process for each test; the server lives as long as the runner.
    let runner = std::os::unix::process::parent_id().to_string();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{runner}"));
    let output = Command::new(&script)
        .arg("start")
        .arg(&folder)
        .args(["--while", &runner])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "PostgreSQL does not start: {said}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn address(server: &str, database: &str) -> String {
    format!("{}/{database}", server.rsplit_once('/').unwrap().0)
}

pub(crate) async fn run_sql(url: &str, sql: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
    connection.close().await.unwrap();
}

/// The time at which tests happen; columns hold microseconds.
pub(crate) fn now() -> Timestamp {
    "2026-01-02T03:04:05.678901Z".parse().unwrap()
}

pub(crate) fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

pub(crate) fn id<T>() -> Id<T> {
    Id::from_uuid(Uuid::now_v7())
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn hosts(texts: &[&str]) -> Vec<HostPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn audit_entry(action: &str) -> AuditEntry {
    AuditEntry {
        at: now(),
        actor: None,
        actor_name: "root".to_owned(),
        owner: None,
        action: action.to_owned(),
        resource_kind: Some(ResourceKind::Site),
        resource_id: None,
        resource_name: "shop".to_owned(),
        outcome: AuditOutcome::Done,
        detail: json!({}),
        address: Some("127.0.0.1".to_owned()),
        request_id: None,
    }
}

pub(crate) fn draft(changes: Vec<ChangeDraft>) -> RevisionDraft {
    RevisionDraft {
        author: None,
        author_name: "root".to_owned(),
        message: "test".to_owned(),
        origin: Origin::Api,
        changes,
        judged_at: None,
        site_limits: [].into(),
        secrets: Vec::new(),
        audit: audit_entry("site.update"),
        idempotency: None,
    }
}

pub(crate) fn site(site_name: &str, owner: Option<Id<User>>, host_names: &[&str]) -> SiteVersion {
    SiteVersion {
        name: name(site_name),
        owner,
        origin: Origin::Api,
        spec: json!({ "hosts": host_names, "to": "127.0.0.1:5000" }),
        hosts: hosts(host_names),
        tags: Vec::new(),
        nodes: Vec::new(),
    }
}

pub(crate) fn user(user_name: &str, role: Role) -> UserVersion {
    UserVersion {
        name: user_name.parse().unwrap(),
        email: None,
        role,
        bounds: Bounds::default(),
        active: true,
    }
}

pub(crate) async fn commit(
    store: &Store,
    changes: Vec<ChangeDraft>,
) -> Result<RevisionNumber, CommitError> {
    store.revisions().commit(&draft(changes), Visible::All, now()).await
}

pub(crate) async fn add_site(store: &Store, version: SiteVersion) -> Id<Site> {
    let site = id();
    commit(store, vec![ChangeDraft::site(site, Expected::New, version)]).await.unwrap();
    site
}

pub(crate) async fn add_user(store: &Store, version: UserVersion) -> Id<User> {
    let user = id();
    commit(store, vec![ChangeDraft::user(user, Expected::New, version)]).await.unwrap();
    user
}

/// Makes `count` sites called `<prefix>-00000` and so on in one revision.
pub(crate) async fn add_many(store: &Store, prefix: &str, count: usize) -> Vec<Id<Site>> {
    static HOSTS: AtomicU64 = AtomicU64::new(0);
    let ids: Vec<Id<Site>> = (0..count).map(|_| id()).collect();
    let changes = ids.iter().enumerate().map(|(number, site_id)| {
        let host = format!("h{}.example.org", HOSTS.fetch_add(1, Ordering::Relaxed));
        let version = site(&format!("{prefix}-{number:05}"), None, &[&host]);
        ChangeDraft::site(*site_id, Expected::New, version)
    });
    commit(store, changes.collect()).await.unwrap();
    ids
}

pub(crate) async fn site_names(
    store: &Store,
    visible: Visible,
    filter: &SiteFilter,
) -> Vec<String> {
    let rows = all_pages(7, |page| {
        let store = store.clone();
        let filter = filter.clone();
        async move { store.sites().list(visible, &filter, &page).await }
    });
    rows.await.into_iter().map(|row| row.name.to_string()).collect()
}

/// Reads a list to its end, `limit` things at a time.
pub(crate) async fn all_pages<T, F>(limit: u32, list: impl Fn(PageRequest) -> F) -> Vec<T>
where
    F: Future<Output = Result<Page<T>, StoreError>>,
{
    let mut items = Vec::new();
    let mut request = Some(PageRequest::first(limit));
    while let Some(page) = request {
        let read = list(page.clone()).await.unwrap();
        assert!(read.items.len() <= limit as usize);
        request = page.next(&read);
        items.extend(read.items);
    }
    items
}
