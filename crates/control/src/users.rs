//! Users: making, changing and removing them.

use std::collections::BTreeMap;

use portway_model::{
    Bounds, FieldPath, FindingCode, Findings, HostPattern, Id, Origin, ResourceKind, Role, User,
    UserName,
};
use portway_store::{
    ChangeDraft, Expected, LinkKind, PageRequest, RevisionDraft, UserRow, UserVersion, Visible,
};
use portway_wire::{
    Page, PageQuery,
    auth::LinkView,
    user::{CreatedUser, EditUser, NewUser, UserView},
};
use uuid::Uuid;

use crate::{
    Control, ControlError,
    actor::Actor,
    audit::Record,
    links::LINK_LIFETIME,
    page, password,
    rights::{Operator, Overseer},
    sites::commit_error,
};

/// The name and mail address of a user, checked.
#[derive(Clone, Debug)]
pub(crate) struct NewUserFields {
    pub(crate) name: UserName,
    pub(crate) email: Option<String>,
}

impl NewUserFields {
    /// Reads what was written; all that is wrong with it is told at once. A password is judged
    /// with the rest.
    pub(crate) fn read(
        name: &str,
        email: Option<&str>,
        password: Option<&str>,
    ) -> Result<Self, ControlError> {
        let mut findings = Findings::about(ResourceKind::User, name);
        let name_read = checked_name(name, &mut findings);
        let email = email.map(str::trim).filter(|email| !email.is_empty());
        if let Some(email) = email {
            judge_email(email, &mut findings);
        }
        if let Some(password) = password {
            let names = names(name, email);
            password::judge(password, &names, &FieldPath::root().key("password"), &mut findings);
        }
        match name_read {
            Some(name) if !findings.has_errors() => {
                Ok(Self { name, email: email.map(str::to_owned) })
            }
            Some(_) | None => Err(ControlError::Invalid(findings.into_vec())),
        }
    }

    /// Returns those of a user who exists.
    pub(crate) fn of(user: &User) -> Self {
        Self { name: user.name.clone(), email: user.email.clone() }
    }

    /// Judges a new password of this user.
    pub(crate) fn judge_password(&self, password: &str) -> Result<(), ControlError> {
        let mut findings = Findings::about(ResourceKind::User, self.name.as_str());
        let names = names(self.name.as_str(), self.email.as_deref());
        password::judge(password, &names, &FieldPath::root().key("password"), &mut findings);
        if findings.has_errors() {
            return Err(ControlError::Invalid(findings.into_vec()));
        }
        Ok(())
    }
}

/// The words that a password must not consist of.
pub(crate) fn names<'a>(name: &'a str, email: Option<&'a str>) -> Vec<&'a str> {
    let local_part = email.and_then(|email| email.split('@').next());
    std::iter::once(name).chain(email).chain(local_part).chain(["portway"]).collect()
}

fn checked_name(name: &str, findings: &mut Findings) -> Option<UserName> {
    name.parse()
        .map_err(|error: portway_model::NameError| {
            let text = format!("`{name}` is no user name: {error}");
            findings
                .error(FindingCode::InvalidName, &FieldPath::root().key("name"), text)
                .remedy("take a short word, for example `ann`");
        })
        .ok()
}

fn judge_email(email: &str, findings: &mut Findings) {
    let valid = email.len() <= 254
        && !email.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',' || c == '<')
        && email.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && domain.parse::<portway_model::Hostname>().is_ok()
        });
    if !valid {
        let text = format!("`{email}` is no mail address");
        findings
            .error(FindingCode::InvalidValue, &FieldPath::root().key("email"), text)
            .remedy("write it like `ann@example.org`, or leave it out");
    }
}

/// Returns a user as the API shows it.
pub(crate) fn user_view(user: &User) -> UserView {
    UserView {
        id: user.id,
        name: user.name.to_string(),
        email: user.email.clone(),
        role: user.role,
        bounds: user.bounds.clone(),
        active: user.active,
        created_at: user.created_at,
    }
}

impl Overseer<'_> {
    /// Lists users by name.
    pub async fn users(&self, query: PageQuery) -> Result<Page<UserView>, ControlError> {
        let found = self.control.inner.store.users().list(&page::of(&query)?).await?;
        Ok(page::map(found, |row| user_view(&row.user)))
    }

    /// Returns one user, by id or name.
    pub async fn user(&self, user: &str) -> Result<UserView, ControlError> {
        Ok(user_view(&self.control.user_row(user).await?.user))
    }
}

