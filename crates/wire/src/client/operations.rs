//! One method for each operation of the API.

use std::time::Duration;

use http::Method;
use uuid::Uuid;

use super::{
    Call, Client, ClientError, EventStream, IfMatch, LogStream, error, escape, read, with_query,
};
use crate::{
    Page, PageQuery,
    auth::{LinkView, Login, RedeemLink, Refresh, Setup, Tokens, Whoami},
    cache::{CachePurged, CacheView, PurgeCache},
    deploy::{DeploymentStep, DeploymentView, RevisionProgress, WaitQuery},
    drift::{AdoptNode, Adopted, Adoption, NodeDrift},
    engine::EngineView,
    explain::{ExplainQuery, Explanation, TryOut},
    logs::{EngineLogQuery, LogLines, LogQuery},
    node::{
        ConfirmHostKey, EditNode, ImportNodes, InstallNode, NewNode, NodeChanged, NodeCheck,
        NodeInstall, NodeQuery, NodeStatistics, NodeView, NodesImported, PinNode, RemoveNode,
        SshKeyView,
    },
    plan::PlanQuery,
    revision::{Diff, DiffQuery, Revert, RevertSite, RevisionQuery, RevisionView},
    rollout::{AbortRollout, Event, EventQuery, RolloutView},
    scan::{ScanNode, Scanned},
    site::{
        ApplySites, BlockSite, Changed, EditSite, Export, NewSite, Plan, SiteQuery, SiteSummary,
        SiteView,
    },
    system::{CertificateView, Health, RootView, Roots, TaskView},
    user::{
        AuditQuery, AuditView, ChangePassword, CreatedToken, CreatedUser, EditUser, NewToken,
        NewUser, TokenView, UserView,
    },
};

type Answer<T> = Result<T, ClientError>;

/// How long installing a program on a node may take.
const INSTALLING: Duration = Duration::from_mins(30);
/// A package manager may read its lists first.
const PLANNING: Duration = Duration::from_mins(5);

/// Logging in and the caller's own account.
impl Client {
    /// Makes the first administrator.
    pub async fn set_up(&self, setup: &Setup) -> Answer<Tokens> {
        self.post("/api/v1/setup", setup).await
    }

    /// Logs in.
    pub async fn log_in(&self, login: &Login) -> Answer<Tokens> {
        self.post("/api/v1/login", login).await
    }

    /// Buys the next access token.
    pub async fn refresh(&self, refresh: &Refresh) -> Answer<Tokens> {
        self.post("/api/v1/login/refresh", refresh).await
    }

    /// Ends the login.
    pub async fn log_out(&self) -> Answer<()> {
        self.send::<()>(Method::POST, "/api/v1/logout", None).await
    }

    /// Tells who calls.
    pub async fn whoami(&self) -> Answer<Whoami> {
        self.get("/api/v1/whoami").await
    }

    /// Sets a password by a one-time link.
    pub async fn redeem_link(&self, link: &RedeemLink) -> Answer<()> {
        self.send(Method::POST, "/api/v1/links/redeem", Some(link)).await
    }

    /// Changes the caller's password.
    pub async fn change_password(&self, change: &ChangePassword) -> Answer<()> {
        self.send(Method::POST, "/api/v1/password", Some(change)).await
    }
}

/// The installation.
impl Client {
    /// Tells how Portway is.
    pub async fn health(&self) -> Answer<Health> {
        self.get("/api/v1/health").await
    }

    /// Lists the background tasks.
    pub async fn tasks(&self) -> Answer<Page<TaskView>> {
        self.get("/api/v1/tasks").await
    }

    /// Lists certificates.
    pub async fn certificates(&self, page: &PageQuery) -> Answer<Page<CertificateView>> {
        self.query("/api/v1/certificates", page).await
    }

    /// Lists deployments, the newest first.
    pub async fn deployments(&self, page: &PageQuery) -> Answer<Page<DeploymentView>> {
        self.query("/api/v1/deployments", page).await
    }

    /// Shows a deployment.
    pub async fn deployment(&self, id: Uuid) -> Answer<DeploymentView> {
        self.get(&format!("/api/v1/deployments/{id}")).await
    }

