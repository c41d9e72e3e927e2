//! Sessions: how a login goes on after its password was judged, and how it ends.

use jiff::{SignedDuration, Timestamp};
use portway_model::Id;
use portway_secrets::{SessionToken, TokenError};
use portway_store::{AuditOutcome, SessionKind, SessionRow, UserRow, Visible};
use portway_wire::auth::{Refresh, Tokens};
use uuid::Uuid;

use crate::{
    Control, ControlError,
    actor::{Actor, Via},
    audit::Record,
    auth::ClientInfo,
    jwt,
    users::user_view,
};

/// How long a login lasts that is not used.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 30);
/// A login in use is noted at most this often, so that not every request is a write.
pub(crate) const TOUCH_EVERY: SignedDuration = SignedDuration::from_mins(5);

impl Control {
    /// Exchanges a refresh token for the next access token. A refresh token that was exchanged
    /// before has been stolen or lost its answer: the session ends.
    pub async fn refresh(
        &self,
        refresh: &Refresh,
        client: &ClientInfo,
    ) -> Result<Tokens, ControlError> {
        let (id, token) = read(&refresh.refresh_token).ok_or_else(ended)?;
        let now = self.now();
        let sessions = self.inner.store.sessions();
        let found = sessions.valid(id, now).await?;
        let found = found.filter(|(session, _)| session.kind == SessionKind::Jwt);
        let (_, row) = found.ok_or_else(ended)?;
        let fresh = new_token()?;
        let (old, new) = (token.hash(), fresh.hash());
        let until = later(now, LIFETIME);
        if sessions.rotate(id, old.as_bytes(), new.as_bytes(), until, now).await? {
            return self.tokens_of(&row, id.uuid(), &fresh);
        }
        sessions.revoke(Visible::All, id, now).await?;
        let actor = client.stranger(row.user.name.as_str());
        let record = Record::of(&actor, "login.refresh")
            .outcome(AuditOutcome::Refused)
            .detail("a refresh token was used twice; the session was ended");
        self.write_audit(record).await?;
        Err(ended())
    }

    /// Ends the actor's session.
    pub async fn logout(&self, actor: &Actor) -> Result<(), ControlError> {
        if let Via::Session(id) | Via::Jwt(id) = actor.via {
            self.inner.store.sessions().revoke(Visible::All, Id::from_uuid(id), self.now()).await?;
        }
        Ok(())
    }

    /// Ends the session of a cookie, where it has one: a browser that logs in anew gets another.
    pub async fn forget_cookie(&self, cookie: &str) -> Result<(), ControlError> {
        let Ok(token) = cookie.parse::<SessionToken>() else { return Ok(()) };
        let now = self.now();
        let sessions = self.inner.store.sessions();
        if let Some((session, _)) = sessions.valid_by_token(token.hash().as_bytes(), now).await? {
            sessions.revoke(Visible::All, session.id, now).await?;
        }
        Ok(())
    }

    pub(crate) async fn tokens_for(
        &self,
        row: &UserRow,
        client: &ClientInfo,
    ) -> Result<Tokens, ControlError> {
        let (token, session) = self.begin_session(row, SessionKind::Jwt, client).await?;
        self.tokens_of(row, session, &token)
    }

    pub(crate) async fn begin_session(
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
            expires_at: later(now, LIFETIME),
            last_seen_at: now,
            revoked_at: None,
            user_agent: client.agent.clone().unwrap_or_default().chars().take(200).collect(),
            address: client.from.clone(),
        };
        self.inner.store.sessions().create(&session).await?;
        Ok((token, id))
    }

    pub(crate) async fn note_use(
        &self,
        session: &SessionRow,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        if now.duration_since(session.last_seen_at) < TOUCH_EVERY {
            return Ok(());
        }
        let expires_at = later(now, LIFETIME);
        Ok(self.inner.store.sessions().touch(session.id, expires_at, now).await?)
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
}

/// Reads a refresh token: its session and its secret.
fn read(refresh: &str) -> Option<(Id<SessionRow>, SessionToken)> {
    let (id, token) = refresh.split_once('.')?;
    let token: Result<SessionToken, TokenError> = token.parse();
    Some((Id::from_uuid(id.parse().ok()?), token.ok()?))
}

fn new_token() -> Result<SessionToken, ControlError> {
    SessionToken::generate().map_err(|error| ControlError::internal("making a session", error))
}

fn ended() -> ControlError {
    ControlError::Unauthenticated("this login has ended; log in again".to_owned())
}

pub(crate) fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
