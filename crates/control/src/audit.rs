//! The audit log: every change and every refusal.

use jiff::Timestamp;
use portway_model::{Id, ResourceKind, ResourceRef, Role, User};
use portway_store::{AuditEntry, AuditFilter, AuditOutcome, AuditRow};
use portway_wire::{
    Page,
    user::{AuditQuery, AuditView},
};

use serde_json::Value;

use crate::{Control, ControlError, actor::Actor, page, rights::AuditLog};

/// A line of the audit log under construction.
pub(crate) struct Record<'a> {
    actor: &'a Actor,
    action: String,
    resource: Option<ResourceRef>,
    outcome: AuditOutcome,
    detail: String,
    owner: Option<Id<User>>,
}

impl<'a> Record<'a> {
    pub(crate) fn of(actor: &'a Actor, action: &str) -> Self {
        Self {
            actor,
            action: action.to_owned(),
            resource: None,
            outcome: AuditOutcome::Done,
            detail: String::new(),
            owner: actor.user_id(),
        }
    }

    pub(crate) fn resource(mut self, kind: ResourceKind, name: &str) -> Self {
        self.resource = Some(ResourceRef { kind, name: name.to_owned() });
        self
    }

    pub(crate) fn outcome(mut self, outcome: AuditOutcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Finishes the line.
    pub(crate) fn entry(self, at: Timestamp) -> AuditEntry {
        let (resource_kind, resource_name) = match self.resource {
            Some(resource) => (Some(resource.kind), resource.name),
            None => (None, String::new()),
        };
        let detail = match self.detail {
            empty if empty.is_empty() => Value::Null,
            text => Value::String(text),
        };
        AuditEntry {
            at,
            actor: self.actor.user_id(),
            actor_name: self.actor.name().to_owned(),
            owner: self.owner,
            action: self.action,
            resource_kind,
            resource_id: None,
            resource_name,
            outcome: self.outcome,
            detail,
            address: Some(self.actor.from.clone()),
            request_id: self.actor.request_id.clone(),
        }
    }
}

impl Control {
    /// Writes a line about something that wrote nothing else.
    pub(crate) async fn write_audit(&self, record: Record<'_>) -> Result<(), ControlError> {
        Ok(self.inner.store.audit().append(&record.entry(self.now())).await?)
    }
}

impl AuditLog<'_> {
    /// Lists lines, the newest first.
    pub async fn list(&self, query: AuditQuery) -> Result<Page<AuditView>, ControlError> {
        let request = page::request(query.limit, query.cursor.as_deref())?;
        // Which other users there are is not a client's to find out.
        if let (Role::Client, Some(own), Some(name)) =
            (self.actor.role(), self.actor.user(), &query.actor)
            && own.name.as_str() != name
        {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let filter = self.control.audit_filter(&query).await?;
        let visible = self.actor.visible();
        let found = self.control.inner.store.audit().list(visible, &filter, &request).await?;
        Ok(page::map(found, view))
    }
}

impl Control {
    async fn audit_filter(&self, query: &AuditQuery) -> Result<AuditFilter, ControlError> {
        let actor = match &query.actor {
            Some(name) => Some(self.user_named(name).await?.id),
            None => None,
        };
        let outcome = match query.outcome.as_deref() {
            None => None,
            Some("done") => Some(AuditOutcome::Done),
            Some("refused") => Some(AuditOutcome::Refused),
            Some("failed") => Some(AuditOutcome::Failed),
            Some(other) => {
                let text = format!("`{other}` is no outcome; use done, refused or failed");
                return Err(ControlError::BadRequest(text));
            }
        };
        Ok(AuditFilter { actor, outcome, action: query.action.clone(), ..AuditFilter::default() })
    }
}

fn view(row: AuditRow) -> AuditView {
    let entry = row.entry;
    let resource = match entry.resource_kind {
        Some(kind) => format!("{kind} {}", entry.resource_name),
        None => entry.resource_name,
    };
    let detail = match entry.detail {
        Value::Null => String::new(),
        Value::String(text) => text,
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    AuditView {
        at: entry.at,
        actor: entry.actor_name,
        from: entry.address.unwrap_or_default(),
        action: entry.action,
        resource,
        outcome: match entry.outcome {
            AuditOutcome::Done => "done",
            AuditOutcome::Refused => "refused",
            AuditOutcome::Failed => "failed",
        }
        .to_owned(),
        detail,
        request_id: entry.request_id,
    }
}
