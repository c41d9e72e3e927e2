//! Where the database is. A password in the address is never printed.

use std::{fmt, net::IpAddr, str::FromStr};

use camino::{Utf8Path, Utf8PathBuf};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The address of a database: `sqlite:/var/lib/portway/portway.db`, an absolute path, or
/// `postgres://user:password@host/database`.
#[derive(Clone)]
pub struct DatabaseUrl(Place);

#[derive(Clone)]
pub(crate) enum Place {
    File(Utf8PathBuf),
    Server(Box<PgConnectOptions>),
}

/// Why a text is no address of a database. The text is not repeated: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Neither of the two kinds.
    #[error(
        "a database is `sqlite:/path/to/file` or `postgres://user:password@host:port/database`"
    )]
    Kind,
    /// A path that depends on the current folder.
    #[error("the path of the database must be absolute, `{0}` is not")]
    Relative(Utf8PathBuf),
    /// Something in a `postgres://` address is wrong.
    #[error("the address of the PostgreSQL database is not valid")]
    Postgres(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DatabaseUrl {
    /// Returns the address of the `SQLite` database in `path`.
    pub fn file(path: impl Into<Utf8PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return server(text).map(|options| Self(Place::Server(Box::new(options))));
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        let path = if path.starts_with("///") { path.trim_start_matches("//") } else { path };
        if path.is_empty() || path.contains("://") {
            return Err(DatabaseUrlError::Kind);
        }
        if Utf8Path::new(path).is_absolute() {
            Ok(Self::file(path))
        } else {
            Err(DatabaseUrlError::Relative(path.into()))
        }
    }
}

fn server(text: &str) -> Result<PgConnectOptions, DatabaseUrlError> {
    let options: PgConnectOptions =
        text.parse().map_err(|error| DatabaseUrlError::Postgres(Box::new(error)))?;
    let says_how = ["sslmode=", "ssl-mode="].iter().any(|parameter| text.contains(parameter));
    if says_how || options.get_socket().is_some() || is_this_machine(options.get_host()) {
        return Ok(options);
    }
    // Another machine is spoken to only when it proves who it is, unless `?sslmode=` says otherwise.
    Ok(options.ssl_mode(PgSslMode::VerifyFull))
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.starts_with('/')
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => write!(f, "sqlite:{path}"),
            Place::Server(options) => {
                let user = options.get_username();
                write!(f, "postgres://{user}@{}:{}", options.get_host(), options.get_port())?;
                write!(f, "/{}", options.get_database().unwrap_or(user))
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_without_their_password() {
        for (text, printed) in [
            ("sqlite:/var/lib/portway.db", "sqlite:/var/lib/portway.db"),
            ("sqlite:///var/lib/portway.db", "sqlite:/var/lib/portway.db"),
            ("/tmp/a.db", "sqlite:/tmp/a.db"),
            ("postgres://me:hush@127.0.0.1:5433/portway", "postgres://me@127.0.0.1:5433/portway"),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), printed);
            assert!(!format!("{url:?}").contains("hush"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "sqlite:", "portway.db", "mysql://localhost/portway", "postgres://h:port/d"]
        {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn another_machine_must_prove_who_it_is() {
        for (text, verified) in [
            ("postgres://me@db.example.org/portway", true),
            ("postgres://me@db.example.org/portway?sslmode=require", false),
            ("postgres://me@127.0.0.1/portway", false),
            ("postgres://me@[::1]/portway", false),
        ] {
            let options = server(text).unwrap();
            let mode = options.get_ssl_mode();
            assert_eq!(matches!(mode, PgSslMode::VerifyFull), verified, "{text}: {mode:?}");
        }
    }
}
