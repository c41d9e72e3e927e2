//! Machines that make themselves nodes, by a token that works once.
//!
//! The token says what the node will be: its engine, who logs in, by which labels sites choose it. The
//! machine says its name, its host keys and, if it differs from where it calls from, its address. A
//! machine never takes the place of a node that is there, and one that names another address than its
//! own waits for somebody to look at it.

use std::net::IpAddr;

use jiff::SignedDuration;
use portway_deploy::{SudoPlaces, sudoers};
use portway_model::{
    Bounds, EngineKind, FieldPath, Finding, FindingCode, Findings, Id, Name, Node, NodeSpec,
    Origin, ResourceKind,
    node::{
        Connection, HostKeyPin, check,
        spec::{SshSettingsSpec, SshSpec},
    },
};
use portway_secrets::JoinToken;
use portway_store::{AuditOutcome, ChangeDraft, Expected, JoinTokenRow, NodeFacts};
use portway_wire::{
    Page, PageQuery,
    join::{CreatedJoinToken, JoinNode, JoinTokenView, NewJoinToken, NodeJoined},
};
use uuid::Uuid;

use super::{cloud_init::CloudInit, spec_of, write::NodeDraft};
use crate::{
    Control, ControlError, actor::Actor, audit::Record, auth::ClientInfo, bounds, page,
    rights::Operator, session::later,
};

/// Under this name wrong tokens are counted; no user has it.
const ATTEMPTS: &str = "*join";
const USUAL_MINUTES: u32 = 60;
const MOST_MINUTES: u32 = 7 * 24 * 60;
const USUAL_USER: &str = "portway";
/// A machine has three kinds of host keys, and some have two of a kind.
const MOST_KEYS: usize = 8;
/// Stands for the address of a machine that nobody knows yet (RFC 5737).
const SOMEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

impl Operator<'_> {
    /// Makes a token by which a machine joins, and user-data for cloud-init where that is wanted.
    pub async fn create_join_token(
        &self,
        new: NewJoinToken,
    ) -> Result<CreatedJoinToken, ControlError> {
        let control = self.control;
        let minutes = new.minutes.unwrap_or(USUAL_MINUTES);
        if !(1..=MOST_MINUTES).contains(&minutes) {
            let text = format!("`minutes` is 1 to {MOST_MINUTES}, not {minutes}");
            return Err(ControlError::BadRequest(text));
        }
        let node = judge(&new)?;
        let token = JoinToken::generate()
            .map_err(|error| ControlError::internal("making a token", error))?;
        let cloud_init = match &new.cloud_init {
            Some(_) => Some(control.cloud_init(&new, &node, &token).await?),
            None => None,
        };
        let now = control.now();
        let template = NewJoinToken { cloud_init: None, minutes: None, ..new };
        let row = JoinTokenRow {
            id: Id::from_uuid(Uuid::now_v7()),
            token_hash: token.hash().as_bytes().to_vec(),
            prefix: token.hint(),
            template: serde_json::to_value(&template)
                .map_err(|error| ControlError::internal("making a token", error))?,
            made_by: self.actor.name().to_owned(),
            created_at: now,
            expires_at: later(now, SignedDuration::from_mins(minutes.into())),
            revoked_at: None,
            used_at: None,
            used_from: None,
            node: None,
        };
        let record = Record::of(self.actor, "join_token.create");
        let entry = record.resource(ResourceKind::Token, &row.prefix).entry(now);
        control.inner.store.join_tokens().create(&row, &entry).await?;
        let view = control.join_token_view(&row)?;
        Ok(CreatedJoinToken { view, token: token.expose().to_owned(), cloud_init })
    }

    /// Lists the tokens by which machines join, the newest first.
    pub async fn join_tokens(&self, query: PageQuery) -> Result<Page<JoinTokenView>, ControlError> {
        let found = self.control.inner.store.join_tokens().list(&page::of(&query)?).await?;
        let view = |row: &JoinTokenRow| self.control.join_token_view(row);
        let items = found.items.iter().map(view).collect::<Result<_, _>>()?;
        Ok(Page { items, next: found.next.map(|cursor| cursor.to_string()) })
    }

    /// Ends a token by which no machine has joined yet.
    pub async fn revoke_join_token(&self, id: Uuid) -> Result<(), ControlError> {
        let now = self.control.now();
        let record = Record::of(self.actor, "join_token.revoke");
        let entry = record.resource(ResourceKind::Token, &id.to_string()).entry(now);
        let tokens = self.control.inner.store.join_tokens();
        if tokens.revoke(Id::from_uuid(id), &entry, now).await? {
            return Ok(());
        }
        Err(ControlError::NotFound { what: "join token that works", name: id.to_string() })
    }
}

