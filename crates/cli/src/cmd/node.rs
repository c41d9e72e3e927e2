//! `node add|list|show|set|remove|activate|deactivate|check|deploy|drift|adopt|install|confirm|key|stats`.

mod drift;
mod file;
mod install;
mod join;
mod manage;
mod spec;
mod stats;

use portway_model::{EngineKind, NodeSpec, node::HostKeyPin};
use portway_wire::{
    client::{Client, ClientError, IfMatch},
    node::{
        ConfirmHostKey, EditNode, NewNode, NodeChanged, NodeCheck, NodeHealthCheck, NodeQuery,
        NodeState, NodeView, PinNode, RemoveNode,
    },
};
use uuid::Uuid;

pub(super) use self::{
    drift::{adopt, drift},
    file::{discover, export, import},
    install::install,
    join::{cloud_init, create_token, list_tokens, revoke_token},
    manage::{exec, service, stop, sudoers},
    stats::stats,
};
use super::paging;
use crate::{
    args::{NodeAdd, NodeList, NodeRemove, NodeSet},
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    input,
    out::{Paint, Table, clean, or_dash, time},
    session::Session,
};

/// `portway node add`
pub(super) async fn add(session: &Session, args: NodeAdd) -> Outcome {
    let mut spec = NodeSpec { engine: args.engine.to_string(), ..NodeSpec::default() };
    spec::lay_over(&args.options, &mut spec)?;
    if args.inactive {
        spec.active = Some(false);
    }
    let client = session.client().await?;
    let uses_own_key = args.options.ssh.is_some() && !args.options.has_login();
    let spec = to_json(&spec)?;
    let new = NewNode { name: args.name.to_string(), spec, message: args.message };
    let view = client.create_node(&new, Uuid::now_v7()).await?;
    session.out.note(&format!("added {}", clean(&view.name)))?;
    session.out.show(&view, |paint| describe(&view, paint))?;
    findings::show(&session.out, &view.findings, &Sources::default())?;
    if view.state == NodeState::Unconfirmed {
        show_host_key(session, &client, &view.name).await?;
    }
    if uses_own_key {
        let key = client.ssh_key().await?;
        session.out.note(&format!(
            "Portway logs in with its own key; put this line into ~/.ssh/authorized_keys there:\n{}",
            clean(&key.public_key)
        ))?;
    }
    Ok(Exit::Ok)
}

/// Shows which key a host has that is to be confirmed, or why that is not known.
async fn show_host_key(session: &Session, client: &Client, node: &str) -> Result<(), Failure> {
    let progress = session.out.progress("the node is asked for its host key");
    let found = progress.during(client.check_node(node)).await?;
    let text = match (found.offered_host_key, found.offered_by, found.problem) {
        (Some(offered), by, _) => format!(
            "{} shows the host key {}; if it is the host's own: `portway node confirm {}`",
            by.map_or_else(|| clean(node), |by| format!("the jump host {}", clean(&by))),
            clean(&offered),
            clean(node),
        ),
        (None, _, Some(problem)) => format!("its host key is not known yet: {}", clean(&problem)),
        (None, _, None) => return Ok(()),
    };
    session.out.note(&text)
}

/// `portway node list`
pub(super) async fn list(session: &Session, args: NodeList) -> Outcome {
    let client = session.client().await?;
    let is_filtered =
        !args.select.is_empty() || args.engine.is_some() || args.active || args.inactive;
    let base = NodeQuery {
        select: (!args.select.is_empty()).then(|| args.select.join(",")),
        engine: args.engine.map(|engine| engine.to_string()),
        active: (args.active || args.inactive).then_some(args.active),
        ..NodeQuery::default()
    };
    let nodes = all(&client, &base).await?;
    let empty = if is_filtered { "no such nodes" } else { "no nodes" };
    session.out.list(&nodes, table, empty)?;
    Ok(Exit::Ok)
}

async fn all(client: &Client, base: &NodeQuery) -> Result<Vec<NodeView>, ClientError> {
    paging::all(None, |cursor, count| {
        let query = NodeQuery { cursor, limit: Some(count), ..base.clone() };
        async move { client.nodes(&query).await }
    })
    .await
}

