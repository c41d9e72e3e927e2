//! API tokens.

use jiff::SignedDuration;
use portway_model::{Id, ResourceKind, User};
use portway_secrets::ApiToken;
use portway_store::{StoreError, TokenRow};
use portway_wire::{
    Page, PageQuery,
    user::{CreatedToken, NewToken, TokenView},
};
use uuid::Uuid;

use crate::{
    ControlError,
    actor::{Scopes, Via},
    audit::Record,
    page,
    rights::ApiTokens,
    session::later,
};

const DEFAULT_DAYS: u32 = 90;
const MAX_DAYS: u32 = 3650;

impl ApiTokens<'_> {
    /// Lists tokens, the newest first.
    pub async fn list(&self, query: PageQuery) -> Result<Page<TokenView>, ControlError> {
        let control = self.control;
        let visible = self.own_or_all();
        let found = control.inner.store.tokens().list(visible, &page::of(&query)?).await?;
        let owners = control.inner.store.users().names(found.items.iter().map(|row| row.user));
        let owners = owners.await?;
        let living = found.items.iter().filter(|row| row.revoked_at.is_none());
        let items = living
            .map(|row| token_view(row, owners.get(&row.user).map_or("", String::as_str)))
            .collect::<Result<_, _>>()?;
        Ok(Page { items, next: found.next.map(|cursor| cursor.to_string()) })
    }

    /// Makes a token of the actor's own, or of the user whom an administrator of the machine names;
    /// its secret is in the answer and nowhere else.
    pub async fn create(&self, new: NewToken) -> Result<CreatedToken, ControlError> {
        let control = self.control;
        if matches!(self.actor.via, Via::Token(..)) {
            // It could be given more than the token that asks has.
            let why = "an API token makes no tokens; log in with name and password";
            return control.refuse(self.actor, "token.create", why).await;
        }
        let user = self.owner_of_new(new.user.as_deref()).await?;
        if new.name.trim().is_empty() || new.name.chars().count() > 100 {
            return Err(ControlError::BadRequest(
                "give the token a name of 1 to 100 characters".into(),
            ));
        }
        if new.scopes.is_empty() {
            let text = "give the token scopes, for example `read:sites`";
            return Err(ControlError::BadRequest(text.to_owned()));
        }
        Scopes::parse(&new.scopes).map_err(|error| ControlError::BadRequest(error.to_string()))?;
        let days = new.days.unwrap_or(DEFAULT_DAYS);
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(ControlError::BadRequest(format!("`days` is 1 to {MAX_DAYS}, not {days}")));
        }
        let token = ApiToken::generate()
            .map_err(|error| ControlError::internal("making a token", error))?;
        let now = control.now();
        let row = TokenRow {
            id: Id::from_uuid(Uuid::now_v7()),
            user: user.id,
            name: new.name.trim().to_owned(),
            token_hash: token.hash().as_bytes().to_vec(),
            prefix: token.hint(),
            scopes: serde_json::to_value(&new.scopes)
                .map_err(|error| ControlError::internal("making a token", error))?,
            created_at: now,
            expires_at: Some(later(now, SignedDuration::from_hours(24 * i64::from(days)))),
            last_used_at: None,
            revoked_at: None,
        };
        let mut record =
            Record::of(self.actor, "token.create").resource(ResourceKind::Token, &row.name);
        if self.actor.user_id() != Some(user.id) {
            record = record.detail(format!("for {}", user.name));
        }
        let entry = record.entry(now);
        match control.inner.store.tokens().create(&row, &entry).await {
            Err(StoreError::Conflict { .. }) => Err(ControlError::Taken(format!(
                "{} has a token `{}` already",
                user.name, row.name
            ))),
            other => {
                other?;
                let view = token_view(&row, user.name.as_str())?;
                Ok(CreatedToken { view, token: token.expose().to_owned() })
            }
        }
    }

    /// Returns the user to whom a new token will belong. Who has a login makes tokens of their own
    /// alone: a token for another could do what that other may.
    async fn owner_of_new(&self, named: Option<&str>) -> Result<User, ControlError> {
        let machine = self.actor.user().is_none();
        let Some(name) = named else {
            return self.actor.user().cloned().ok_or_else(|| {
                let text = "a token belongs to a user; name one (`portway token add --user NAME`)";
                ControlError::BadRequest(text.to_owned())
            });
        };
        if !machine {
            let own = self.actor.user().filter(|user| is_named(user, name)).cloned();
            let why = "tokens for others are made on the manager's own machine";
            return match own {
                Some(user) => Ok(user),
                None => self.control.refuse(self.actor, "token.create", why).await,
            };
        }
        let user = self.control.user_named(name).await?;
        if user.active {
            Ok(user)
        } else {
            Err(ControlError::Conflict(format!("{} is deactivated", user.name)))
        }
    }

    /// Ends a token.
    pub async fn revoke(&self, id: Uuid) -> Result<(), ControlError> {
        let control = self.control;
        let now = control.now();
        let entry = Record::of(self.actor, "token.revoke")
            .resource(ResourceKind::Token, &id.to_string())
            .entry(now);
        let visible = self.own_or_all();
        let tokens = control.inner.store.tokens();
        if tokens.revoke(visible, Id::from_uuid(id), &entry, now).await? {
            Ok(())
        } else {
            Err(ControlError::NotFound { what: "token", name: id.to_string() })
        }
    }

    /// Administrators see everybody's tokens, all others their own.
    fn own_or_all(&self) -> portway_store::Visible {
        match (self.actor.role(), self.actor.user_id()) {
            (portway_model::Role::Admin, _) | (_, None) => portway_store::Visible::All,
            (portway_model::Role::Client | portway_model::Role::Viewer, Some(id)) => {
                portway_store::Visible::Owner(id)
            }
        }
    }
}

fn is_named(user: &User, name: &str) -> bool {
    user.name.as_str() == name || user.id.to_string() == name
}

fn token_view(row: &TokenRow, owner: &str) -> Result<TokenView, ControlError> {
    Ok(TokenView {
        id: row.id.uuid(),
        name: row.name.clone(),
        prefix: row.prefix.clone(),
        owner: owner.to_owned(),
        scopes: serde_json::from_value(row.scopes.clone())
            .map_err(|error| ControlError::internal("reading a token's scopes", error))?,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        created_at: row.created_at,
    })
}
