//! Logging in and being known afterwards: sessions of browsers, JWTs, API tokens, and the local
//! socket, which knows its caller.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use portway_model::{Id, User};
use portway_secrets::{ApiToken, OneTimeToken, SessionToken};
use portway_store::{
    AuditOutcome, Link, LinkKind, LoginRefused, SessionKind, SessionRow, TokenRow, UserRow, Visible,
};
use portway_wire::{
    auth::{LinkView, Login, RedeemLink, Refresh, Setup, Tokens, Whoami},
    user::ChangePassword,
};
use uuid::Uuid;

use crate::{
    Control, ControlError,
    actor::{Actor, Identity, Scopes, Via},
    audit::Record,
    jwt, password,
    rights::Account,
    users::{self, NewUserFields, user_view},
};

/// Wrong logins per account and address within [`LOGIN_WINDOW`].
const LOGIN_ATTEMPTS: u32 = 10;
const LOGIN_WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// How long a login lasts that is not used.
const SESSION_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 30);
/// A session in use is noted at most this often, so that not every request is a write.
const TOUCH_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// How long the set-up link works.
pub(crate) const SETUP_LIFETIME: SignedDuration = SignedDuration::from_mins(30);
/// How long invitations and resets work.
pub(crate) const LINK_LIFETIME: SignedDuration = SignedDuration::from_hours(72);
const WRONG_LOGIN: &str = "the name or the password is wrong";
const WRONG_LINK: &str = "this link was used already or has ended; ask for a new one";

