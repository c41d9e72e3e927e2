//! Nodes, the key that logs in to them, and files that declare them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use portway_control::Resource;
use portway_wire::{
    Page, ProblemCode,
    node::{
        ConfirmHostKey, EditNode, ImportNodes, InstallNode, NewNode, NodeChanged, NodeCheck,
        NodeInstall, NodeQuery, NodeStatistics, NodeView, NodesImported, PinNode, RemoveNode,
        SshKeyView,
    },
    scan::{ScanNode, Scanned},
};

use super::Answer;
use crate::{
    auth::Caller,
    etag::{IfMatch, Tagged},
    extract::{Body, Path, Query},
    idempotency::{Once, once},
    problem::Refusal,
    state::ApiState,
};

/// Lists nodes, the managers' own edges too.
#[utoipa::path(
    get, path = "/nodes", tag = "nodes", params(NodeQuery),
    responses((status = 200, description = "A part of the list.", body = Page<NodeView>)),
)]
pub(crate) async fn list_nodes(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<NodeQuery>,
) -> Answer<Page<NodeView>> {
    let overseer = api.control().overseer(&actor, Resource::Nodes, "node.read").await?;
    Ok(Json(overseer.nodes(query).await?))
}

/// Makes a node.
///
/// Nothing is sent to it until the key of its host is confirmed.
#[utoipa::path(
    post, path = "/nodes", tag = "nodes",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless.")),
    request_body = NewNode,
    responses((
        status = 201, description = "It is made.", body = NodeView,
        headers(
            ("Location" = String, description = "The node."),
            ("ETag" = String, description = "Its version, for If-Match."),
        ),
    )),
)]
pub(crate) async fn create_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Once { body, key }: Once<NewNode>,
) -> Result<Response, Refusal> {
    let control = api.control();
    let operator = control.operator(&actor, Resource::Nodes, "node.create").await?;
    let create = Box::pin(async { Ok(operator.create_node(body).await?) });
    let found = async |revision| {
        let overseer = control.overseer(&actor, Resource::Nodes, "node.read").await?;
        Ok(overseer.node_written_by(revision).await?)
    };
    let node: NodeView = once(control, &actor, key, StatusCode::CREATED, create, found).await?;
    let location = HeaderValue::try_from(format!("/api/v1/nodes/{}", node.id))
        .map_err(|e| Refusal::new(ProblemCode::Internal, "the node has no address").cause(e))?;
    let tagged = Tagged { revision: node.revision, body: node };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], tagged).into_response())
}

/// Shows a node.
#[utoipa::path(
    get, path = "/nodes/{node}", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((
        status = 200, description = "The node.", body = NodeView,
        headers(("ETag" = String, description = "Its version, for If-Match.")),
    )),
)]
pub(crate) async fn show_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Result<Tagged<NodeView>, Refusal> {
    let overseer = api.control().overseer(&actor, Resource::Nodes, "node.read").await?;
    let view = overseer.node(&node).await?;
    Ok(Tagged { revision: view.revision, body: view })
}

/// Replaces what is declared of a node.
#[utoipa::path(
    put, path = "/nodes/{node}", tag = "nodes",
    params(
        ("node" = String, Path, description = "The id or the name."),
        ("If-Match" = String, Header, description = "The version that is changed, or `*`."),
    ),
    request_body = EditNode,
    responses((
        status = 200, description = "It is changed.", body = NodeChanged,
        headers(("ETag" = String, description = "Its new version.")),
    )),
)]
pub(crate) async fn edit_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    IfMatch(expected): IfMatch,
    Body(edit): Body<EditNode>,
) -> Result<Tagged<NodeChanged>, Refusal> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.update").await?;
    let changed = operator.edit_node(&node, edit, expected).await?;
    Ok(Tagged { revision: changed.revision, body: changed })
}

/// Removes a node that no site names.
#[utoipa::path(
    delete, path = "/nodes/{node}", tag = "nodes",
    params(
        ("node" = String, Path, description = "The id or the name."),
        ("If-Match" = String, Header, description = "The version that is removed, or `*`."),
        RemoveNode,
    ),
    responses((status = 200, description = "It is removed.", body = NodeChanged)),
)]
pub(crate) async fn remove_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    IfMatch(expected): IfMatch,
    Query(how): Query<RemoveNode>,
) -> Answer<NodeChanged> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.remove").await?;
    Ok(Json(operator.remove_node(&node, how, expected).await?))
}