/// A machine that asks to join, as far as it is proven.
struct Joining {
    token: JoinTokenRow,
    template: NewJoinToken,
    name: Name,
    address: IpAddr,
    /// Whether it calls from the address that it gives.
    is_there: bool,
    host_keys: Vec<HostKeyPin>,
}

impl Control {
    /// Makes a node of a machine that shows a token.
    pub async fn join(
        &self,
        join: &JoinNode,
        client: &ClientInfo,
    ) -> Result<NodeJoined, ControlError> {
        let attempt = self.begin_attempt(ATTEMPTS, &client.from).await?;
        let Some(token) = self.join_token(&join.token).await? else {
            return self.refuse_to_join(client, unknown()).await;
        };
        // A token that is one shows that nobody guesses.
        self.withdraw(&attempt).await?;
        if let Some(joined) = self.has_joined(&token, join).await? {
            return Ok(joined);
        }
        if !token.is_usable(self.now()) {
            return self.refuse_to_join(client, unknown()).await;
        }
        let joining = match self.read_joining(token, join, client) {
            Ok(joining) => joining,
            Err(error) => return self.refuse_to_join(client, error).await,
        };
        self.take_in(joining, client).await
    }

    async fn join_token(&self, text: &str) -> Result<Option<JoinTokenRow>, ControlError> {
        let Ok(token) = text.parse::<JoinToken>() else { return Ok(None) };
        Ok(self.inner.store.join_tokens().by_hash(token.hash().as_bytes()).await?)
    }

    /// Returns what a machine was told that asks once more, since it did not get the answer.
    async fn has_joined(
        &self,
        token: &JoinTokenRow,
        join: &JoinNode,
    ) -> Result<Option<NodeJoined>, ControlError> {
        let Some(name) = &token.node else { return Ok(None) };
        let Ok(row) = self.node_named(name).await else { return Ok(None) };
        let Some(spec) = spec_of(&row)? else { return Ok(None) };
        let Some(SshSpec::Settings(ssh)) = &spec.ssh else { return Ok(None) };
        if ssh.host_keys != join.host_keys {
            return Ok(None);
        }
        Ok(Some(NodeJoined {
            node: name.clone(),
            address: ssh.address.clone(),
            active: spec.active.unwrap_or(true),
            findings: Vec::new(),
        }))
    }

