//! Passwords: which are accepted, and how they are kept.

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};

/// The fewest characters of a password.
pub const MIN_LENGTH: usize = 12;
/// The most bytes of a password; more would only cost time to hash.
pub const MAX_LENGTH: usize = 1024;

/// The hash of a value nobody knows, with the library's parameters.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXJhbmRvbXNhbHQ$Zm9ydHl0d29mb3J0eXR3b2ZvcnR5dHdvZm9ydHl0d28";

/// Why a password is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too few characters.
    #[error(
        "a password has at least {MIN_LENGTH} characters; a few words in a row are easy to keep in mind"
    )]
    Short,
    /// Too many bytes.
    #[error("a password has at most {MAX_LENGTH} bytes")]
    Long,
    /// It contains the name.
    #[error("a password must not be the user's name or mail address")]
    Name,
    /// It would be guessed soon.
    #[error("this password would be guessed soon: {0}")]
    Common(String),
}

/// The hash could not be made or read.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
pub struct HashError(String);

/// Judges a new password of a user with these names (login name, mail address).
pub fn judge(password: &str, names: &[&str]) -> Result<(), PasswordError> {
    if password.chars().count() < MIN_LENGTH {
        return Err(PasswordError::Short);
    }
    if password.len() > MAX_LENGTH {
        return Err(PasswordError::Long);
    }
    let lower = password.to_lowercase();
    let is_name =
        |name: &&str| !name.is_empty() && lower.replace(&name.to_lowercase(), "").len() < 4;
    if names.iter().any(is_name) {
        return Err(PasswordError::Name);
    }
    let estimate = zxcvbn::zxcvbn(password, names);
    if estimate.score() < zxcvbn::Score::Three {
        let why = estimate
            .feedback()
            .and_then(zxcvbn::feedback::Feedback::warning)
            .map_or_else(|| "use a few uncommon words".to_owned(), |warning| warning.to_string());
        return Err(PasswordError::Common(why));
    }
    Ok(())
}

/// Hashes a password with argon2id (RFC 9106; the library's parameters are OWASP's). It takes tens
/// of milliseconds: call it where blocking is allowed.
pub fn hash(password: &str) -> Result<String, HashError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| HashError(error.to_string()))
}

/// Tells whether a password is the one that was hashed. Without a hash (an unknown user, one who
/// has no password yet) the same work is done, so that the time tells nothing.
pub fn verify(password: &str, hash: Option<&str>) -> bool {
    let matches =
        Argon2::default().verify_password(password.as_bytes(), hash.unwrap_or(NOBODY)).is_ok();
    matches && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        let names = ["alexander", "alexander@example.org"];
        assert_eq!(judge("short", &names), Err(PasswordError::Short));
        assert_eq!(judge("alexander123", &names), Err(PasswordError::Name));
        assert!(matches!(judge("passwordpassword", &names), Err(PasswordError::Common(_))));
        assert!(matches!(judge("123456789012", &names), Err(PasswordError::Common(_))));
        assert_eq!(judge("correct horse battery staple", &names), Ok(()));
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
}