impl Operator<'_> {
    /// Makes a user. Without a password the answer carries an invitation.
    pub async fn create_user(&self, new: NewUser) -> Result<CreatedUser, ControlError> {
        let control = self.control;
        let password = new.password.as_deref();
        let fields = NewUserFields::read(&new.name, new.email.as_deref(), password)?;
        control.judge_bounds(None, new.role, &new.bounds).await?;
        let hash = match password {
            Some(password) => Some(control.hash_password(password).await?),
            None => None,
        };
        let version = UserVersion {
            name: fields.name.clone(),
            email: fields.email,
            role: new.role,
            bounds: new.bounds,
            active: true,
        };
        let id = Id::from_uuid(Uuid::now_v7());
        let name = fields.name.to_string();
        let change = ChangeDraft::user(id, Expected::New, version);
        control.commit_user(self.actor, "user.create", &name, change).await?;
        let invitation = match hash {
            Some(hash) => {
                control.set_password(self.actor, "user.password", id, &hash).await?;
                None
            }
            None => Some(control.issue_link(LinkKind::Invite, Some(id), LINK_LIFETIME).await?),
        };
        let user = user_view(&control.user_row(&name).await?.user);
        Ok(CreatedUser { user, invitation })
    }

    /// Changes a user; what is not given stays. Another role, or none any more, ends every login of
    /// the user at once.
    pub async fn edit_user(&self, user: &str, edit: EditUser) -> Result<UserView, ControlError> {
        let control = self.control;
        let row = control.user_row(user).await?;
        let role = edit.role.unwrap_or(row.user.role);
        let bounds = edit.bounds.unwrap_or_else(|| row.user.bounds.clone());
        control.judge_bounds(Some(row.user.id), role, &bounds).await?;
        let email = match &edit.email {
            Some(email) => NewUserFields::read(row.user.name.as_str(), Some(email), None)?.email,
            None => row.user.email.clone(),
        };
        let active = edit.active.unwrap_or(row.user.active);
        if row.user.role == Role::Admin && (role != Role::Admin || !active) {
            control.keep_an_administrator(row.user.id).await?;
        }
        let version = UserVersion { name: row.user.name.clone(), email, role, bounds, active };
        let change = ChangeDraft::user(row.user.id, Expected::At(row.revision), version);
        control.commit_user(self.actor, "user.update", row.user.name.as_str(), change).await?;
        // Rights are read anew with every request, so nobody keeps them until this is done.
        if !active || role != row.user.role {
            control.inner.store.sessions().revoke_all(row.user.id, control.now()).await?;
        }
        // What a client may reach is part of what the edge is given.
        control.look_at_every_site();
        Ok(user_view(&control.user_row(user).await?.user))
    }

    /// Removes a user who has no sites. Logins, API tokens and links of the user go with it.
    pub async fn remove_user(&self, user: &str) -> Result<(), ControlError> {
        let control = self.control;
        let row = control.user_row(user).await?;
        let sites = control.inner.store.sites().count(Visible::Owner(row.user.id)).await?;
        if sites > 0 {
            return Err(ControlError::Conflict(format!(
                "`{}` has {sites} site(s); remove them first, or deactivate the user",
                row.user.name
            )));
        }
        if row.user.role == Role::Admin {
            control.keep_an_administrator(row.user.id).await?;
        }
        let change = ChangeDraft::delete_user(row.user.id, Expected::At(row.revision));
        control.commit_user(self.actor, "user.remove", row.user.name.as_str(), change).await
    }

    /// Makes a one-time link with which a user sets a new password.
    pub async fn reset_user(&self, user: &str) -> Result<LinkView, ControlError> {
        let control = self.control;
        let row = control.user_row(user).await?;
        if !row.user.active {
            return Err(ControlError::Conflict(format!(
                "`{}` is not active; activate the user first",
                row.user.name
            )));
        }
        let link = control.issue_link(LinkKind::Reset, Some(row.user.id), LINK_LIFETIME).await?;
        let record = Record::of(self.actor, "user.reset")
            .resource(ResourceKind::User, row.user.name.as_str());
        control.write_audit(record).await?;
        Ok(link)
    }
}