/// What a caller shows to be known.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// A JWT or an API token.
    Bearer(&'a str),
    /// The session cookie of a browser.
    Cookie(&'a str),
    /// The process at the other end of the local socket.
    Peer {
        /// Its user id.
        uid: u32,
        /// Its group ids.
        gids: &'a [u32],
    },
}

/// Where a login comes from.
#[derive(Clone, Debug, Default)]
pub struct ClientInfo {
    /// The address, or `local`.
    pub from: String,
    /// What the client calls itself.
    pub agent: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

impl Control {
    /// Returns who shows these credentials.
    pub async fn authenticate(
        &self,
        credentials: Credentials<'_>,
        from: &str,
        request_id: Option<String>,
    ) -> Result<Actor, ControlError> {
        let (identity, via) = match credentials {
            Credentials::Peer { uid, gids } => (self.machine(uid, gids)?, Via::Local),
            Credentials::Cookie(text) => self.by_cookie(text).await?,
            Credentials::Bearer(text) if text.starts_with("pwt_") => self.by_token(text).await?,
            Credentials::Bearer(text) => self.by_jwt(text).await?,
        };
        Ok(Actor { identity, via, from: from.to_owned(), request_id })
    }

    /// Logs a program in.
    pub async fn login(&self, login: &Login, client: &ClientInfo) -> Result<Tokens, ControlError> {
        let user = self.verify(login, client).await?;
        self.tokens_for(&user, client).await
    }

    /// Logs a browser in and returns the value of its cookie.
    pub async fn login_browser(
        &self,
        login: &Login,
        client: &ClientInfo,
    ) -> Result<(String, Whoami), ControlError> {
        let row = self.verify(login, client).await?;
        let (token, session) = self.begin_session(&row, SessionKind::Browser, client).await?;
        let user = row.user;
        let actor = Actor {
            identity: Identity::User(Box::new(user)),
            via: Via::Session(session),
            from: client.from.clone(),
            request_id: client.request_id.clone(),
        };
        Ok((token.expose().to_owned(), whoami(&actor)))
    }

    /// Exchanges a refresh token for the next access token. A refresh token that was exchanged
    /// before has been stolen or lost its answer: the session ends.
    pub async fn refresh(
        &self,
        refresh: &Refresh,
        client: &ClientInfo,
    ) -> Result<Tokens, ControlError> {
        let ended = || ControlError::Unauthenticated("this login has ended; log in again".into());
        let (id, token) = refresh.refresh_token.split_once('.').ok_or_else(ended)?;
        let id = Id::from_uuid(id.parse().map_err(|_| ended())?);
        let token: SessionToken = token.parse().map_err(|_| ended())?;
        let now = self.now();
        let sessions = self.inner.store.sessions();
        let (session, row) = sessions.valid(id, now).await?.ok_or_else(ended)?;
        if session.kind != SessionKind::Jwt {
            return Err(ended());
        }
        let fresh = new_token()?;
        let rotated = sessions
            .rotate(
                id,
                token.hash().as_bytes(),
                fresh.hash().as_bytes(),
                later(now, SESSION_LIFETIME),
                now,
            )
            .await?;
        if !rotated {
            sessions.revoke(Visible::All, id, now).await?;
            let actor = stranger(row.user.name.as_str(), client);
            let record = Record::of(&actor, "login.refresh")
                .outcome(AuditOutcome::Refused)
                .detail("a refresh token was used twice; the session was ended");
            self.write_audit(record).await?;
            return Err(ended());
        }
        self.tokens_of(&row, id.uuid(), &fresh)
    }

    /// Ends the actor's session.
    pub async fn logout(&self, actor: &Actor) -> Result<(), ControlError> {
        if let Via::Session(id) | Via::Jwt(id) = actor.via {
            self.inner.store.sessions().revoke(Visible::All, Id::from_uuid(id), self.now()).await?;
        }
        Ok(())
    }

    /// Tells whether an administrator exists.
    pub async fn is_set_up(&self) -> Result<bool, ControlError> {
        Ok(self.inner.store.users().has_administrator().await?)
    }

    /// Makes the set-up link, or nothing when an administrator exists.
    pub async fn setup_link(&self) -> Result<Option<LinkView>, ControlError> {
        if self.is_set_up().await? {
            return Ok(None);
        }
        self.issue_link(LinkKind::Setup, None, SETUP_LIFETIME).await.map(Some)
    }

    /// Tells whether a set-up link still works.
    pub async fn setup_link_valid(&self, token: &str) -> Result<bool, ControlError> {
        Ok(!self.is_set_up().await? && self.peek(token).await?.is_some())
    }

    /// Makes the first administrator.
    pub async fn setup(&self, setup: &Setup, client: &ClientInfo) -> Result<Tokens, ControlError> {
        if self.is_set_up().await? {
            let text = "Portway is set up already; log in, or run `portway user reset NAME` on its machine";
            return Err(ControlError::Setup(text.to_owned()));
        }
        if self.peek(&setup.token).await?.is_none_or(|link| link.kind != LinkKind::Setup) {
            let text = "this set-up link has ended; run `portway setup` on the machine instead";
            return Err(ControlError::Setup(text.to_owned()));
        }
        let fields = NewUserFields::read(&setup.name, setup.email.as_deref())?;
        let hash = self.new_password(&setup.password, &fields.names()).await?;
        self.use_up(&setup.token).await?;
        let actor = Actor { from: client.from.clone(), ..Actor::system() };
        let user = self.create_administrator(&actor, fields).await?;
        self.set_hash(&actor, "setup", user, &hash).await?;
        let login = Login { name: setup.name.clone(), password: setup.password.clone() };
        self.login(&login, client).await
    }

    /// Sets the password of whoever holds a one-time link.
    pub async fn redeem_link(
        &self,
        redeem: &RedeemLink,
        client: &ClientInfo,
    ) -> Result<(), ControlError> {
        let gone = || ControlError::Conflict(WRONG_LINK.to_owned());
        let link = self.peek(&redeem.token).await?.ok_or_else(gone)?;
        let user = link.user.ok_or_else(gone)?;
        let row = self.inner.store.users().get(user).await?.ok_or_else(gone)?;
        let hash = self.new_password(&redeem.password, &names_of(&row.user)).await?;
        self.use_up(&redeem.token).await?;
        let actor = Actor {
            identity: Identity::User(Box::new(row.user)),
            via: Via::Local,
            from: client.from.clone(),
            request_id: client.request_id.clone(),
        };
        self.set_hash(&actor, "user.password", user, &hash).await
    }

    /// Makes a one-time link for a user.
    pub(crate) async fn issue_link(
        &self,
        kind: LinkKind,
        user: Option<Id<User>>,
        lifetime: SignedDuration,
    ) -> Result<LinkView, ControlError> {
        let token = OneTimeToken::generate()
            .map_err(|error| ControlError::internal("making a link", error))?;
        let now = self.now();
        let expires_at = later(now, lifetime);
        let link = Link {
            token_hash: token.hash().as_bytes().to_vec(),
            kind,
            user,
            created_at: now,
            expires_at,
        };
        self.inner.store.links().issue(&link).await?;
        let page = if kind == LinkKind::Setup { "setup" } else { "link" };
        let url = format!("{}/{page}?token={}", self.inner.config.console_url, token.expose());
        Ok(LinkView { url, expires_at })
    }

    /// Judges and hashes a new password.
    pub(crate) async fn new_password(
        &self,
        password: &str,
        names: &[&str],
    ) -> Result<String, ControlError> {
        password::judge(password, names)
            .map_err(|error| ControlError::BadRequest(error.to_string()))?;
        let password = password.to_owned();
        self.hashing(move || password::hash(&password))
            .await?
            .map_err(|error| ControlError::internal("hashing a password", error))
    }

    async fn set_hash(
        &self,
        actor: &Actor,
        action: &str,
        user: Id<User>,
        hash: &str,
    ) -> Result<(), ControlError> {
        let entry = Record::of(actor, action).detail("a password was set").entry(self.now());
        self.inner.store.users().set_password(user, hash, &entry, self.now()).await?;
        Ok(())
    }

    async fn peek(&self, token: &str) -> Result<Option<Link>, ControlError> {
        let Ok(token) = token.parse::<OneTimeToken>() else { return Ok(None) };
        Ok(self.inner.store.links().peek(token.hash().as_bytes(), self.now()).await?)
    }

    async fn use_up(&self, token: &str) -> Result<(), ControlError> {
        let gone = || ControlError::Conflict(WRONG_LINK.to_owned());
        let token: OneTimeToken = token.parse().map_err(|_| gone())?;
        let used = self.inner.store.links().redeem(token.hash().as_bytes(), self.now()).await?;
        used.map(drop).ok_or_else(gone)
    }

    /// Judges a login. The same work is done whether or not the user exists.
    async fn verify(&self, login: &Login, client: &ClientInfo) -> Result<UserRow, ControlError> {
        let now = self.now();
        let attempts = self.inner.store.login_attempts();
        let account: String = login.name.chars().take(100).collect();
        let window = now.checked_sub(LOGIN_WINDOW).unwrap_or(now);
        let attempt = attempts
            .begin(&account, &client.from, LOGIN_ATTEMPTS, window, now)
            .await
            .map_err(|refused| too_many(refused, now))?;
        let row = match login.name.parse() {
            Ok(name) => self.inner.store.users().by_name(&name).await?,
            Err(_) => None,
        };
        let hash =
            row.as_ref().filter(|row| row.user.active).and_then(|row| row.password_hash.clone());
        let password: String = login.password.chars().take(password::MAX_LENGTH).collect();
        let right = self.hashing(move || password::verify(&password, hash.as_deref())).await?;
        match row.filter(|_| right) {
            Some(row) => {
                attempts.succeeded(attempt).await?;
                let actor = Actor {
                    identity: Identity::User(Box::new(row.user.clone())),
                    ..stranger(&account, client)
                };
                self.write_audit(Record::of(&actor, "login")).await?;
                Ok(row)
            }
            None => {
                let actor = stranger(&account, client);
                let record =
                    Record::of(&actor, "login").outcome(AuditOutcome::Refused).detail(WRONG_LOGIN);
                self.write_audit(record).await?;
                Err(ControlError::Unauthenticated(WRONG_LOGIN.to_owned()))
            }
        }
    }

    /// Hashing takes memory and a core for a while, so only a few at once.
    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let internal = |error: Box<dyn std::error::Error + Send + Sync>| {
            ControlError::internal("hashing a password", error)
        };
        let permit = self.inner.hashing.acquire().await.map_err(|error| internal(error.into()))?;
        let result = tokio::task::spawn_blocking(work).await;
        drop(permit);
        result.map_err(|error| internal(error.into()))
    }

    async fn tokens_for(&self, row: &UserRow, client: &ClientInfo) -> Result<Tokens, ControlError> {
        let (token, session) = self.begin_session(row, SessionKind::Jwt, client).await?;
        self.tokens_of(row, session, &token)
    }

    fn tokens_of(
        &self,
        row: &UserRow,
        session: Uuid,
        refresh: &SessionToken,
    ) -> Result<Tokens, ControlError> {
        let access_token = self
            .inner
            .jwt
            .sign(row.user.id, session, self.now())
            .map_err(|error| ControlError::internal("signing an access token", error))?;
        Ok(Tokens {
            access_token,
            token_type: "Bearer".to_owned(),
            expires_in: jwt::LIFETIME.unsigned_abs(),
            refresh_token: format!("{session}.{}", refresh.expose()),
            user: user_view(&row.user),
        })
    }

    async fn begin_session(
        &self,
        row: &UserRow,
        kind: SessionKind,
        client: &ClientInfo,
    ) -> Result<(SessionToken, Uuid), ControlError> {
        let token = new_token()?;
        let now = self.now();
        let id = Uuid::now_v7();
        let session = SessionRow {
            id: Id::from_uuid(id),
            user: row.user.id,
            kind,
            token_hash: token.hash().as_bytes().to_vec(),
            generation: row.generation,
            created_at: now,
            expires_at: later(now, SESSION_LIFETIME),
            last_seen_at: now,
            revoked_at: None,
            user_agent: client.agent.clone().unwrap_or_default().chars().take(200).collect(),
            address: client.from.clone(),
        };
        self.inner.store.sessions().create(&session).await?;
        Ok((token, id))
    }

    async fn by_cookie(&self, text: &str) -> Result<(Identity, Via), ControlError> {
        let token: SessionToken = text.parse().map_err(|_| not_logged_in())?;
        let now = self.now();
        let sessions = self.inner.store.sessions();
        let found = sessions.valid_by_token(token.hash().as_bytes(), now).await?;
        let (session, row) = found.ok_or_else(not_logged_in)?;
        if session.kind != SessionKind::Browser {
            return Err(not_logged_in());
        }
        self.note_use(&session, now).await?;
        Ok((Identity::User(Box::new(row.user)), Via::Session(session.id.uuid())))
    }

    async fn by_jwt(&self, text: &str) -> Result<(Identity, Via), ControlError> {
        let now = self.now();
        let session = self.inner.jwt.read(text, now).ok_or_else(not_logged_in)?;
        let found = self.inner.store.sessions().valid(Id::from_uuid(session), now).await?;
        let (session, row) = found.ok_or_else(not_logged_in)?;
        self.note_use(&session, now).await?;
        Ok((Identity::User(Box::new(row.user)), Via::Jwt(session.id.uuid())))
    }

    async fn by_token(&self, text: &str) -> Result<(Identity, Via), ControlError> {
        let token: ApiToken = text.parse().map_err(|error: portway_secrets::TokenError| {
            ControlError::Unauthenticated(error.to_string())
        })?;
        let now = self.now();
        let tokens = self.inner.store.tokens();
        let found = tokens.valid(token.hash().as_bytes(), now).await?;
        let (row, user) = found.ok_or_else(|| {
            ControlError::Unauthenticated("this API token is unknown, revoked or has ended".into())
        })?;
        let before = now.checked_sub(TOUCH_EVERY).unwrap_or(now);
        tokens.touch(row.id, before, now).await?;
        let scopes = scopes_of(&row)?;
        Ok((Identity::User(Box::new(user.user)), Via::Token(row.id.uuid(), scopes)))
    }

    async fn note_use(&self, session: &SessionRow, now: Timestamp) -> Result<(), ControlError> {
        if now.duration_since(session.last_seen_at) < TOUCH_EVERY {
            return Ok(());
        }
        let expires_at = later(now, SESSION_LIFETIME);
        Ok(self.inner.store.sessions().touch(session.id, expires_at, now).await?)
    }

    /// Root, the manager's own user and the members of the service's group are administrators.
    fn machine(&self, uid: u32, gids: &[u32]) -> Result<Identity, ControlError> {
        let own = rustix::process::geteuid().as_raw();
        let member = self.inner.config.admin_group.is_some_and(|group| gids.contains(&group));
        if uid != 0 && uid != own && !member {
            return Err(ControlError::Unauthenticated(
                "the local socket is for root and the service's group; log in with `portway login`"
                    .to_owned(),
            ));
        }
        Ok(Identity::Machine(login_name(uid)))
    }
}

impl Account<'_> {
    /// Says who calls.
    pub fn whoami(&self) -> Whoami {
        whoami(self.actor)
    }

    /// Changes the actor's password; every other session ends.
    pub async fn change_password(&self, change: &ChangePassword) -> Result<(), ControlError> {
        let control = self.control;
        let (Some(user), Via::Session(_) | Via::Jwt(_)) = (self.actor.user(), &self.actor.via)
        else {
            return control
                .refuse(self.actor, "user.password", "log in with name and password to change it")
                .await;
        };
        let login = Login { name: user.name.to_string(), password: change.current.clone() };
        let client = ClientInfo {
            from: self.actor.from.clone(),
            agent: None,
            request_id: self.actor.request_id.clone(),
        };
        control.verify(&login, &client).await?;
        let hash = control.new_password(&change.new, &names_of(user)).await?;
        control.set_hash(self.actor, "user.password", user.id, &hash).await
    }
}