    fn read_joining(
        &self,
        token: JoinTokenRow,
        join: &JoinNode,
        client: &ClientInfo,
    ) -> Result<Joining, ControlError> {
        let template = template_of(&token)?;
        let name = template.name.as_ref().unwrap_or(&join.name);
        let name = name.parse().map_err(|error| {
            ControlError::BadRequest(format!("`{name}` is no name of a node: {error}"))
        })?;
        let peer = client.from.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let given = join.address.as_deref().map(str::parse::<IpAddr>).transpose();
        let given = given.map_err(|_| {
            ControlError::BadRequest("`address` is an IP address, without a port".to_owned())
        })?;
        let address = given.map(|address| address.to_canonical()).or(peer).ok_or_else(|| {
            let text = "give `address`: the request came over the local socket, which has none";
            ControlError::BadRequest(text.to_owned())
        })?;
        let guard = bounds::guard(&Bounds::default(), &self.own_addresses());
        if !template.allow_local && !guard.permits(address) {
            return Err(ControlError::Denied(format!(
                "{address} is the manager's own machine, link-local or a metadata service, where no \
                 node is unless its token allows it"
            )));
        }
        if join.host_keys.is_empty() || join.host_keys.len() > MOST_KEYS {
            let text = format!("`host_keys` are 1 to {MOST_KEYS} fingerprints");
            return Err(ControlError::BadRequest(text));
        }
        let host_keys = join.host_keys.iter().map(|key| key.parse()).collect::<Result<_, _>>();
        let host_keys = host_keys.map_err(|error: portway_model::node::HostKeyPinError| {
            ControlError::BadRequest(error.to_string())
        })?;
        Ok(Joining { token, template, name, address, is_there: peer == Some(address), host_keys })
    }

    /// Makes the node, and uses the token up for it.
    async fn take_in(
        &self,
        joining: Joining,
        client: &ClientInfo,
    ) -> Result<NodeJoined, ControlError> {
        let Joining { token, template, name, address, is_there, host_keys } = joining;
        if self.inner.store.nodes().by_name(&name).await?.is_some() {
            let text = format!(
                "there is a node `{name}` already, and a machine that joins takes nobody's place"
            );
            return self.refuse_to_join(client, ControlError::Taken(text)).await;
        }
        let mut spec = spec(&template, address, &host_keys);
        spec.active = Some(template.active && is_there);
        let id = Id::from_uuid(Uuid::now_v7());
        let prepared = self.prepare_node(id, &name, spec, None).await?;
        let (active, at) = (prepared.node.active, address_of(&prepared.node));
        let change = ChangeDraft::node(id, Expected::New, prepared.version(Origin::Api)?);
        let draft = NodeDraft {
            action: "node.join",
            name: name.as_str(),
            message: format!("node {name} joined from {} by token {}…", client.from, token.prefix),
            origin: Origin::Api,
            changes: vec![change],
            secrets: prepared.secrets,
        };
        let tokens = self.inner.store.join_tokens();
        if !tokens.redeem(token.id, name.as_str(), &client.from, self.now()).await? {
            return self.refuse_to_join(client, unknown()).await;
        }
        if let Err(error) = self.commit_nodes(&newcomer(client), draft).await {
            tokens.give_back(token.id).await?;
            return Err(error);
        }
        let mut findings = prepared.findings;
        if !is_there {
            let text = format!(
                "it joined from {}, and gave {address} as its address; it is left inactive until \
                 somebody has seen that both are the same machine",
                client.from
            );
            let facts = NodeFacts {
                error: Some(text.clone()),
                error_at: Some(self.now()),
                ..NodeFacts::default()
            };
            self.inner.store.nodes().put_facts(id, &facts).await?;
            let mut about = Findings::about(ResourceKind::Node, name.as_str());
            about
                .warning(FindingCode::NodeUnfit, &FieldPath::root().key("ssh"), text)
                .remedy(format!("look at it, then `portway node activate {name}`"));
            findings.extend(about.into_vec());
        }
        Ok(NodeJoined { node: name.to_string(), address: at, active, findings })
    }

    async fn refuse_to_join<T>(
        &self,
        client: &ClientInfo,
        error: ControlError,
    ) -> Result<T, ControlError> {
        let actor = newcomer(client);
        let record = Record::of(&actor, "node.join").outcome(AuditOutcome::Refused);
        self.write_audit(record.detail(error.to_string())).await?;
        Err(error)
    }