    /// Lists the roots of the local authority.
    pub async fn local_roots(&self) -> Answer<Roots> {
        self.get("/api/v1/ca/roots").await
    }

    /// Makes the successor of the local authority's root.
    pub async fn renew_root(&self) -> Answer<RootView> {
        self.post("/api/v1/ca/renew", &serde_json::json!({})).await
    }

    /// Lets the successor issue.
    pub async fn activate_root(&self) -> Answer<RootView> {
        self.post("/api/v1/ca/activate", &serde_json::json!({})).await
    }

    /// Fetches the roots of the local authority in PEM, the one that issues first.
    pub async fn local_root(&self) -> Answer<String> {
        self.text("/api/v1/ca", "application/x-pem-file").await
    }

    /// Lists the audit log, the newest first.
    pub async fn audit(&self, query: &AuditQuery) -> Answer<Page<AuditView>> {
        self.query("/api/v1/audit", query).await
    }
}

/// Sites.
impl Client {
    /// Lists sites.
    pub async fn sites(&self, query: &SiteQuery) -> Answer<Page<SiteSummary>> {
        self.query("/api/v1/sites", query).await
    }

    /// Shows a site.
    pub async fn site(&self, site: &str) -> Answer<SiteView> {
        self.get(&site_path(site, "")).await
    }

    /// Makes a site.
    pub async fn create_site(&self, site: &NewSite, key: Uuid) -> Answer<SiteView> {
        self.post_once("/api/v1/sites", site, key).await
    }

    /// Replaces a site.
    pub async fn edit_site(
        &self,
        site: &str,
        edit: &EditSite,
        expected: IfMatch,
    ) -> Answer<Changed> {
        self.put(&site_path(site, ""), edit, expected).await
    }

    /// Removes a site.
    pub async fn remove_site(&self, site: &str, expected: IfMatch) -> Answer<Changed> {
        self.delete(&site_path(site, ""), expected).await
    }

    /// Keeps a site from being used.
    pub async fn block_site(&self, site: &str, block: &BlockSite) -> Answer<Changed> {
        self.post(&site_path(site, "/block"), block).await
    }

    /// Lets a site be used again.
    pub async fn unblock_site(&self, site: &str) -> Answer<Changed> {
        self.post(&site_path(site, "/unblock"), &serde_json::json!({})).await
    }

    /// Takes a site back to an earlier version.
    pub async fn revert_site(&self, site: &str, revert: &RevertSite) -> Answer<Changed> {
        self.post(&site_path(site, "/revert"), revert).await
    }

    /// Reads a site's logs.
    pub async fn logs(&self, site: &str, query: &LogQuery) -> Answer<LogLines> {
        self.query(&site_path(site, "/logs"), query).await
    }

    /// Follows a site's logs.
    pub async fn follow_logs(&self, site: &str, query: &LogQuery) -> Answer<LogStream> {
        let query = LogQuery { follow: true, ..query.clone() };
        self.listen(&with_query(&site_path(site, "/logs"), &query)?, "logs").await
    }

    /// Returns the last lines of the log of a node's engine.
    pub async fn engine_log(&self, node: &str, query: &EngineLogQuery) -> Answer<LogLines> {
        self.get(&with_query(&node_path(node, "/logs"), query)?).await
    }

    /// Follows the log of a node's engine.
    pub async fn follow_engine_log(&self, node: &str, query: &EngineLogQuery) -> Answer<LogStream> {
        let query = EngineLogQuery { follow: true, ..query.clone() };
        self.listen(&with_query(&node_path(node, "/logs"), &query)?, "logs").await
    }

    /// Tells what is kept of a site's answers.
    pub async fn cache(&self, site: &str) -> Answer<CacheView> {
        self.get(&site_path(site, "/cache")).await
    }

    /// Purges kept answers of a site.
    pub async fn purge_cache(&self, site: &str, wanted: &PurgeCache) -> Answer<CachePurged> {
        self.post(&site_path(site, "/cache/purge"), wanted).await
    }

