//! Passwords: which are accepted, how they are kept, and how many are hashed at once.

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use portway_model::{FieldPath, FindingCode, Findings};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Control, ControlError};

/// The fewest characters of a password.
const MIN_LENGTH: usize = 12;
/// The most bytes of a password; more would only cost time to hash.
pub(crate) const MAX_LENGTH: usize = 1024;
/// As many passwords are hashed at once.
const HASHERS: usize = 2;
/// As many may be hashed or wait for it: what two cores do within some seconds.
const ROOM: usize = 64;

/// The hash of a value nobody knows, with the library's parameters.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXJhbmRvbXNhbHQ$Zm9ydHl0d29mb3J0eXR3b2ZvcnR5dHdvZm9ydHl0d28";

/// The hash could not be made or read.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
struct HashError(String);

/// Where passwords are hashed. One takes a core and 19 MiB for a while, so few are hashed at once,
/// and of those who wait there are not more than can be served soon.
#[derive(Debug)]
pub(crate) struct Hashers {
    room: Semaphore,
    working: Semaphore,
}

/// Judges a new password of a user with these names (login name, mail address). All that is wrong
/// is added to `findings`, at `field`.
pub(crate) fn judge(password: &str, names: &[&str], field: &FieldPath, findings: &mut Findings) {
    let mut weak = |text: String, remedy: &str| {
        findings.error(FindingCode::WeakPassword, field, text).remedy(remedy);
    };
    let length = password.chars().count();
    if password.len() > MAX_LENGTH {
        return weak(
            format!("the password is longer than {MAX_LENGTH} bytes"),
            "a few uncommon words in a row are enough",
        );
    }
    if is_name(password, names) {
        weak(
            "the password is hardly more than the user's name or mail address".to_owned(),
            "take one that has nothing to do with them",
        );
    }
    if length < MIN_LENGTH {
        return weak(
            format!("the password has {length} character(s), and needs at least {MIN_LENGTH}"),
            "take a few words in a row; they are easy to keep in mind",
        );
    }
    let estimate = zxcvbn::zxcvbn(password, names);
    if estimate.score() < zxcvbn::Score::Three {
        let warning = estimate.feedback().and_then(zxcvbn::feedback::Feedback::warning);
        let why = warning.map(|warning| format!(": {}", sentence(&warning.to_string())));
        weak(
            format!("this password would be guessed soon{}", why.unwrap_or_default()),
            "add a few uncommon words",
        );
    }
}

fn is_name(password: &str, names: &[&str]) -> bool {
    let lower = password.to_lowercase();
    names
        .iter()
        .map(|name| name.to_lowercase())
        .filter(|name| !name.is_empty() && lower.contains(name))
        .any(|name| lower.replace(&name, "").len() < 4)
}

/// Within a sentence of ours a foreign one begins small and has no full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.trim_end_matches('.').chars();
    characters.next().into_iter().flat_map(char::to_lowercase).chain(characters).collect()
}

impl Hashers {
    pub(crate) fn new() -> Self {
        Self { room: Semaphore::new(ROOM), working: Semaphore::new(HASHERS) }
    }

    fn room(&self) -> Result<SemaphorePermit<'_>, ControlError> {
        self.room.try_acquire().map_err(|error| {
            let what = "too many logins are under way";
            ControlError::unavailable(what, "try again in a few seconds", 5, error)
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let room = self.room()?;
        let turn = self.working.acquire().await.map_err(failed)?;
        let result = tokio::task::spawn_blocking(work).await;
        drop((turn, room));
        result.map_err(failed)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> ControlError {
    ControlError::internal("hashing a password", error)
}

impl Control {
    /// Hashes a password that was judged to be good.
    pub(crate) async fn hash_password(&self, password: &str) -> Result<String, ControlError> {
        let password = password.to_owned();
        self.inner.hashing.run(move || hash(&password)).await?.map_err(failed)
    }

    /// Tells whether a password is the one that was hashed.
    pub(crate) async fn is_password(
        &self,
        password: &str,
        hash: Option<String>,
    ) -> Result<bool, ControlError> {
        let password: String = password.chars().take(MAX_LENGTH).collect();
        self.inner.hashing.run(move || verify(&password, hash.as_deref())).await
    }
}

/// Hashes a password with argon2id (RFC 9106; the library's parameters are OWASP's). It takes tens
/// of milliseconds.
fn hash(password: &str) -> Result<String, HashError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| HashError(error.to_string()))
}

/// Tells whether a password is the one that was hashed. Without a hash (an unknown user, one who
/// has no password yet) the same work is done, so that the time tells nothing.
fn verify(password: &str, hash: Option<&str>) -> bool {
    let matches =
        Argon2::default().verify_password(password.as_bytes(), hash.unwrap_or(NOBODY)).is_ok();
    matches && hash.is_some()
}

#[cfg(test)]
mod tests {
    use portway_model::ResourceKind;

    use super::*;

    fn judged(password: &str) -> Vec<String> {
        let names = ["alexander", "alexander@example.org"];
        let mut findings = Findings::about(ResourceKind::User, "alexander");
        judge(password, &names, &FieldPath::root().key("password"), &mut findings);
        let found = findings.into_vec();
        assert!(found.iter().all(|finding| finding.is_error() && finding.remedy.is_some()));
        found.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn weak_passwords_are_refused_with_every_reason() {
        let short = "the password has 5 character(s), and needs at least 12";
        assert_eq!(judged("short"), [short]);
        let name = "the password is hardly more than the user's name or mail address";
        assert_eq!(judged("alexander").len(), 2);
        assert_eq!(judged("alexander123")[0], name);
        for common in ["passwordpassword", "123456789012"] {
            let found = judged(common);
            assert!(found[0].starts_with("this password would be guessed soon: "), "{found:?}");
        }
        assert_eq!(judged(&"long ".repeat(300)), ["the password is longer than 1024 bytes"]);
        assert!(judged("").iter().any(|text| text.contains("0 character(s)")));
        assert!(judged("correct horse battery staple").is_empty());
    }

    #[test]
    fn a_hash_fits_its_password_alone() {
        let hash = hash("a long enough secret").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify("a long enough secret", Some(&hash)));
        assert!(!verify("another secret", Some(&hash)));
        assert!(!verify("a long enough secret", None));
    }

    #[test]
    fn an_unknown_user_costs_the_same_work() {
        let parameters =
            |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        let known = hash("a long enough secret").unwrap();
        assert_eq!(parameters(NOBODY), parameters(&known));
        assert!(argon2::password_hash::phc::PasswordHash::new(NOBODY).is_ok());
    }

    #[tokio::test]
    async fn who_would_wait_long_is_told_to_come_back() {
        let hashers = Hashers::new();
        let all = hashers.room.acquire_many(64).await.unwrap();

        let refused = hashers.run(|| ()).await;

        assert!(matches!(refused, Err(ControlError::Unavailable { .. })), "{refused:?}");
        drop(all);
        assert!(hashers.run(|| ()).await.is_ok());
    }
}