/// Has a node brought to what it should have.
#[utoipa::path(
    post, path = "/nodes/{node}/activate", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "It is active.", body = NodeChanged)),
)]
pub(crate) async fn activate_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeChanged> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.activate").await?;
    Ok(Json(operator.activate_node(&node).await?))
}

/// Has a node left as it is: what it serves it serves on, and no change comes to it.
#[utoipa::path(
    post, path = "/nodes/{node}/deactivate", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "It is inactive.", body = NodeChanged)),
)]
pub(crate) async fn deactivate_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeChanged> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.deactivate").await?;
    Ok(Json(operator.deactivate_node(&node).await?))
}

/// Has balancers in front of a node told to send it nothing new.
///
/// It serves on what it has, changes come to it, and no rollout begins with it unless it is named.
#[utoipa::path(
    post, path = "/nodes/{node}/drain", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "It is draining.", body = NodeChanged)),
)]
pub(crate) async fn drain_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeChanged> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.drain").await?;
    Ok(Json(operator.drain_node(&node).await?))
}

/// Has balancers in front of a node told to send it requests again.
#[utoipa::path(
    post, path = "/nodes/{node}/undrain", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "It is not draining.", body = NodeChanged)),
)]
pub(crate) async fn undrain_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeChanged> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.undrain").await?;
    Ok(Json(operator.undrain_node(&node).await?))
}

/// Looks at a node: what it is like, and what keeps it from being deployed to.
///
/// Nothing is changed on it. A host key that it shows and that is not confirmed is noted.
#[utoipa::path(
    post, path = "/nodes/{node}/check", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "What was found.", body = NodeCheck)),
)]
pub(crate) async fn check_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeCheck> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.check").await?;
    Ok(Json(operator.check_node(&node).await?))
}

/// Reads what the engine of a node was told before Portway, as sites.
///
/// Every directive is in the report. Nothing is changed and nothing is applied.
#[utoipa::path(
    post, path = "/nodes/{node}/scan", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name."), ScanNode),
    responses((status = 200, description = "What was found.", body = Scanned)),
)]
pub(crate) async fn scan_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Query(how): Query<ScanNode>,
) -> Answer<Scanned> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.scan").await?;
    Ok(Json(operator.scan_node(&node, &how).await?))
}

/// Shows what is measured on a node.
///
/// Each value is a number with its time, or not known, with the reason and since when. Nodes are read
/// every 15 seconds.
#[utoipa::path(
    get, path = "/nodes/{node}/statistics", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "What was measured last.", body = NodeStatistics)),
)]
pub(crate) async fn node_statistics(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeStatistics> {
    let overseer = api.control().overseer(&actor, Resource::Nodes, "node.read").await?;
    Ok(Json(overseer.node_statistics(&node).await?))
}

/// Lists what is measured on nodes, the managers' own edges too.
#[utoipa::path(
    get, path = "/statistics", tag = "nodes", params(NodeQuery),
    responses((status = 200, description = "A part of the list.", body = Page<NodeStatistics>)),
)]
pub(crate) async fn statistics(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<NodeQuery>,
) -> Answer<Page<NodeStatistics>> {
    let overseer = api.control().overseer(&actor, Resource::Nodes, "node.read").await?;
    Ok(Json(overseer.statistics(query).await?))
}

/// Brings a node to what it should have, over what somebody changed on it.
///
/// The answer comes when that has ended, and tells how in `facts`.
#[utoipa::path(
    post, path = "/nodes/{node}/deploy", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "The node as it is known now.", body = NodeView)),
)]
pub(crate) async fn deploy_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeView> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.deploy").await?;
    Ok(Json(operator.deploy_node(&node).await?))
}

/// Tells how an engine would come to a node: the manager's own program as its edge, the system's package
/// of nginx or Caddy, or a program that lies there.
///
/// Nothing is changed on the node.
#[utoipa::path(
    get, path = "/nodes/{node}/install", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name."), InstallNode),
    responses((status = 200, description = "What would be done.", body = NodeInstall)),
)]
pub(crate) async fn plan_install(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Query(how): Query<InstallNode>,
) -> Answer<NodeInstall> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.check").await?;
    Ok(Json(Box::pin(operator.plan_install(&node, &how)).await?))
}