    /// Tells the way of a request through the edge.
    pub async fn explain(&self, request: &str, query: &ExplainQuery) -> Answer<Explanation> {
        self.query(&format!("/api/v1/requests/{}", escape(request)), query).await
    }

    /// Tells what would become of a request.
    pub async fn try_out(&self, request: &TryOut) -> Answer<Explanation> {
        self.post("/api/v1/explain", request).await
    }

    /// Tells what applying sites would do.
    pub async fn plan(&self, sites: &ApplySites, query: PlanQuery) -> Answer<Plan> {
        self.post(&with_query("/api/v1/plan", &query)?, sites).await
    }

    /// Tells what nodes still lack of what is declared.
    pub async fn pending(&self, query: PlanQuery) -> Answer<Plan> {
        self.query("/api/v1/plan", &query).await
    }

    /// Applies sites.
    pub async fn apply(&self, sites: &ApplySites, key: Uuid) -> Answer<Changed> {
        self.post_once("/api/v1/apply", sites, key).await
    }

    /// Exports all sites.
    pub async fn export(&self) -> Answer<Export> {
        self.get("/api/v1/export").await
    }
}

/// Nodes.
impl Client {
    /// Lists the engines, with what becomes of every setting there.
    pub async fn engines(&self) -> Answer<Page<EngineView>> {
        self.get("/api/v1/engines").await
    }

    /// Lists nodes.
    pub async fn nodes(&self, query: &NodeQuery) -> Answer<Page<NodeView>> {
        self.query("/api/v1/nodes", query).await
    }

    /// Shows a node.
    pub async fn node(&self, node: &str) -> Answer<NodeView> {
        self.get(&node_path(node, "")).await
    }

    /// Makes a node.
    pub async fn create_node(&self, node: &NewNode, key: Uuid) -> Answer<NodeView> {
        self.post_once("/api/v1/nodes", node, key).await
    }

    /// Replaces a node.
    pub async fn edit_node(
        &self,
        node: &str,
        edit: &EditNode,
        expected: IfMatch,
    ) -> Answer<NodeChanged> {
        self.put(&node_path(node, ""), edit, expected).await
    }

    /// Removes a node.
    pub async fn remove_node(
        &self,
        node: &str,
        how: RemoveNode,
        expected: IfMatch,
    ) -> Answer<NodeChanged> {
        self.delete(&with_query(&node_path(node, ""), &how)?, expected).await
    }

    /// Has a node brought to what it should have.
    pub async fn activate_node(&self, node: &str) -> Answer<NodeChanged> {
        self.post(&node_path(node, "/activate"), &serde_json::json!({})).await
    }

    /// Has balancers in front of a node told to send it nothing new.
    pub async fn drain_node(&self, node: &str) -> Answer<NodeChanged> {
        self.post(&node_path(node, "/drain"), &serde_json::json!({})).await
    }

    /// Has balancers in front of a node told to send it requests again.
    pub async fn undrain_node(&self, node: &str) -> Answer<NodeChanged> {
        self.post(&node_path(node, "/undrain"), &serde_json::json!({})).await
    }

    /// Has a node left as it is.
    pub async fn deactivate_node(&self, node: &str) -> Answer<NodeChanged> {
        self.post(&node_path(node, "/deactivate"), &serde_json::json!({})).await
    }

    /// Confirms the key of a node's host.
    pub async fn confirm_host_key(&self, node: &str, key: &ConfirmHostKey) -> Answer<NodeChanged> {
        self.post(&node_path(node, "/host-key"), key).await
    }

    /// Brings a node to what it should have.
    pub async fn deploy_node(&self, node: &str) -> Answer<NodeView> {
        self.post(&node_path(node, "/deploy"), &serde_json::json!({})).await
    }

    /// Returns what somebody changed on a node.
    pub async fn node_drift(&self, node: &str) -> Answer<NodeDrift> {
        self.get(&node_path(node, "/drift")).await
    }

    /// Returns what would be taken over from a node.
    pub async fn plan_adoption(&self, node: &str) -> Answer<Adoption> {
        self.get(&node_path(node, "/adopt")).await
    }

