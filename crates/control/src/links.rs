//! One-time links: set-up, invitation, reset of a password.

use jiff::SignedDuration;
use portway_model::{Id, Role, User};
use portway_secrets::OneTimeToken;
use portway_store::{Link, LinkKind};
use portway_wire::auth::{LinkView, RedeemLink, Setup, Tokens};

use crate::{
    Control, ControlError,
    actor::{Actor, Identity, Via},
    audit::Record,
    auth::ClientInfo,
    session::later,
    users::NewUserFields,
};

/// How long the set-up link works.
const SETUP_LIFETIME: SignedDuration = SignedDuration::from_mins(30);
/// How long invitations and resets work.
pub(crate) const LINK_LIFETIME: SignedDuration = SignedDuration::from_hours(72);

impl Control {
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
        Ok(!self.is_set_up().await? && self.setup_token(token).await?.is_some())
    }

    /// Makes the first administrator.
    pub async fn setup(&self, setup: &Setup, client: &ClientInfo) -> Result<Tokens, ControlError> {
        if self.is_set_up().await? {
            let text = "Portway is set up already; log in, or run `portway user reset NAME` on its machine";
            return Err(ControlError::Setup(text.to_owned()));
        }
        let token = self.setup_token(&setup.token).await?.ok_or_else(setup_ended)?;
        let password = Some(setup.password.as_str());
        let fields = NewUserFields::read(&setup.name, setup.email.as_deref(), password)?;
        let known = self.unfinished_administrator(&fields).await?;
        let hash = self.hash_password(&setup.password).await?;
        // Of any number who hold the link, one gets beyond this.
        let redeemed = self.inner.store.links().redeem(token.hash().as_bytes(), self.now()).await?;
        redeemed.ok_or_else(setup_ended)?;
        let actor = client.actor(Identity::System, Via::Local);
        let user = match known {
            Some(user) => user,
            None => self.create_administrator(&actor, fields).await?,
        };
        self.set_password(&actor, "setup", user, &hash).await?;
        let row = self.user_row(&user.to_string()).await?;
        self.tokens_for(&row, client).await
    }

    /// Sets the password of whoever holds a one-time link.
    pub async fn redeem_link(
        &self,
        redeem: &RedeemLink,
        client: &ClientInfo,
    ) -> Result<(), ControlError> {
        let token: OneTimeToken = redeem.token.parse().map_err(|_| link_ended())?;
        let link = self.peek(&token).await?.ok_or_else(link_ended)?;
        let user = link.user.ok_or_else(link_ended)?;
        let row = self.inner.store.users().get(user).await?.filter(|row| row.user.active);
        let row = row.ok_or_else(link_ended)?;
        NewUserFields::of(&row.user).judge_password(&redeem.password)?;
        let hash = self.hash_password(&redeem.password).await?;
        let actor = client.actor(Identity::User(Box::new(row.user)), Via::Local);
        let now = self.now();
        let entry =
            Record::of(&actor, "user.password").detail("a password was set by a link").entry(now);
        let users = self.inner.store.users();
        let link = token.hash();
        let set = users.set_password_by_link(user, &hash, link.as_bytes(), &entry, now).await?;
        if set { Ok(()) } else { Err(link_ended()) }
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
        let page = match kind {
            LinkKind::Setup => "setup",
            LinkKind::Invite | LinkKind::Reset => "link",
        };
        // The address is the configured one, never what a request calls this host.
        let url = format!("{}/{page}?token={}", self.inner.config.console_url, token.expose());
        Ok(LinkView { url, expires_at })
    }

    /// Sets a password that was hashed. Every login of the user ends.
    pub(crate) async fn set_password(
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

    /// Returns the administrator of this name whom an earlier set-up made and left without a
    /// password; another user of this name stands in the way.
    async fn unfinished_administrator(
        &self,
        fields: &NewUserFields,
    ) -> Result<Option<Id<User>>, ControlError> {
        let Some(row) = self.inner.store.users().by_name(&fields.name).await? else {
            return Ok(None);
        };
        let is_unfinished =
            row.user.role == Role::Admin && row.user.active && row.password_hash.is_none();
        if is_unfinished {
            return Ok(Some(row.user.id));
        }
        let text = format!("there is a user `{}` already; take another name", fields.name);
        Err(ControlError::Taken(text))
    }

    /// Returns the token of a set-up link that works.
    async fn setup_token(&self, text: &str) -> Result<Option<OneTimeToken>, ControlError> {
        let Ok(token) = text.parse::<OneTimeToken>() else { return Ok(None) };
        let link = self.peek(&token).await?;
        Ok(link.filter(|link| link.kind == LinkKind::Setup).map(|_| token))
    }

    async fn peek(&self, token: &OneTimeToken) -> Result<Option<Link>, ControlError> {
        Ok(self.inner.store.links().peek(token.hash().as_bytes(), self.now()).await?)
    }
}

fn setup_ended() -> ControlError {
    let text = "this set-up link has ended; run `portway setup` on the machine instead";
    ControlError::Setup(text.to_owned())
}

fn link_ended() -> ControlError {
    let text = "this link was used already or has ended; ask for a new one";
    ControlError::Conflict(text.to_owned())
}
