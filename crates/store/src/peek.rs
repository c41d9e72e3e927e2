//! A look at a database that may not be ours: nothing is made, migrated or left behind.

use sea_orm::{
    DatabaseConnection, EntityTrait, QuerySelect, SqlxPostgresConnector, SqlxSqliteConnector,
    sqlx::{
        self, Connection as _, PgConnection,
        postgres::PgPoolOptions,
        sqlite::{SqliteConnectOptions, SqlitePoolOptions},
    },
};
use sea_orm_migration::SchemaManager;
use tokio::time::timeout;

use crate::{
    DatabaseUrl, Store, StoreError,
    address::Place,
    connection::{PATIENCE, could_not_open},
    entity::installation,
    error::{self, failed},
};

const DOING: &str = "look at the installation";

impl Store {
    /// Returns the value by which the master key of the installation in a database is known;
    /// nothing where there is no database or no installation yet.
    pub async fn key_check_at(url: &DatabaseUrl) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(connection) = connect(url).await? else { return Ok(None) };
        let found = timeout(PATIENCE, key_check(&connection)).await;
        let found = found.unwrap_or_else(|_| Err(failed(DOING)(error::timed_out(PATIENCE))));
        let closed = connection.close().await.map_err(failed(DOING));
        let found = found?;
        closed.map(|()| found)
    }
}

async fn key_check(connection: &DatabaseConnection) -> Result<Option<Vec<u8>>, StoreError> {
    let schema = SchemaManager::new(connection);
    if !schema.has_table("installation").await.map_err(failed(DOING))? {
        return Ok(None);
    }
    installation::Entity::find()
        .select_only()
        .column(installation::Column::KeyCheck)
        .into_tuple()
        .one(connection)
        .await
        .map_err(failed(DOING))
}

async fn connect(url: &DatabaseUrl) -> Result<Option<DatabaseConnection>, StoreError> {
    let open = |source| could_not_open(url, source);
    match url.place() {
        Place::File(path) => {
            let wrong = |source| StoreError::File { path: path.to_owned(), source };
            if !tokio::fs::try_exists(path).await.map_err(wrong)? {
                return Ok(None);
            }
            let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
            let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
            let pool = pool.connect_with(options).await.map_err(open)?;
            Ok(Some(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)))
        }
        Place::Server(options) => {
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
            let options = options.as_ref().clone().application_name("portway");
            // A pool tries until its time is up, and then does not say what was wrong.
            let first = timeout(PATIENCE, PgConnection::connect_with(&options)).await;
            let first = first.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(open)?;
            first.close().await.map_err(open)?;
            let pool = pool.connect_with(options).await.map_err(open)?;
            Ok(Some(SqlxPostgresConnector::from_sqlx_postgres_pool(pool)))
        }
    }
}