/// `portway node show`
pub(super) async fn show(session: &Session, node: &str) -> Outcome {
    let view = session.client().await?.node(node).await?;
    session.out.show(&view, |paint| describe(&view, paint))?;
    findings::show(&session.out, &view.findings, &Sources::default())?;
    Ok(Exit::Ok)
}

/// `portway node set`
pub(super) async fn set(session: &Session, args: NodeSet) -> Outcome {
    let client = session.client().await?;
    let view = client.node(&args.node).await?;
    let (Some(before), Some(revision)) = (view.spec, view.revision) else {
        return Err(Failure::usage(format!("{} is the edge of a manager", clean(&view.name)))
            .help("it is not declared and has nothing to be set"));
    };
    let mut spec = before.clone();
    if let Some(engine) = args.engine {
        spec.engine = engine.to_string();
    }
    spec::lay_over(&args.options, &mut spec)?;
    if spec == before {
        return Err(Failure::usage("nothing to change was given")
            .help("`portway help node set` lists what can be changed"));
    }
    let edit = EditNode { spec: to_json(&spec)?, message: args.message };
    let changed =
        client.edit_node(&view.id.to_string(), &edit, IfMatch::Revision(revision)).await?;
    finish(session, &changed)
}

/// `portway node remove`
pub(super) async fn remove(session: &Session, args: NodeRemove) -> Outcome {
    let client = session.client().await?;
    if args.clean && !args.yes {
        ask_to_stop(session, &client.node(&args.node).await?)?;
    }
    let how = RemoveNode { even_if_named: args.even_if_named, clean: args.clean };
    let changed = client.remove_node(&args.node, how, IfMatch::Any).await?;
    finish(session, &changed)
}

/// Asks before an edge is taken away, and the sites with it that only this edge serves.
fn ask_to_stop(session: &Session, view: &NodeView) -> Result<(), Failure> {
    if view.engine != EngineKind::Edge.as_str() {
        return Ok(());
    }
    if !input::is_interactive() {
        return Err(Failure::usage("there is no terminal to ask at")
            .help("--yes stops the edge of the node and removes it"));
    }
    let name = clean(&view.name);
    session
        .out
        .note(&format!("the edge of {name} is stopped, and removed with all that it has"))?;
    if input::confirm("Do it?")? {
        return Ok(());
    }
    Err(Failure::new(Exit::Interrupted, "nothing was done"))
}

/// `portway node activate`
pub(super) async fn activate(session: &Session, node: &str) -> Outcome {
    let changed = session.client().await?.activate_node(node).await?;
    finish(session, &changed)
}

/// `portway node deactivate`
pub(super) async fn deactivate(session: &Session, node: &str) -> Outcome {
    let changed = session.client().await?.deactivate_node(node).await?;
    finish(session, &changed)
}

/// `portway node drain`
pub(super) async fn drain(session: &Session, node: &str) -> Outcome {
    let changed = session.client().await?.drain_node(node).await?;
    finish(session, &changed)
}

/// `portway node undrain`
pub(super) async fn undrain(session: &Session, node: &str) -> Outcome {
    let changed = session.client().await?.undrain_node(node).await?;
    finish(session, &changed)
}

/// `portway node check`
pub(super) async fn check(session: &Session, node: &str) -> Outcome {
    let found = session.client().await?.check_node(node).await?;
    session.out.show(&found, |paint| describe_check(&found, paint))?;
    findings::show(&session.out, &found.findings, &Sources::default())?;
    Ok(if found.ready { Exit::Ok } else { Exit::Findings })
}

/// `portway node deploy`
pub(super) async fn deploy(session: &Session, node: &str) -> Outcome {
    let view = session.client().await?.deploy_node(node).await?;
    brought(session, &view)
}

/// `portway node pin`
pub(super) async fn pin(
    session: &Session,
    node: &str,
    revision: Option<i64>,
    message: Option<String>,
) -> Outcome {
    let pin = PinNode { revision, message };
    let view = session.client().await?.pin_node(node, &pin).await?;
    brought(session, &view)
}