    async fn cloud_init(
        &self,
        new: &NewJoinToken,
        node: &Node,
        token: &JoinToken,
    ) -> Result<String, ControlError> {
        let options = new.cloud_init.clone().unwrap_or_default();
        let url = match options.url {
            Some(url) => url,
            None if self.inner.config.console.is_some() => self.inner.config.console_url.clone(),
            None => {
                let text = "machines need an address at which they reach this manager: publish the console (`portway setup --console-host NAME`), or give a URL";
                return Err(ControlError::Conflict(text.to_owned()));
            }
        };
        let Connection::Ssh(ssh) = &node.connection else {
            return Err(ControlError::internal("writing user-data", "the node has no login"));
        };
        let rules = sudoers(node, &ssh.to.user, &SudoPlaces::usual(node))
            .map_err(|error| ControlError::internal("writing rules of sudo", error))?;
        let roots = if options.public_ca { None } else { Some(self.local_roots_pem().await?) };
        CloudInit {
            engine: node.engine,
            user: &ssh.to.user,
            public_key: &self.inner.ssh_key.public_line(),
            sudoers: &rules.text,
            url: &url,
            roots: roots.as_deref(),
            token,
            name: new.name.as_deref(),
        }
        .write()
        .map_err(ControlError::BadRequest)
    }

    fn join_token_view(&self, row: &JoinTokenRow) -> Result<JoinTokenView, ControlError> {
        Ok(JoinTokenView {
            id: row.id.uuid(),
            prefix: row.prefix.clone(),
            template: template_of(row)?,
            usable: row.is_usable(self.now()),
            made_by: row.made_by.clone(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            used_at: row.used_at,
            used_from: row.used_from.clone(),
            node: row.node.clone(),
        })
    }
}

fn template_of(row: &JoinTokenRow) -> Result<NewJoinToken, ControlError> {
    serde_json::from_value(row.template.clone())
        .map_err(|error| ControlError::internal("reading a join token", error))
}

/// Judges what a token says of its node, before any machine has it.
fn judge(new: &NewJoinToken) -> Result<Node, ControlError> {
    let name = new.name.as_deref().unwrap_or("joining");
    let name: Name = name.parse().map_err(|error| {
        ControlError::BadRequest(format!("`{name}` is no name of a node: {error}"))
    })?;
    match check(&name, &spec(new, SOMEWHERE, &[])) {
        (Some(node), findings) if !findings.iter().any(Finding::is_error) => match node.engine {
            EngineKind::Edge => {
                let text = "edges do not join; add the node, then `portway node install` it";
                Err(ControlError::BadRequest(text.to_owned()))
            }
            EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik => Ok(node),
        },
        (_, findings) => Err(ControlError::Invalid(findings)),
    }
}

fn spec(template: &NewJoinToken, address: IpAddr, host_keys: &[HostKeyPin]) -> NodeSpec {
    let user = template.user.as_deref().unwrap_or(USUAL_USER);
    let to = std::net::SocketAddr::new(address, template.port.unwrap_or(22));
    let ssh = SshSettingsSpec {
        address: format!("{user}@{to}"),
        host_keys: host_keys.iter().map(ToString::to_string).collect(),
        ..SshSettingsSpec::default()
    };
    NodeSpec {
        engine: template.engine.clone(),
        ssh: Some(SshSpec::Settings(Box::new(ssh))),
        labels: template.labels.clone(),
        zone: template.zone.clone(),
        groups: template.groups.clone(),
        active: Some(template.active),
        ..NodeSpec::default()
    }
}

fn address_of(node: &Node) -> String {
    match &node.connection {
        Connection::Local(_) => String::new(),
        Connection::Ssh(ssh) => format!("{}@{}", ssh.to.user.as_str(), ssh.to.address),
    }
}

/// Whoever joins is nobody yet.
fn newcomer(client: &ClientInfo) -> Actor {
    client.stranger("a machine that joins")
}

fn unknown() -> ControlError {
    let text = "this join token is unknown, was used, or has ended; `portway node token create` makes another";
    ControlError::Unauthenticated(text.to_owned())
}
