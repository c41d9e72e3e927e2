//! Opening: migrations, newer schemas, damage; and that both databases have one schema.

use portway_model::Role;
use portway_store::{Backend, PageRequest, SiteFilter, Store, StoreError, Visible};

use crate::support::{TestDb, add_many, add_site, add_user, name, run_sql, site, site_names, user};

pub(crate) async fn an_open_store_can_be_opened_again(db: &TestDb) {
    add_site(&db.store, site("shop", None, &["shop.example"])).await;

    let again = Store::open(&db.url).await.unwrap();
    add_site(&again, site("blog", None, &["blog.example"])).await;

    let filter = SiteFilter::default();
    assert_eq!(site_names(&db.store, Visible::All, &filter).await, ["blog", "shop"]);
    assert_eq!(db.store.health().await.unwrap().schema, again.health().await.unwrap().schema);
    again.close().await.unwrap();
}

pub(crate) async fn managers_that_start_together_migrate_once(db: &TestDb) {
    let url = match db.store.backend() {
        Backend::Sqlite => format!("{}-fresh", db.address()),
        Backend::Postgres => {
            db.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            db.address()
        }
    };
    let url: portway_store::DatabaseUrl = url.parse().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = url.clone();
        tasks.spawn(async move { Store::open(&url).await });
    }

    for store in tasks.join_all().await {
        let store = store.unwrap();
        assert_eq!(store.sites().count(Visible::All).await.unwrap(), 0);
        store.close().await.unwrap();
    }
}

pub(crate) async fn a_newer_schema_is_refused(db: &TestDb) {
    db.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_future', 0)").await;

    let error = Store::open(&db.url).await.unwrap_err();

    assert!(
        matches!(&error, StoreError::NewerSchema { unknown } if unknown == "m9999_future"),
        "{error:?}"
    );
    assert!(error.to_string().contains("m9999_future"), "{error}");
}

pub(crate) async fn a_damaged_row_is_named(db: &TestDb) {
    add_site(&db.store, site("shop", None, &[])).await;
    db.sql("UPDATE sites SET spec = '{'").await;

    let error = db.store.sites().by_name(Visible::All, &name("shop")).await.unwrap_err();

    assert!(
        matches!(&error, StoreError::Corrupt { what, .. } if what == "sites.spec"),
        "{error:?}"
    );
}

pub(crate) async fn foreign_cursors_are_refused(db: &TestDb) {
    add_many(&db.store, "site", 3).await;
    let filter = SiteFilter::default();
    let first = PageRequest::first(1);
    let page = db.store.sites().list(Visible::All, &filter, &first).await.unwrap();
    let next = first.next(&page).unwrap();

    let elsewhere = db.store.users().list(&next).await;

    assert!(matches!(elsewhere, Err(StoreError::BadCursor)), "{elsewhere:?}");
    db.store.sites().list(Visible::All, &filter, &next).await.unwrap();
}