/// `portway node release`
pub(super) async fn release(session: &Session, node: &str) -> Outcome {
    let view = session.client().await?.release_node(node).await?;
    brought(session, &view)
}

/// `portway node rollback`
pub(super) async fn roll_back(session: &Session, node: &str) -> Outcome {
    let view = session.client().await?.roll_back_node(node).await?;
    brought(session, &view)
}

/// Tells how a node is that was to be brought to something.
fn brought(session: &Session, view: &NodeView) -> Outcome {
    session.out.show(view, |paint| describe(view, paint))?;
    findings::show(&session.out, &view.findings, &Sources::default())?;
    Ok(if view.state == NodeState::Ready { Exit::Ok } else { Exit::Held })
}

/// `portway node confirm`
pub(super) async fn confirm(
    session: &Session,
    node: &str,
    host_key: Option<HostKeyPin>,
    jump: Option<String>,
    keep: bool,
) -> Outcome {
    let client = session.client().await?;
    let (fingerprint, jump) = match host_key {
        Some(pin) => (pin.to_string(), jump),
        None => match ask(session, &client.node(node).await?)? {
            Some(shown) => shown,
            None => return Err(Failure::new(Exit::Interrupted, "not confirmed")),
        },
    };
    let confirm = ConfirmHostKey { fingerprint, jump, keep };
    let changed = client.confirm_host_key(node, &confirm).await?;
    finish(session, &changed)
}

/// Shows the key that a host showed, and those that were confirmed, and asks about it. Nobody
/// confirms what nobody has seen. Returns the key, and the jump host that showed it.
fn ask(session: &Session, view: &NodeView) -> Result<Option<(String, Option<String>)>, Failure> {
    let name = clean(&view.name);
    let Some(offered) = &view.facts.offered_host_key else {
        return Err(Failure::usage(format!("{name} has not shown a key that is to be confirmed"))
            .help("give the fingerprint that `ssh-keygen -lf` prints on the host: --host-key"));
    };
    let by = view.facts.offered_by.as_ref();
    match by {
        Some(by) => session.out.note(&format!(
            "the jump host {} of {name} shows the host key   {}",
            clean(by),
            clean(offered)
        ))?,
        None => session.out.note(&format!("{name} shows the host key   {}", clean(offered)))?,
    }
    for known in spec::host_keys(view.spec.as_ref()).iter().filter(|_| by.is_none()) {
        session.out.note(&format!("confirmed before was    {}", clean(known)))?;
    }
    if !input::is_interactive() {
        let jump = by.map(|by| format!("--jump {} ", clean(by))).unwrap_or_default();
        let help =
            format!("compare it with the host's own, then {jump}--host-key {}", clean(offered));
        return Err(Failure::usage("there is no terminal to ask at").help(help));
    }
    let is_same = input::confirm("Is it the same that `ssh-keygen -lf` prints on the host?")?;
    Ok(is_same.then(|| (offered.clone(), by.cloned())))
}

/// `portway node key`
pub(super) async fn key(session: &Session) -> Outcome {
    let key = session.client().await?.ssh_key().await?;
    session.out.note("The key with which Portway logs in, for ~/.ssh/authorized_keys on nodes:")?;
    session.out.show(&key, |_| clean(&key.public_key))?;
    Ok(Exit::Ok)
}

fn finish(session: &Session, changed: &NodeChanged) -> Outcome {
    let name = clean(&changed.node);
    session.out.show(changed, |_| match changed.revision {
        Some(revision) => format!("{name}: revision {revision}"),
        None => format!("{name}: not changed"),
    })?;
    findings::show(&session.out, &changed.findings, &Sources::default())?;
    Ok(Exit::Ok)
}

fn to_json(spec: &NodeSpec) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(spec)
        .map_err(|error| Failure::failed("the node cannot be sent").because(&error))
}