    /// Takes over what somebody changed on a node.
    pub async fn adopt_node(&self, node: &str, adopt: &AdoptNode) -> Answer<Adopted> {
        self.post(&node_path(node, "/adopt"), adopt).await
    }

    /// Returns what is measured on a node.
    pub async fn node_statistics(&self, node: &str) -> Answer<NodeStatistics> {
        self.get(&node_path(node, "/statistics")).await
    }

    /// Returns a part of what is measured on nodes.
    pub async fn statistics(&self, query: &NodeQuery) -> Answer<Page<NodeStatistics>> {
        self.get(&with_query("/api/v1/statistics", query)?).await
    }

    /// Tells how an engine would come to a node.
    pub async fn plan_install(&self, node: &str, how: &InstallNode) -> Answer<NodeInstall> {
        let patient = self.patient(PLANNING);
        patient.get(&with_query(&node_path(node, "/install"), how)?).await
    }

    /// Installs or upgrades the engine of a node.
    pub async fn install_node(&self, node: &str, how: &InstallNode) -> Answer<NodeInstall> {
        // The program is sent over whatever line there is to the node.
        let patient = self.patient(INSTALLING);
        patient.post(&node_path(node, "/install"), how).await
    }

    /// Keeps a node's sites as they were at a revision.
    pub async fn pin_node(&self, node: &str, pin: &PinNode) -> Answer<NodeView> {
        self.post(&node_path(node, "/pin"), pin).await
    }

    /// Lets a node follow what is declared again.
    pub async fn release_node(&self, node: &str) -> Answer<NodeView> {
        self.post(&node_path(node, "/release"), &serde_json::json!({})).await
    }

    /// Brings a node back to what it served before its last deployment, and keeps it there.
    pub async fn roll_back_node(&self, node: &str) -> Answer<NodeView> {
        self.post(&node_path(node, "/rollback"), &serde_json::json!({})).await
    }

    /// Looks at a node.
    pub async fn check_node(&self, node: &str) -> Answer<NodeCheck> {
        self.post(&node_path(node, "/check"), &serde_json::json!({})).await
    }

    /// Reads what the engine of a node was told before Portway, as sites.
    pub async fn scan_node(&self, node: &str, how: &ScanNode) -> Answer<Scanned> {
        let path = with_query(&node_path(node, "/scan"), how)?;
        self.post(&path, &serde_json::json!({})).await
    }

    /// Shows the key with which managers log in to nodes.
    pub async fn ssh_key(&self) -> Answer<SshKeyView> {
        self.get("/api/v1/ssh-key").await
    }

    /// Has the manager read its `nodes.yaml` again.
    pub async fn discover(&self) -> Answer<NodesImported> {
        self.post("/api/v1/discovery", &serde_json::json!({})).await
    }

    /// Takes nodes over.
    pub async fn import_nodes(&self, nodes: &ImportNodes) -> Answer<NodesImported> {
        self.post("/api/v1/discovery/import", nodes).await
    }
}

/// The history.
impl Client {
    /// Lists revisions, the newest first.
    pub async fn revisions(&self, query: &RevisionQuery) -> Answer<Page<RevisionView>> {
        self.query("/api/v1/revisions", query).await
    }

    /// Shows a revision with its differences.
    pub async fn revision(&self, number: i64) -> Answer<RevisionView> {
        self.get(&format!("/api/v1/revisions/{number}")).await
    }

    /// Waits for a revision to be carried out, at most as long as `wait` says.
    pub async fn progress(&self, number: i64, wait: &WaitQuery) -> Answer<RevisionProgress> {
        self.query(&format!("/api/v1/revisions/{number}/progress"), wait).await
    }

    /// Takes back what a revision did.
    pub async fn revert(&self, number: i64, revert: &Revert) -> Answer<Changed> {
        self.post(&format!("/api/v1/revisions/{number}/revert"), revert).await
    }

    /// Lists rollouts, the newest first.
    pub async fn rollouts(&self, page: &PageQuery) -> Answer<Page<RolloutView>> {
        self.query("/api/v1/rollouts", page).await
    }