/// Installs or upgrades the engine of a node, step by step as its plan says, and proves that it is there.
///
/// An edge is succeeded without losing a request. The answer comes when all is done, or tells in
/// `findings` what was in the way or failed.
#[utoipa::path(
    post, path = "/nodes/{node}/install", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    request_body = InstallNode,
    responses((status = 200, description = "What was done.", body = NodeInstall)),
)]
pub(crate) async fn install_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Body(how): Body<InstallNode>,
) -> Answer<NodeInstall> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.install").await?;
    Ok(Json(Box::pin(operator.install_node(&node, &how)).await?))
}

/// Keeps a node's sites as they were at a revision.
///
/// Sites that were made since do not come; those that are removed leave. The answer comes when the node
/// has them, or could not be brought there, and tells how in `facts`.
#[utoipa::path(
    post, path = "/nodes/{node}/pin", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    request_body = PinNode,
    responses((status = 200, description = "The node as it is known now.", body = NodeView)),
)]
pub(crate) async fn pin_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Body(pin): Body<PinNode>,
) -> Answer<NodeView> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.pin").await?;
    Ok(Json(operator.pin_node(&node, pin).await?))
}

/// Lets a node follow what is declared again.
#[utoipa::path(
    post, path = "/nodes/{node}/release", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "The node as it is known now.", body = NodeView)),
)]
pub(crate) async fn release_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeView> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.release").await?;
    Ok(Json(operator.release_node(&node).await?))
}

/// Brings a node back to what it served before its last deployment, and keeps it there.
///
/// It is pinned at that revision until it is released.
#[utoipa::path(
    post, path = "/nodes/{node}/rollback", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "The node as it is known now.", body = NodeView)),
)]
pub(crate) async fn roll_back_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeView> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.rollback").await?;
    Ok(Json(operator.roll_back_node(&node).await?))
}

/// Confirms the key of a node's host.
///
/// Compare the fingerprint with the host's own first. It takes the place of those that were
/// confirmed before, unless they are kept.
#[utoipa::path(
    post, path = "/nodes/{node}/host-key", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    request_body = ConfirmHostKey,
    responses((status = 200, description = "The key is confirmed.", body = NodeChanged)),
)]
pub(crate) async fn confirm_host_key(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Body(confirm): Body<ConfirmHostKey>,
) -> Answer<NodeChanged> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.host-key").await?;
    Ok(Json(operator.confirm_host_key(&node, confirm).await?))
}

/// Shows the public half of the key with which managers log in to nodes.
#[utoipa::path(
    get, path = "/ssh-key", tag = "nodes",
    responses((status = 200, description = "The key.", body = SshKeyView)),
)]
pub(crate) async fn ssh_key(
    State(api): State<ApiState>,
    Caller(actor): Caller,
) -> Answer<SshKeyView> {
    let overseer = api.control().overseer(&actor, Resource::Nodes, "node.read").await?;
    Ok(Json(overseer.ssh_key()))
}

/// Has the manager read its `nodes.yaml` again.
///
/// It does so by itself when the file changes. Where there is none, nothing is done.
#[utoipa::path(
    post, path = "/discovery", tag = "nodes",
    responses((status = 200, description = "What became of each entry.", body = NodesImported)),
)]
pub(crate) async fn discover(
    State(api): State<ApiState>,
    Caller(actor): Caller,
) -> Answer<NodesImported> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.import").await?;
    Ok(Json(operator.discover().await?))
}

/// Takes nodes over, as `nodes.yaml` has them: all sound entries in one revision.
///
/// What was changed by hand since stays, unless it is to be overwritten. A node that is no longer
/// among them is reported and left as it is.
#[utoipa::path(
    post, path = "/discovery/import", tag = "nodes",
    request_body = ImportNodes,
    responses((status = 200, description = "What became of each entry.", body = NodesImported)),
)]
pub(crate) async fn import_nodes(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Body(nodes): Body<ImportNodes>,
) -> Answer<NodesImported> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.import").await?;
    Ok(Json(operator.import_nodes(&nodes).await?))
}
