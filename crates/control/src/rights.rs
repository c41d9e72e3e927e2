//! Rights are types: without the right, the method does not exist. Each type is made in one place
//! here, after role and token scope were judged; a refusal is audited.

use portway_model::{Finding, Location, ResourceKind, Role};
use portway_store::{AuditOutcome, Visible};

use crate::{
    Control, ControlError,
    actor::{Actor, Resource, Verb},
    audit::Record,
};

/// Reads sites within what the actor may see.
pub struct Sites<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

/// Changes sites within what the actor may see and, for clients, within their bounds.
pub struct Editor<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

/// Reads the history of what the actor may see.
pub struct History<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

/// Does what only an administrator may.
pub struct Operator<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

/// Runs commands on nodes, where the installation lets administrators do so.
pub struct Commander<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

/// Reads what concerns the installation as a whole.
pub struct Overseer<'a> {
    pub(crate) control: &'a Control,
}

/// The actor's own affairs.
pub struct Account<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

/// API tokens: one's own, and for administrators everybody's.
pub struct ApiTokens<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

/// The audit log: everybody's lines for administrators and viewers, one's own for clients.
pub struct AuditLog<'a> {
    pub(crate) control: &'a Control,
    pub(crate) actor: &'a Actor,
}

impl Actor {
    /// Returns whose things the actor sees. It is part of every query.
    pub(crate) fn visible(&self) -> Visible {
        match (self.role(), self.user_id()) {
            (Role::Client, Some(id)) => Visible::Owner(id),
            (Role::Admin | Role::Viewer | Role::Client, _) => Visible::All,
        }
    }
}

/// Leaves out what is told of nodes where only somebody's own sites may be seen.
pub(crate) fn leave_out_nodes(visible: Visible, findings: &mut Vec<Finding>) {
    if visible == Visible::All {
        return;
    }
    findings.retain(|finding| match &finding.at {
        Location::Field { resource, .. } => resource.kind != ResourceKind::Node,
        Location::Source(_) | Location::Host(_) | Location::Installation => true,
    });
}

impl Actor {
    /// Tells whether the actor may see nodes, as [`Control::overseer`] judges it, without asking for
    /// it: what one may not see is left out.
    pub(crate) fn sees_nodes(&self) -> bool {
        let is_overseer = match self.role() {
            Role::Admin | Role::Viewer => true,
            Role::Client => false,
        };
        is_overseer && self.permits(Verb::Read, Resource::Nodes)
    }
}

impl Control {
    /// Returns the right to read sites.
    pub async fn sites<'a>(&'a self, actor: &'a Actor) -> Result<Sites<'a>, ControlError> {
        self.scope(actor, Verb::Read, Resource::Sites, "site.read").await?;
        Ok(Sites { control: self, actor })
    }

    /// Returns the right to read sites and their logs.
    pub async fn logs<'a>(&'a self, actor: &'a Actor) -> Result<Sites<'a>, ControlError> {
        self.scope(actor, Verb::Read, Resource::Logs, "log.read").await?;
        Ok(Sites { control: self, actor })
    }

    /// Returns the right to change sites.
    pub async fn editor<'a>(&'a self, actor: &'a Actor) -> Result<Editor<'a>, ControlError> {
        const ACTION: &str = "site.write";
        self.scope(actor, Verb::Write, Resource::Sites, ACTION).await?;
        match actor.role() {
            Role::Admin | Role::Client => Ok(Editor { control: self, actor }),
            Role::Viewer => self.refuse(actor, ACTION, "a viewer changes nothing").await,
        }
    }

    /// Returns the right to read the history.
    pub async fn history<'a>(&'a self, actor: &'a Actor) -> Result<History<'a>, ControlError> {
        self.scope(actor, Verb::Read, Resource::Revisions, "revision.read").await?;
        Ok(History { control: self, actor })
    }

    /// Returns the rights of an administrator for one action.
    pub async fn operator<'a>(
        &'a self,
        actor: &'a Actor,
        resource: Resource,
        action: &'static str,
    ) -> Result<Operator<'a>, ControlError> {
        self.scope(actor, Verb::Write, resource, action).await?;
        match actor.role() {
            Role::Admin => Ok(Operator { control: self, actor }),
            Role::Client | Role::Viewer => {
                self.refuse(actor, action, "only an administrator may do this").await
            }
        }
    }

    /// Returns the right to run commands on nodes.
    pub async fn commander<'a>(&'a self, actor: &'a Actor) -> Result<Commander<'a>, ControlError> {
        const ACTION: &str = "node.exec";
        self.operator(actor, Resource::Commands, ACTION).await?;
        if self.inner.config.node_exec {
            return Ok(Commander { control: self, actor });
        }
        let why = "this installation runs no commands for people on nodes: its manager was started with `--node-exec false`, or so says its config.yaml";
        self.refuse(actor, ACTION, why).await
    }

    /// Returns the right to see what concerns the installation as a whole.
    pub async fn overseer<'a>(
        &'a self,
        actor: &'a Actor,
        resource: Resource,
        action: &'static str,
    ) -> Result<Overseer<'a>, ControlError> {
        self.scope(actor, Verb::Read, resource, action).await?;
        match actor.role() {
            Role::Admin | Role::Viewer => Ok(Overseer { control: self }),
            Role::Client => {
                self.refuse(actor, action, "a client sees only what is the client's own").await
            }
        }
    }

    /// Refuses whoever may not have nodes read.
    pub(crate) async fn may_read_nodes(&self, actor: &Actor) -> Result<(), ControlError> {
        self.operator(actor, Resource::Nodes, "node.check").await.map(drop)
    }

    /// Returns the right to one's own affairs. It needs a login of one's own: a token is not
    /// enough to change a password.
    pub fn account<'a>(&'a self, actor: &'a Actor) -> Account<'a> {
        Account { control: self, actor }
    }

    /// Returns the right to see or change API tokens.
    pub async fn tokens<'a>(
        &'a self,
        actor: &'a Actor,
        verb: Verb,
    ) -> Result<ApiTokens<'a>, ControlError> {
        self.scope(actor, verb, Resource::Tokens, "token").await?;
        Ok(ApiTokens { control: self, actor })
    }

    /// Returns the right to read the audit log.
    pub async fn audit<'a>(&'a self, actor: &'a Actor) -> Result<AuditLog<'a>, ControlError> {
        self.scope(actor, Verb::Read, Resource::Audit, "audit.read").await?;
        Ok(AuditLog { control: self, actor })
    }

    async fn scope(
        &self,
        actor: &Actor,
        verb: Verb,
        resource: Resource,
        action: &'static str,
    ) -> Result<(), ControlError> {
        if actor.permits(verb, resource) {
            return Ok(());
        }
        self.refuse(actor, action, "the scopes of this token do not include this").await
    }

    /// Writes a refusal into the audit log and returns it.
    pub(crate) async fn refuse<T>(
        &self,
        actor: &Actor,
        action: &str,
        why: &str,
    ) -> Result<T, ControlError> {
        let record = Record::of(actor, action).outcome(AuditOutcome::Refused).detail(why);
        self.write_audit(record).await?;
        Err(ControlError::Denied(why.to_owned()))
    }
}
