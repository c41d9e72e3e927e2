//! Who calls: sessions of browsers, JWTs, API tokens, and the local socket, which knows its caller.

use jiff::Timestamp;
use portway_model::Id;
use portway_secrets::{ApiToken, SessionToken, TokenError};
use portway_store::{SessionKind, TokenRow, UserRow};
use portway_wire::auth::Whoami;

use crate::{
    Control, ControlError,
    actor::{Actor, Identity, Scopes, Via},
    rights::Account,
    session::TOUCH_EVERY,
};

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

impl ClientInfo {
    /// Returns whoever acts from there.
    pub(crate) fn actor(&self, identity: Identity, via: Via) -> Actor {
        Actor { identity, via, from: self.from.clone(), request_id: self.request_id.clone() }
    }

    /// Returns someone who is not known (yet), by the name that was claimed.
    pub(crate) fn stranger(&self, account: &str) -> Actor {
        self.actor(Identity::Machine(account.to_owned()), Via::Local)
    }
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

    /// Returns an actor as it is now: the rights may have changed since the login was proven. For
    /// what goes on for long. The error is [`ControlError::Unauthenticated`] once the login has
    /// ended.
    pub(crate) async fn renewed(&self, actor: &Actor) -> Result<Actor, ControlError> {
        let now = self.now();
        let found = match &actor.via {
            Via::Local => return Ok(actor.clone()),
            Via::Session(id) | Via::Jwt(id) => {
                let found = self.inner.store.sessions().valid(Id::from_uuid(*id), now).await?;
                found.map(|(_, user)| user)
            }
            Via::Token(id, _) => {
                let tokens = self.inner.store.tokens();
                match tokens.get(portway_store::Visible::All, Id::from_uuid(*id)).await? {
                    Some(row) => tokens.valid(&row.token_hash, now).await?.map(|(_, user)| user),
                    None => None,
                }
            }
        };
        let row = found.ok_or_else(not_logged_in)?;
        Ok(Actor { identity: identity(row), ..actor.clone() })
    }

    async fn by_cookie(&self, text: &str) -> Result<(Identity, Via), ControlError> {
        let token: SessionToken = text.parse().map_err(|_: TokenError| not_logged_in())?;
        let now = self.now();
        let sessions = self.inner.store.sessions();
        let found = sessions.valid_by_token(token.hash().as_bytes(), now).await?;
        let found = found.filter(|(session, _)| session.kind == SessionKind::Browser);
        let (session, row) = found.ok_or_else(not_logged_in)?;
        self.note_use(&session, now).await?;
        Ok((identity(row), Via::Session(session.id.uuid())))
    }

    async fn by_jwt(&self, text: &str) -> Result<(Identity, Via), ControlError> {
        let now = self.now();
        let session = self.inner.jwt.read(text, now).ok_or_else(not_logged_in)?;
        let found = self.inner.store.sessions().valid(Id::from_uuid(session), now).await?;
        let found = found.filter(|(session, _)| session.kind == SessionKind::Jwt);
        let (session, row) = found.ok_or_else(not_logged_in)?;
        self.note_use(&session, now).await?;
        Ok((identity(row), Via::Jwt(session.id.uuid())))
    }

    async fn by_token(&self, text: &str) -> Result<(Identity, Via), ControlError> {
        let token: ApiToken = text
            .parse()
            .map_err(|error: TokenError| ControlError::Unauthenticated(error.to_string()))?;
        let now = self.now();
        let tokens = self.inner.store.tokens();
        let found = tokens.valid(token.hash().as_bytes(), now).await?;
        let (row, user) = found.ok_or_else(|| {
            ControlError::Unauthenticated("this API token is unknown, revoked or has ended".into())
        })?;
        self.note_token(&row, now).await?;
        let scopes = scopes_of(&row)?;
        Ok((identity(user), Via::Token(row.id.uuid(), scopes)))
    }

    async fn note_token(&self, row: &TokenRow, now: Timestamp) -> Result<(), ControlError> {
        let before = now.checked_sub(TOUCH_EVERY).unwrap_or(now);
        if row.last_used_at.is_some_and(|used| used >= before) {
            return Ok(());
        }
        Ok(self.inner.store.tokens().touch(row.id, before, now).await?)
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
}

pub(crate) fn whoami(actor: &Actor) -> Whoami {
    Whoami { name: actor.name().to_owned(), role: actor.role(), via: actor.via_word().to_owned() }
}

fn identity(row: UserRow) -> Identity {
    Identity::User(Box::new(row.user))
}

fn scopes_of(row: &TokenRow) -> Result<Scopes, ControlError> {
    let texts: Vec<String> = serde_json::from_value(row.scopes.clone())
        .map_err(|error| ControlError::internal("reading a token's scopes", error))?;
    Scopes::parse(&texts).map_err(|error| ControlError::internal("reading a token's scopes", error))
}

fn not_logged_in() -> ControlError {
    ControlError::Unauthenticated("this login is unknown or has ended; log in again".to_owned())
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