pub(crate) async fn sites_of_an_earlier_schema_are_found_by_short_texts(db: &TestDb) {
    add_many(&db.store, "site", 1200).await;
    add_site(&db.store, site("zz", None, &["qu.example"])).await;
    let before = match db.store.backend() {
        Backend::Sqlite => {
            "DROP TABLE site_search_pieces; \
             UPDATE sites SET search = rtrim(search, char(10))"
        }
        Backend::Postgres => {
            "DROP INDEX sites_pieces; DROP FUNCTION portway_pieces; \
             UPDATE sites SET search = rtrim(search, E'\\n')"
        }
    };
    db.sql(before).await;
    db.sql("DELETE FROM seaql_migrations WHERE version = 'm0003_short_texts'").await;

    let store = Store::open(&db.url).await.unwrap();

    for text in ["zz", "qu", "q"] {
        let filter = SiteFilter { text: Some(text.to_owned()), ..SiteFilter::default() };
        assert_eq!(site_names(&store, Visible::All, &filter).await, ["zz"], "{text}");
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn both_databases_have_one_schema() {
    let sqlite = TestDb::sqlite().await;
    let Some(postgres) = TestDb::postgres("both_databases_have_one_schema").await else { return };
    let of_sqlite = sqlite
        .rows(
            "SELECT m.name || '.' || c.name || ' ' || \
                CASE upper(c.type) WHEN 'BLOB' THEN 'bytes' WHEN 'INTEGER' THEN 'number' \
                    WHEN 'TEXT' THEN 'text' ELSE c.type END || \
                CASE WHEN c.\"notnull\" OR c.pk THEN ' not null' ELSE '' END || \
                CASE WHEN c.pk THEN ' key' ELSE '' END \
             FROM sqlite_schema m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' \
                AND m.name NOT LIKE 'site_search%' AND m.name <> 'seaql_migrations' ORDER BY m.name || '.' || c.name",
        )
        .await;
    let of_postgres = postgres
        .rows(
            "SELECT c.table_name || '.' || c.column_name || ' ' || \
                CASE c.data_type WHEN 'uuid' THEN 'bytes' WHEN 'bytea' THEN 'bytes' \
                    WHEN 'bigint' THEN 'number' WHEN 'boolean' THEN 'number' \
                    ELSE c.data_type END || \
                CASE c.is_nullable WHEN 'NO' THEN ' not null' ELSE '' END || \
                CASE WHEN EXISTS (SELECT 1 FROM information_schema.table_constraints t \
                    JOIN information_schema.key_column_usage k USING (constraint_name) \
                    WHERE t.constraint_type = 'PRIMARY KEY' AND k.table_name = c.table_name \
                    AND k.column_name = c.column_name) THEN ' key' ELSE '' END \
             FROM information_schema.columns c \
             WHERE c.table_schema = 'public' AND c.table_name <> 'seaql_migrations' \
             ORDER BY (c.table_name || '.' || c.column_name) COLLATE \"C\"",
        )
        .await;
    assert!(of_sqlite.len() > 100);
    assert_eq!(of_sqlite, of_postgres);

    let indexes =
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1";
    let of_sqlite = sqlite.rows(indexes).await;
    let of_postgres = postgres
        .rows(
            "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             LEFT JOIN pg_constraint k ON k.conindid = c.oid \
             WHERE c.relnamespace = 'public'::regnamespace AND k.oid IS NULL \
             AND c.relname NOT IN ('sites_search', 'sites_pieces') ORDER BY c.relname::text COLLATE \"C\"",
        )
        .await;
    assert_eq!(of_sqlite, of_postgres);
    sqlite.remove().await;
    postgres.remove().await;
}

#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let db = TestDb::sqlite().await;
    add_site(&db.store, site("shop", None, &[])).await;
    let path = db.address().replace("sqlite:", "");
    let mode = |path: &str| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;

    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(&format!("{path}{suffix}")), 0o600, "{suffix:?}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    Store::open(&db.url).await.unwrap().close().await.unwrap();
    assert_eq!(mode(&path), 0o600);
    db.remove().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database, but long enough to look at: ".repeat(100)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let url = portway_store::DatabaseUrl::file(path.to_str().unwrap());

    let error = Store::open(&url).await.unwrap_err();

    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let nowhere = "/proc/portway/portway.db".parse().unwrap();
    let error = Store::open(&nowhere).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error:?}");
}

#[tokio::test]
async fn without_the_extension_searching_works_too() {
    let test = "without_the_extension_searching_works_too";
    let Some(db) = TestDb::postgres(test).await else { return };
    let role = format!("poor_{}", uuid::Uuid::now_v7().simple());
    db.sql(&format!(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP EXTENSION IF EXISTS pg_trgm; \
         CREATE ROLE {role} LOGIN PASSWORD 'poor'; GRANT ALL ON SCHEMA public TO {role}"
    ))
    .await;
    let (_, rest) =
        db.address().rsplit_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let url = format!("postgres://{role}:poor@{rest}").parse().unwrap();

    let store = Store::open(&url).await.unwrap();

    add_user(&store, user("ann", Role::Admin)).await;
    add_site(&store, site("shop", None, &["shop.example"])).await;
    assert!(!store.health().await.unwrap().has_text_index);
    let filter = SiteFilter { text: Some("hop.ex".to_owned()), ..SiteFilter::default() };
    assert_eq!(site_names(&store, Visible::All, &filter).await, ["shop"]);
    store.close().await.unwrap();

    // Once an administrator has created it, the next start makes the index.
    db.sql("CREATE EXTENSION pg_trgm").await;
    let store = Store::open(&url).await.unwrap();
    assert!(store.health().await.unwrap().has_text_index);
    assert_eq!(site_names(&store, Visible::All, &filter).await, ["shop"]);
    store.close().await.unwrap();
    run_sql(&db.address(), &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    db.remove().await;
}
