//! Saved logins: one file per manager in the user's configuration folder, readable by its user
//! alone. It holds what a browser's session holds, never the password.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use portway_wire::{
    ProblemCode,
    auth::{Refresh, Tokens},
    client::{Client, ClientError},
};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// An access token that ends sooner than this is not used any more.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// The logins of this user.
#[derive(Clone, Debug)]
pub(crate) struct Logins {
    folder: Utf8PathBuf,
}

/// A login with one manager.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The manager's address.
    pub(crate) server: String,
    /// Who is logged in.
    pub(crate) user: String,
    access_token: String,
    access_ends_at: Timestamp,
    refresh_token: String,
}

impl Login {
    /// Returns the login that tokens make.
    pub(crate) fn new(server: &str, tokens: &Tokens, now: Timestamp) -> Self {
        let lifetime = SignedDuration::from_secs(i64::try_from(tokens.expires_in).unwrap_or(0));
        Self {
            server: server.to_owned(),
            user: tokens.user.name.clone(),
            access_token: tokens.access_token.clone(),
            access_ends_at: now.checked_add(lifetime).unwrap_or(now),
            refresh_token: tokens.refresh_token.clone(),
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.access_ends_at.duration_since(now) > MARGIN
    }
}

impl Logins {
    /// Returns the logins in the user's configuration folder.
    pub(crate) fn in_folder(config: &Utf8Path) -> Self {
        Self { folder: config.join("logins") }
    }

    /// Returns a token for a manager, renewed where it ended, or nothing without a login.
    pub(crate) async fn token(
        &self,
        server: &str,
        anonymous: &Client,
        now: Timestamp,
    ) -> Result<Option<String>, Failure> {
        match self.load(server)? {
            None => return Ok(None),
            Some(login) if login.is_fresh(now) => return Ok(Some(login.access_token)),
            Some(_) => {}
        }
        // A refresh token works once: of two commands at a time, the second finds what the first
        // has brought.
        let lock = self.lock()?;
        let Some(login) = self.load(server)? else { return Ok(None) };
        if login.is_fresh(now) {
            return Ok(Some(login.access_token));
        }
        let refresh = Refresh { refresh_token: login.refresh_token };
        let tokens = anonymous.refresh(&refresh).await.map_err(|error| ended(error, server))?;
        self.save(&Login::new(server, &tokens, now))?;
        drop(lock);
        Ok(Some(tokens.access_token))
    }

    /// Returns the login with a manager.
    pub(crate) fn load(&self, server: &str) -> Result<Option<Login>, Failure> {
        let path = self.path(server);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, &error)),
        };
        let mode =
            fs::metadata(&path).map_err(|error| unusable(&path, &error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Failure::failed(format!("{path} can be read by others"))
                .help(format!("log in anew after `chmod 600 {path}`")));
        }
        serde_json::from_str(&text).map(Some).map_err(|error| unusable(&path, &error))
    }

    /// Keeps a login.
    pub(crate) fn save(&self, login: &Login) -> Result<(), Failure> {
        let path = self.path(&login.server);
        let text = serde_json::to_string_pretty(login).map_err(|error| unusable(&path, &error))?;
        self.make_folder()?;
        replace(&path, text.as_bytes()).map_err(|error| unusable(&path, &error))
    }

    /// Forgets the login with a manager; tells whether there was one.
    pub(crate) fn forget(&self, server: &str) -> Result<bool, Failure> {
        let path = self.path(server);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Returns an open file that is locked until it is dropped.
    fn lock(&self) -> Result<File, Failure> {
        self.make_folder()?;
        let path = self.folder.join("lock");
        let open = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = open.map_err(|error| unusable(&path, &error))?;
        file.lock().map_err(|error| unusable(&path, &error))?;
        Ok(file)
    }

    fn make_folder(&self) -> Result<(), Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| unusable(&self.folder, &error))
    }

    fn path(&self, server: &str) -> Utf8PathBuf {
        // Different addresses must have different names, and none may leave the folder.
        let name: String = server
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => {
                    char::from(byte).to_string()
                }
                _ => format!("_{byte:02x}"),
            })
            .collect();
        self.folder.join(format!("{name}.json"))
    }
}

/// Writes beside the file and puts it in place in one step, so that a crash loses no login.
fn replace(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Utf8Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn ended(error: ClientError, server: &str) -> Failure {
    match error.problem().map(|problem| problem.code) {
        Some(ProblemCode::Unauthenticated) => {
            Failure::new(Exit::NotAllowed, format!("the login with {server} has ended"))
                .help(format!("log in again: portway login {server}"))
        }
        Some(_) | None => error.into(),
    }
}

fn unusable(path: &Utf8Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::failed(format!("cannot use {path}")).because(error)
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(folder: &tempfile::TempDir) -> Logins {
        Logins::in_folder(Utf8Path::from_path(folder.path()).unwrap())
    }

    fn login(server: &str) -> Login {
        Login {
            server: server.to_owned(),
            user: "ann".to_owned(),
            access_token: "access".to_owned(),
            access_ends_at: "2026-01-01T01:00:00Z".parse().unwrap(),
            refresh_token: "refresh".to_owned(),
        }
    }

    #[test]
    fn a_login_is_kept_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let logins = logins(&folder);
        let login = login("https://portway.example:8443");
        logins.save(&login).unwrap();
        let mode = |path: &Utf8Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&logins.path(&login.server)), 0o600);
        assert_eq!(mode(&logins.folder), 0o700);
        assert_eq!(logins.load(&login.server).unwrap(), Some(login.clone()));
        assert!(logins.forget(&login.server).unwrap());
        assert_eq!(logins.load(&login.server).unwrap(), None);
        assert!(!logins.forget(&login.server).unwrap());
    }

    #[test]
    fn a_login_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let logins = logins(&folder);
        let login = login("https://a.example");
        logins.save(&login).unwrap();
        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(logins.path(&login.server), open).unwrap();
        assert!(logins.load(&login.server).unwrap_err().text.contains("read by others"));
    }

    #[test]
    fn no_address_leaves_the_folder_or_meets_another() {
        let folder = tempfile::tempdir().unwrap();
        let logins = logins(&folder);
        let path = logins.path("https://../../x");
        assert_eq!(path.parent(), Some(logins.folder.as_path()));
        assert_ne!(logins.path("https://a_b"), logins.path("https://a/b"));
    }

    #[test]
    fn a_token_about_to_end_is_not_fresh() {
        let login = login("https://a.example");
        assert!(login.is_fresh("2026-01-01T00:59:00Z".parse().unwrap()));
        assert!(!login.is_fresh("2026-01-01T00:59:45Z".parse().unwrap()));
        assert!(!login.is_fresh("2026-01-02T00:00:00Z".parse().unwrap()));
    }
}
