//! What is looked at before a manager makes or starts anything.

use camino::Utf8Path;
use portway_secrets::key_file::{self, KeyFileError};
use portway_store::{DatabaseUrl, Store};

use crate::StartError;

/// Refuses a database that was sealed with another master key than the one of this file, or whose
/// key is missing. Makes nothing and changes nothing; where neither is there yet, all is well.
pub async fn check_key(key_file: &Utf8Path, database: &DatabaseUrl) -> Result<(), StartError> {
    let ring = match key_file::load(key_file) {
        Ok(ring) => Some(ring),
        Err(KeyFileError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(check) = Store::key_check_at(database).await? else { return Ok(()) };
    let (database, key_file) = (database.to_string(), key_file.to_owned());
    match ring {
        None => Err(StartError::NoKey { database, key_file }),
        Some(ring) => ring.verify(&check).map_err(|source| StartError::WrongKey {
            database,
            key_file,
            source,
        }),
    }
}
