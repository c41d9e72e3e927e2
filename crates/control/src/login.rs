//! Logging in by name and password, and how often one may try.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portway_model::{FieldPath, FindingCode, Findings, ResourceKind};
use portway_store::{AuditOutcome, LoginAttempt, LoginRefused, SessionKind, UserRow};
use portway_wire::{
    auth::{Login, Tokens, Whoami},
    user::ChangePassword,
};

use crate::{
    Control, ControlError,
    actor::{Identity, Via},
    audit::Record,
    auth::{ClientInfo, whoami},
    password,
    rights::Account,
    session::later,
    users,
};

/// Wrong passwords for an account from a network within [`WINDOW`].
const ATTEMPTS: u32 = 10;
/// Wrong passwords from a network within [`WINDOW`], for whatever accounts: who tries one password
/// on every name is stopped, too, and cannot fill the audit log.
const ATTEMPTS_OF_NETWORK: u32 = 100;
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// What stands for every account; no user has such a name.
const EVERY_ACCOUNT: &str = "*";
const WRONG: &str = "the name or the password is wrong";

/// An attempt in progress, as it is counted.
pub(crate) struct Attempt {
    of_network: LoginAttempt,
    of_account: LoginAttempt,
}

impl Control {
    /// Logs a program in.
    pub async fn login(&self, login: &Login, client: &ClientInfo) -> Result<Tokens, ControlError> {
        let row = self.admit(login, client).await?;
        self.tokens_for(&row, client).await
    }

    /// Logs a browser in and returns the value of its cookie.
    pub async fn login_browser(
        &self,
        login: &Login,
        client: &ClientInfo,
    ) -> Result<(String, Whoami), ControlError> {
        let row = self.admit(login, client).await?;
        let (token, session) = self.begin_session(&row, SessionKind::Browser, client).await?;
        let identity = Identity::User(Box::new(row.user));
        let actor = client.actor(identity, Via::Session(session));
        Ok((token.expose().to_owned(), whoami(&actor)))
    }

    /// Judges a login, and writes down what came of it.
    async fn admit(&self, login: &Login, client: &ClientInfo) -> Result<UserRow, ControlError> {
        let Some(row) = self.verify(&login.name, &login.password, &client.from).await? else {
            let actor = client.stranger(account_of(&login.name));
            let record = Record::of(&actor, "login").outcome(AuditOutcome::Refused).detail(WRONG);
            self.write_audit(record).await?;
            return Err(ControlError::Unauthenticated(WRONG.to_owned()));
        };
        let actor = client.actor(Identity::User(Box::new(row.user.clone())), Via::Local);
        self.write_audit(Record::of(&actor, "login")).await?;
        Ok(row)
    }

    /// Returns the user with this name and password; an attempt that has neither is counted.
    async fn verify(
        &self,
        name: &str,
        password: &str,
        from: &str,
    ) -> Result<Option<UserRow>, ControlError> {
        let attempt = self.begin_attempt(name, from).await?;
        let judged = self.judge(name, password).await;
        match &judged {
            Ok(Some(_)) => self.succeeded(&attempt).await?,
            // It counts as failed unless it is told otherwise.
            Ok(None) => {}
            // The password was not judged.
            Err(_) => self.withdraw(&attempt).await?,
        }
        judged
    }

    /// The same work is done whether or not the user exists.
    async fn judge(&self, name: &str, password: &str) -> Result<Option<UserRow>, ControlError> {
        let row = match name.parse() {
            Ok(name) => self.inner.store.users().by_name(&name).await?,
            Err(_) => None,
        };
        let row = row.filter(|row| row.user.active);
        let hash = row.as_ref().and_then(|row| row.password_hash.clone());
        let right = self.is_password(password, hash).await?;
        Ok(row.filter(|_| right))
    }

    pub(crate) async fn begin_attempt(
        &self,
        name: &str,
        from: &str,
    ) -> Result<Attempt, ControlError> {
        let now = self.now();
        let network = network_of(from);
        let since = now.checked_sub(WINDOW).unwrap_or(now);
        let attempts = self.inner.store.login_attempts();
        let of_network = attempts
            .begin(EVERY_ACCOUNT, &network, ATTEMPTS_OF_NETWORK, since, now)
            .await
            .map_err(|refused| too_many(refused, now))?;
        match attempts.begin(account_of(name), &network, ATTEMPTS, since, now).await {
            Ok(of_account) => Ok(Attempt { of_network, of_account }),
            Err(refused) => {
                attempts.withdraw(of_network).await?;
                Err(too_many(refused, now))
            }
        }
    }

