//! Who acts, and how they came in.

use std::{fmt, str::FromStr};

use portway_model::{Id, Role, User};

/// Whoever wants something done.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Who it is.
    pub identity: Identity,
    /// How the login was proven.
    pub via: Via,
    /// From where: an address, or `local`.
    pub from: String,
    /// The request, as the logs know it.
    pub request_id: Option<String>,
}

/// Who it is.
#[derive(Clone, Debug)]
pub enum Identity {
    /// An administrator of the machine itself, proven by the local socket; carries the login name
    /// of the operating system.
    Machine(String),
    /// A user.
    User(Box<User>),
    /// Portway, for what it does by itself.
    System,
}

/// How a login was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// By the local socket, or by being Portway itself.
    Local,
    /// By a session cookie of the browser.
    Session(uuid::Uuid),
    /// By a JWT.
    Jwt(uuid::Uuid),
    /// By an API token, which bounds what can be done.
    Token(uuid::Uuid, Scopes),
}

/// What an API token may do, within what its owner may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

/// One permission of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    verb: Option<Verb>,
    resource: Option<Resource>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Looking.
    Read,
    /// Changing.
    Write,
}

/// With what something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Sites, plans and site files.
    Sites,
    /// Nodes, and the key that logs in to them.
    Nodes,
    /// Logs of sites.
    Logs,
    /// Users, their links and sessions.
    Users,
    /// API tokens.
    Tokens,
    /// The audit log.
    Audit,
    /// The history.
    Revisions,
    /// Tasks, deployments, certificates, metrics.
    System,
    /// Commands on nodes: whoever may run them may do what the node's login may.
    Commands,
}

/// A text that is no scope.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a scope; write for example `read:sites`, `write:*` or `*:*`")]
pub struct ScopeError(String);

impl Actor {
    /// Returns Portway itself as an actor.
    pub fn system() -> Self {
        Self {
            identity: Identity::System,
            via: Via::Local,
            from: "local".to_owned(),
            request_id: None,
        }
    }

    /// Returns the name under which the actor is remembered.
    pub fn name(&self) -> &str {
        match &self.identity {
            Identity::Machine(login) => login,
            Identity::User(user) => user.name.as_str(),
            Identity::System => "portway",
        }
    }

    /// Returns the user, where it is one.
    pub fn user(&self) -> Option<&User> {
        match &self.identity {
            Identity::User(user) => Some(user),
            Identity::Machine(_) | Identity::System => None,
        }
    }

    /// Returns the user's id, where it is one.
    pub fn user_id(&self) -> Option<Id<User>> {
        self.user().map(|user| user.id)
    }

    /// Returns what the actor may do. Whoever may act on the machine itself is an administrator.
    pub fn role(&self) -> Role {
        self.user().map_or(Role::Admin, |user| user.role)
    }

    /// Returns how the actor came in, in a word.
    pub fn via_word(&self) -> &'static str {
        match self.via {
            Via::Local => "local",
            Via::Session(_) => "session",
            Via::Jwt(_) => "jwt",
            Via::Token(..) => "token",
        }
    }

    /// Tells whether the actor sees what concerns the installation as a whole.
    pub fn oversees(&self) -> bool {
        match self.role() {
            Role::Admin | Role::Viewer => self.permits(Verb::Read, Resource::System),
            Role::Client => false,
        }
    }

    /// Tells whether the way the actor came in permits this.
    pub fn permits(&self, verb: Verb, resource: Resource) -> bool {
        match &self.via {
            Via::Local | Via::Session(_) | Via::Jwt(_) => true,
            Via::Token(_, scopes) => scopes.permit(verb, resource),
        }
    }
}

impl Scopes {
    /// Reads scopes; what is none is returned as an error, the first one.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, ScopeError> {
        texts.into_iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    fn permit(&self, verb: Verb, resource: Resource) -> bool {
        self.0.iter().any(|scope| {
            scope.verb.is_none_or(|allowed| allowed == verb)
                && scope.resource.is_none_or(|allowed| allowed == resource)
        })
    }
}

impl Resource {
    /// All resources with their names.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Sites, "sites"),
        (Self::Nodes, "nodes"),
        (Self::Logs, "logs"),
        (Self::Users, "users"),
        (Self::Tokens, "tokens"),
        (Self::Audit, "audit"),
        (Self::Revisions, "revisions"),
        (Self::System, "system"),
        (Self::Commands, "commands"),
    ];
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let error = || ScopeError(text.to_owned());
        let (verb, resource) = text.split_once(':').ok_or_else(error)?;
        let verb = match verb {
            "*" => None,
            "read" => Some(Verb::Read),
            "write" => Some(Verb::Write),
            _ => return Err(error()),
        };
        let resource = match resource {
            "*" => None,
            name => {
                let known = Resource::ALL.into_iter().find(|(_, word)| *word == name);
                Some(known.ok_or_else(error)?.0)
            }
        };
        Ok(Self { verb, resource })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            None => "*",
            Some(Verb::Read) => "read",
            Some(Verb::Write) => "write",
        };
        let resource = self.resource.and_then(|resource| {
            Resource::ALL.into_iter().find(|(known, _)| *known == resource).map(|(_, word)| word)
        });
        write!(f, "{verb}:{}", resource.unwrap_or("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_permits_what_it_names_and_no_more() {
        let scopes = Scopes::parse(["read:sites", "*:audit"]).unwrap();
        assert!(scopes.permit(Verb::Read, Resource::Sites));
        assert!(!scopes.permit(Verb::Write, Resource::Sites));
        assert!(scopes.permit(Verb::Write, Resource::Audit));
        assert!(!scopes.permit(Verb::Read, Resource::Users));
    }

    #[test]
    fn a_scope_that_is_none_is_refused() {
        for text in ["", "sites", "read", "delete:sites", "read:site", "read:sites:x"] {
            assert!(Scopes::parse([text]).is_err(), "{text}");
        }
    }
}
