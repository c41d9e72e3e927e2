//! Who may: the client's address first, then name and password.
//!
//! A password is verified against its bcrypt hash on a thread for that, a few at a time, so that a
//! flood of wrong ones cannot take the workers. What was right once is remembered for a while by
//! a keyed hash, never by the password.

pub(crate) mod basic;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use self::basic::credentials;
use crate::content::{AccessRule, BasicRule};

/// How long verified credentials are remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// How many verified credentials are remembered.
const REMEMBERED: usize = 4096;

/// How long a request may wait for its turn to be verified.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many requests may wait for their turn.
const QUEUE: usize = 256;

/// Verified where a site has no user at all, so that this takes as long as if it had.
const NOBODY: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8Vd9LqZ0kB6W8dZ6zE1mJpV9p2Wb3K";

/// Why a request may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The client's address.
    #[error("the address {client} is not allowed: {}", network_text(.denied.as_ref()))]
    Address {
        /// The address.
        client: IpAddr,
        /// The network that is denied; nothing where it is in none that is allowed.
        denied: Option<IpNet>,
    },
    /// Name and password are missing or wrong.
    #[error("{}", credentials_text(.user.as_deref()))]
    Credentials {
        /// What the browser shows.
        realm: String,
        /// The name that was given.
        user: Option<String>,
    },
    /// Too many passwords are being verified.
    #[error("too many passwords are being verified at once")]
    Busy,
}

/// Judges the client's address, and returns the network for whose sake it may; nothing where all
/// may that are not denied.
pub(crate) fn check_address(rule: &AccessRule, client: IpAddr) -> Result<Option<IpNet>, Denied> {
    let within = |networks: &[IpNet]| networks.iter().find(|net| net.contains(&client)).copied();
    if let Some(denied) = within(&rule.deny) {
        return Err(Denied::Address { client, denied: Some(denied) });
    }
    let Some(allow) = &rule.allow else { return Ok(None) };
    within(allow).map(Some).ok_or(Denied::Address { client, denied: None })
}

/// Verifies passwords and remembers the right ones.
pub(crate) struct Authenticator {
    /// Makes what is remembered worthless outside this process.
    key: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Authenticator {
    /// Returns an authenticator that verifies at most `at_once` passwords at a time.
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            key: rand::random(),
            remembered: Mutex::default(),
            turns: Arc::new(Semaphore::new(at_once.max(1))),
            waiting: Semaphore::new(QUEUE),
        }
    }

    /// Returns the user whose name and password a request carries.
    pub(crate) async fn check(
        &self,
        rule: &BasicRule,
        headers: &HeaderMap,
    ) -> Result<String, Denied> {
        let denied = |user| Denied::Credentials { realm: rule.realm.clone(), user };
        let Some((user, password)) = credentials(headers) else { return Err(denied(None)) };
        // An unknown user costs the same time as a known one: some hash is verified for it too.
        let known = rule.users.get(&user);
        let hash = known.or_else(|| rule.users.values().next()).map_or(NOBODY, |hash| hash);
        let fingerprint = self.fingerprint(hash, &user, &password);
        if known.is_some() && self.remembers(&fingerprint) {
            return Ok(user);
        }
        let right = self.verify(password, hash.to_owned()).await?;
        if right && known.is_some() {
            self.remember(fingerprint);
            return Ok(user);
        }
        Err(denied(Some(user)))
    }

    async fn verify(&self, password: Vec<u8>, hash: String) -> Result<bool, Denied> {
        let _place = self.waiting.try_acquire().map_err(|_| Denied::Busy)?;
        let turn = timeout(QUEUE_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Denied::Busy) };
        let verified = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even when the client has left.
            let _turn = turn;
            bcrypt::verify(password, &hash)
        });
        match verified.await {
            Ok(Ok(right)) => Ok(right),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot verify a password hash");
                Ok(false)
            }
            Err(_) => Err(Denied::Busy),
        }
    }

    /// The hash is part of it, so a changed password is asked for anew.
    fn fingerprint(&self, hash: &str, user: &str, password: &[u8]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.key);
        for part in [hash.as_bytes(), user.as_bytes(), password] {
            hasher.update(part.len().to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    fn remembers(&self, fingerprint: &[u8; 32]) -> bool {
        self.remembered().get(fingerprint).is_some_and(|until| Instant::now() < *until)
    }

    fn remember(&self, fingerprint: [u8; 32]) {
        let now = Instant::now();
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, until| now < *until);
        }
        if remembered.len() < REMEMBERED {
            remembered.insert(fingerprint, now + REMEMBERED_FOR);
        }
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn network_text(denied: Option<&IpNet>) -> String {
    match denied {
        Some(network) => format!("{network} is denied"),
        None => "it is in no network that is allowed".to_owned(),
    }
}

fn credentials_text(user: Option<&str>) -> String {
    match user {
        Some(user) => format!("wrong name or password for `{user}`"),
        None => "name and password are missing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use http::{HeaderValue, header::AUTHORIZATION};

    use super::*;

    #[test]
    fn denied_networks_win_and_an_empty_list_allows_nobody() {
        let rule = |allow: Option<&[&str]>, deny: &[&str]| AccessRule {
            allow: allow.map(|list| list.iter().map(|net| net.parse().unwrap()).collect()),
            deny: deny.iter().map(|net| net.parse().unwrap()).collect(),
            basic: None,
        };
        let client: IpAddr = "10.0.0.1".parse().unwrap();
        let check = |rule| check_address(&rule, client);
        let network = |text: &str| Some(text.parse().unwrap());
        assert_eq!(check(rule(None, &[])), Ok(None));
        assert_eq!(check(rule(Some(&["10.0.0.0/8"]), &[])), Ok(network("10.0.0.0/8")));
        assert_eq!(check(rule(Some(&[]), &[])), Err(Denied::Address { client, denied: None }));
        let denied = Denied::Address { client, denied: network("10.0.0.1/32") };
        assert_eq!(check(rule(Some(&["10.0.0.0/8"]), &["10.0.0.1/32"])), Err(denied));
    }

    #[tokio::test]
    async fn right_credentials_pass_and_are_remembered_until_the_hash_changes() {
        let authenticator = Authenticator::new(1);
        let rule = rule("secret");
        let headers = basic("ada:secret");

        assert_eq!(authenticator.check(&rule, &headers).await.unwrap(), "ada");
        let fingerprint = authenticator.fingerprint(&rule.users["ada"], "ada", b"secret");
        assert!(authenticator.remembers(&fingerprint));

        let changed = self::rule("other");
        assert!(authenticator.check(&changed, &headers).await.is_err());
    }

    #[tokio::test]
    async fn wrong_unknown_and_missing_credentials_are_refused() {
        let authenticator = Authenticator::new(1);
        let rule = rule("secret");
        for wrong in ["ada:wrong", "bob:secret", ":", "ada"] {
            assert!(authenticator.check(&rule, &basic(wrong)).await.is_err(), "{wrong}");
        }
        assert!(authenticator.check(&rule, &HeaderMap::new()).await.is_err());
        let mut twice = basic("ada:secret");
        twice.append(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
        assert!(authenticator.check(&rule, &twice).await.is_err());
    }

    #[test]
    fn the_stand_in_hash_is_one() {
        assert!(bcrypt::verify("x", NOBODY).is_ok_and(|right| !right));
    }

    fn rule(password: &str) -> BasicRule {
        let hash = bcrypt::hash(password, 4).unwrap();
        BasicRule { realm: "r".into(), users: BTreeMap::from([("ada".into(), hash.into())]) }
    }

    fn basic(text: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(text));
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
    }
}