    async fn succeeded(&self, attempt: &Attempt) -> Result<(), ControlError> {
        let attempts = self.inner.store.login_attempts();
        attempts.succeeded(attempt.of_network).await?;
        Ok(attempts.succeeded(attempt.of_account).await?)
    }

    pub(crate) async fn withdraw(&self, attempt: &Attempt) -> Result<(), ControlError> {
        let attempts = self.inner.store.login_attempts();
        attempts.withdraw(attempt.of_network).await?;
        Ok(attempts.withdraw(attempt.of_account).await?)
    }
}

impl Account<'_> {
    /// Changes the actor's password. The login by which the actor came goes on; all others, with
    /// their refresh tokens, and all one-time links end. API tokens stay: they have nothing to do
    /// with the password.
    pub async fn change_password(&self, change: &ChangePassword) -> Result<(), ControlError> {
        const ACTION: &str = "user.password";
        let control = self.control;
        let (Some(user), Via::Session(session) | Via::Jwt(session)) =
            (self.actor.user(), &self.actor.via)
        else {
            let why = "log in with name and password to change it";
            return control.refuse(self.actor, ACTION, why).await;
        };
        let mut findings = Findings::about(ResourceKind::User, user.name.as_str());
        let names = users::names(user.name.as_str(), user.email.as_deref());
        password::judge(&change.new, &names, &FieldPath::root().key("new"), &mut findings);
        if findings.has_errors() {
            return Err(ControlError::Invalid(findings.into_vec()));
        }
        let known = control.verify(user.name.as_str(), &change.current, &self.actor.from).await?;
        if known.is_none() {
            let record = Record::of(self.actor, ACTION).outcome(AuditOutcome::Refused);
            control.write_audit(record.detail("the present password was wrong")).await?;
            return Err(ControlError::Invalid(not_the_present_one(findings)));
        }
        let hash = control.hash_password(&change.new).await?;
        let now = control.now();
        let entry = Record::of(self.actor, ACTION).detail("a password was changed").entry(now);
        let keep = portway_model::Id::from_uuid(*session);
        control.inner.store.users().change_password(user.id, &hash, keep, &entry, now).await?;
        Ok(())
    }
}

fn not_the_present_one(mut findings: Findings) -> Vec<portway_model::Finding> {
    let field = FieldPath::root().key("current");
    findings
        .error(FindingCode::InvalidValue, &field, "this is not your present password")
        .remedy("type it once more, or ask an administrator for a reset link");
    findings.into_vec()
}

/// A name as it is counted and written down; one that is none may have any length.
fn account_of(name: &str) -> &str {
    name.char_indices().nth(100).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}

/// Returns what is counted as one place. Whoever has an IPv6 address has a /64 of them.
fn network_of(from: &str) -> String {
    match from.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let network = Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX));
            format!("{network}/64")
        }
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) => from.to_owned(),
    }
}

fn too_many(refused: LoginRefused, now: Timestamp) -> ControlError {
    match refused {
        LoginRefused::TooMany { since } => {
            let until = later(since, WINDOW);
            let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            ControlError::TooManyAttempts { minutes: wait.as_secs().div_ceil(60).max(1) }
        }
        LoginRefused::Store(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_counted_as_one_place() {
        assert_eq!(network_of("192.0.2.9"), "192.0.2.9");
        assert_eq!(network_of("::ffff:192.0.2.9"), "192.0.2.9");
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network_of("2001:db8:1:2:ffff::1"), "2001:db8:1:2::/64");
        assert_eq!(network_of("local"), "local");
    }

    #[test]
    fn a_name_without_end_is_cut() {
        assert_eq!(account_of("ann"), "ann");
        assert_eq!(account_of(&"ä".repeat(500)).chars().count(), 100);
    }

    #[test]
    fn no_user_is_called_like_all_of_them() {
        assert!(EVERY_ACCOUNT.parse::<portway_model::UserName>().is_err());
    }
}