    /// Shows the rollout of a revision.
    pub async fn rollout(&self, revision: i64) -> Answer<RolloutView> {
        self.get(&format!("/api/v1/rollouts/{revision}")).await
    }

    /// Lets no further node in.
    pub async fn pause_rollout(&self, revision: i64) -> Answer<RolloutView> {
        let path = format!("/api/v1/rollouts/{revision}/pause");
        self.post(&path, &serde_json::json!({})).await
    }

    /// Has a rollout go on.
    pub async fn resume_rollout(&self, revision: i64) -> Answer<RolloutView> {
        let path = format!("/api/v1/rollouts/{revision}/resume");
        self.post(&path, &serde_json::json!({})).await
    }

    /// Ends a rollout.
    pub async fn abort_rollout(&self, revision: i64, abort: &AbortRollout) -> Answer<RolloutView> {
        self.post(&format!("/api/v1/rollouts/{revision}/abort"), abort).await
    }

    /// Listens to events.
    pub async fn events(&self, query: &EventQuery) -> Answer<EventStream<Event>> {
        self.listen(&with_query("/api/v1/events", query)?, "events").await
    }

    /// Listens to the steps of a deployment, until it has ended.
    pub async fn deployment_events(&self, id: Uuid) -> Answer<EventStream<DeploymentStep>> {
        self.listen(&format!("/api/v1/deployments/{id}/events"), "steps").await
    }

    async fn listen<T>(&self, path: &str, what: &'static str) -> Answer<EventStream<T>> {
        let call = Call::new(Method::GET, path).header("accept", "text/event-stream")?;
        let connection = self.connect().await?;
        let (status, body, connection) = self.exchange(connection, call).await?;
        if status.is_success() {
            Ok(EventStream::new(body, connection, what))
        } else {
            Err(error::refused(status, &read(body).await?))
        }
    }

    /// Compares two states.
    pub async fn diff(&self, query: &DiffQuery) -> Answer<Diff> {
        self.query("/api/v1/diff", query).await
    }
}

/// Users and tokens.
impl Client {
    /// Lists users.
    pub async fn users(&self, page: &PageQuery) -> Answer<Page<UserView>> {
        self.query("/api/v1/users", page).await
    }

    /// Shows a user.
    pub async fn user(&self, user: &str) -> Answer<UserView> {
        self.get(&user_path(user)).await
    }

    /// Makes a user.
    pub async fn create_user(&self, user: &NewUser) -> Answer<CreatedUser> {
        self.post("/api/v1/users", user).await
    }

    /// Changes a user.
    pub async fn edit_user(&self, user: &str, edit: &EditUser) -> Answer<UserView> {
        self.patch(&user_path(user), edit).await
    }

    /// Removes a user.
    pub async fn remove_user(&self, user: &str) -> Answer<()> {
        self.send::<()>(Method::DELETE, &user_path(user), None).await
    }

    /// Makes a one-time link with which a user sets a password.
    pub async fn reset_user(&self, user: &str) -> Answer<LinkView> {
        self.post(&format!("{}/reset", user_path(user)), &serde_json::json!({})).await
    }

    /// Lists API tokens.
    pub async fn tokens(&self, page: &PageQuery) -> Answer<Page<TokenView>> {
        self.query("/api/v1/tokens", page).await
    }

    /// Makes an API token.
    pub async fn create_token(&self, token: &NewToken) -> Answer<CreatedToken> {
        self.post("/api/v1/tokens", token).await
    }

    /// Removes an API token.
    pub async fn remove_token(&self, id: Uuid) -> Answer<()> {
        self.send::<()>(Method::DELETE, &format!("/api/v1/tokens/{id}"), None).await
    }
}

fn site_path(site: &str, rest: &str) -> String {
    format!("/api/v1/sites/{}{rest}", escape(site))
}

pub(super) fn node_path(node: &str, rest: &str) -> String {
    format!("/api/v1/nodes/{}{rest}", escape(node))
}

fn user_path(user: &str) -> String {
    format!("/api/v1/users/{}", escape(user))
}