fn table(nodes: &[NodeView]) -> Table {
    let rows = nodes.iter().map(|node| {
        [
            node.name.clone(),
            node.engine.clone(),
            node.address.clone(),
            state_of(node),
            or_dash(node.health.as_ref().map(|health| health.state)),
            or_dash(node.spec.as_ref().map(spec::chosen_by)),
            or_dash(node.facts.engine_version.as_ref()),
        ]
    });
    Table::new(["name", "engine", "address", "state", "health", "chosen by", "version"]).rows(rows)
}

fn state_of(view: &NodeView) -> String {
    let is_draining = view.spec.as_ref().is_some_and(|spec| spec.draining == Some(true));
    let draining = if is_draining { ", draining" } else { "" };
    let pinned = view.spec.as_ref().and_then(|spec| spec.pinned);
    let pinned = pinned.map(|revision| format!(", pinned at {revision}")).unwrap_or_default();
    format!("{}{draining}{pinned}", state(view.state))
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Ready => "ready",
        NodeState::Unknown => "not asked yet",
        NodeState::Unconfirmed => "host key not confirmed",
        NodeState::Failed => "failed",
        NodeState::Inactive => "inactive",
    }
}

fn describe_check(found: &NodeCheck, paint: Paint) -> String {
    let mut lines = vec![("ready", if found.ready { "yes" } else { "no" }.to_owned())];
    lines.extend(found.problem.clone().map(|problem| ("problem", problem)));
    lines.extend(found.remedy.clone().map(|remedy| ("remedy", remedy)));
    lines.extend(found.offered_host_key.clone().map(|key| ("shows", key)));
    lines.extend(found.offered_by.clone().map(|by| ("of", format!("its jump host {by}"))));
    lines.extend(found.system.clone().map(|system| ("system", system)));
    lines.extend(found.engine_version.clone().map(|version| ("version", version)));
    lines.extend(found.user.map(|user| ("user", user.to_string())));
    lines.extend(found.free_bytes.map(|free| ("free", format!("{} MiB", free >> 20))));
    lines.extend(found.clock_ahead_seconds.map(|ahead| ("clock", format!("{ahead:+} s"))));
    let line = |(name, value): (&str, String)| {
        format!("{} {}\n", paint.dim(&format!("{name:<9}")), clean(&value))
    };
    lines.into_iter().map(line).collect()
}

fn trouble(check: &NodeHealthCheck) -> String {
    let remedy = check.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    format!("{} {}: {}{remedy}", check.check, check.verdict, check.text)
}

fn describe(view: &NodeView, paint: Paint) -> String {
    let facts = &view.facts;
    let mut lines = vec![
        ("name", view.name.clone()),
        ("id", view.id.to_string()),
        ("engine", view.engine.clone()),
        ("version", or_dash(facts.engine_version.as_ref())),
        ("address", view.address.clone()),
        ("state", state_of(view)),
        ("origin", or_dash(view.origin.as_ref())),
        ("revision", or_dash(view.revision)),
        ("deployed", view.deployed_revision.to_string()),
        ("runs", or_dash(facts.digest.as_ref())),
        ("read", or_dash(facts.read_at.map(time))),
        ("made", time(view.created_at)),
    ];
    if let Some(health) = &view.health {
        lines.push(("health", format!("{} since {}", health.state, time(health.since))));
        let troubles = health.checks.iter().filter(|check| check.verdict != "ok");
        lines.extend(troubles.map(|check| ("", trouble(check))));
    }
    if let Some(pin) = view.spec.as_ref().and_then(|spec| spec.pinned) {
        lines.push(("pinned", format!("at revision {pin}")));
    }
    if let Some(error) = &facts.error {
        let at = or_dash(facts.error_at.map(time));
        lines.push(("failed", format!("{error} ({at})")));
    }
    if let Some(offered) = &facts.offered_host_key {
        let by = facts.offered_by.as_ref().map(|by| format!(" by its jump host {by}"));
        let by = by.unwrap_or_default();
        lines.push(("shows", format!("{offered}{by}, which is not confirmed")));
    }
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{} {}\n", paint.dim(&format!("{name:<9}")), clean(value)));
    let lines: String = lines.collect();
    match file::written(view) {
        Some(text) => format!("{lines}\n{}\n{}", paint.bold("As written:"), clean(&text)),
        None => lines,
    }
}