fn whoami(actor: &Actor) -> Whoami {
    Whoami { name: actor.name().to_owned(), role: actor.role(), via: actor.via_word().to_owned() }
}

fn names_of(user: &User) -> Vec<&str> {
    users::names(user.name.as_str(), user.email.as_deref())
}

fn scopes_of(row: &TokenRow) -> Result<Scopes, ControlError> {
    let texts: Vec<String> = serde_json::from_value(row.scopes.clone())
        .map_err(|error| ControlError::internal("reading a token's scopes", error))?;
    Scopes::parse(&texts).map_err(|error| ControlError::internal("reading a token's scopes", error))
}

/// Someone who is not known (yet), by the name that was claimed.
fn stranger(account: &str, client: &ClientInfo) -> Actor {
    Actor {
        identity: Identity::Machine(account.to_owned()),
        via: Via::Local,
        from: client.from.clone(),
        request_id: client.request_id.clone(),
    }
}

fn new_token() -> Result<SessionToken, ControlError> {
    SessionToken::generate().map_err(|error| ControlError::internal("making a session", error))
}

fn not_logged_in() -> ControlError {
    ControlError::Unauthenticated("this login is unknown or has ended; log in again".to_owned())
}

fn too_many(refused: LoginRefused, now: Timestamp) -> ControlError {
    match refused {
        LoginRefused::TooMany { since } => {
            let until = later(since, LOGIN_WINDOW);
            let wait = Duration::try_from(until.duration_since(now)).unwrap_or_default();
            ControlError::TooManyAttempts { minutes: wait.as_secs().div_ceil(60).max(1) }
        }
        LoginRefused::Store(error) => error.into(),
    }
}

pub(crate) fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Returns the login name of a user of the machine, or the number where it has none.
fn login_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = uid.to_string();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&id.as_str()))
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or(id)
}