impl Control {
    /// Makes the first administrator.
    pub(crate) async fn create_administrator(
        &self,
        actor: &Actor,
        fields: NewUserFields,
    ) -> Result<Id<User>, ControlError> {
        let id = Id::from_uuid(Uuid::now_v7());
        let name = fields.name.to_string();
        let version = UserVersion {
            name: fields.name,
            email: fields.email,
            role: Role::Admin,
            bounds: Bounds::default(),
            active: true,
        };
        let change = ChangeDraft::user(id, Expected::New, version);
        self.commit_user(actor, "setup", &name, change).await?;
        Ok(id)
    }

    /// Returns a user, by id or name.
    pub(crate) async fn user_row(&self, user: &str) -> Result<UserRow, ControlError> {
        let users = self.inner.store.users();
        let found = match user.parse::<Uuid>() {
            Ok(id) => users.get(Id::from_uuid(id)).await?,
            Err(_) => match user.parse() {
                Ok(name) => users.by_name(&name).await?,
                Err(_) => None,
            },
        };
        found.ok_or_else(|| ControlError::NotFound { what: "user", name: user.to_owned() })
    }

    /// Returns a user, by id or name.
    pub(crate) async fn user_named(&self, user: &str) -> Result<User, ControlError> {
        Ok(self.user_row(user).await?.user)
    }

    /// Returns a user by id.
    pub(crate) async fn user_with(&self, id: Id<User>) -> Result<Option<User>, ControlError> {
        Ok(self.inner.store.users().get(id).await?.map(|row| row.user))
    }

    async fn commit_user(
        &self,
        actor: &Actor,
        action: &str,
        name: &str,
        change: ChangeDraft,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let draft = RevisionDraft {
            author: actor.user_id(),
            author_name: actor.name().to_owned(),
            message: format!("{} {name}", action.replace('.', " ")),
            origin: Origin::Api,
            changes: vec![change],
            judged_at: None,
            site_limits: BTreeMap::new(),
            secrets: Vec::new(),
            audit: Record::of(actor, action).resource(ResourceKind::User, name).entry(now),
            idempotency: crate::idempotency::held(),
        };
        let visible = actor.visible();
        self.inner.store.revisions().commit(&draft, visible, now).await.map_err(commit_error)?;
        Ok(())
    }

    /// Hosts and zones are unique over all clients, and only clients have bounds.
    async fn judge_bounds(
        &self,
        user: Option<Id<User>>,
        role: Role,
        bounds: &Bounds,
    ) -> Result<(), ControlError> {
        if role != Role::Client {
            return if *bounds == Bounds::default() {
                Ok(())
            } else {
                let text = format!("bounds are for clients; a user of role {role} has none");
                Err(ControlError::BadRequest(text))
            };
        }
        if let Some(files) = &bounds.files
            && (!files.is_absolute() || files.components().count() < 3)
        {
            let text = format!("`{files}` must be an absolute folder of the client's own");
            return Err(ControlError::BadRequest(text));
        }
        if bounds.hosts.contains(&HostPattern::Any) {
            let text = "`*` would give the client every host; name hosts and zones";
            return Err(ControlError::BadRequest(text.to_owned()));
        }
        self.overlaps(user, bounds).await
    }

    async fn overlaps(&self, user: Option<Id<User>>, bounds: &Bounds) -> Result<(), ControlError> {
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.users().list(&page).await?;
            let others = found
                .items
                .iter()
                .filter(|row| row.user.role == Role::Client && Some(row.user.id) != user);
            for other in others {
                if let Some((mine, theirs)) = overlap(&bounds.hosts, &other.user.bounds.hosts) {
                    return Err(ControlError::Taken(format!(
                        "`{mine}` overlaps with `{theirs}` of client `{}`",
                        other.user.name
                    )));
                }
            }
            request = page.next(&found);
        }
        Ok(())
    }

    async fn keep_an_administrator(&self, without: Id<User>) -> Result<(), ControlError> {
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.users().list(&page).await?;
            let another = found.items.iter().any(|row| {
                row.user.id != without
                    && row.user.role == Role::Admin
                    && row.user.active
                    && row.password_hash.is_some()
            });
            if another {
                return Ok(());
            }
            request = page.next(&found);
        }
        Err(ControlError::Conflict(
            "this is the last administrator; make another one first".to_owned(),
        ))
    }
}

fn overlap<'a>(
    mine: &'a [HostPattern],
    theirs: &'a [HostPattern],
) -> Option<(&'a HostPattern, &'a HostPattern)> {
    mine.iter()
        .find_map(|a| theirs.iter().find(|b| a.is_within(b) || b.is_within(a)).map(|b| (a, b)))
}
