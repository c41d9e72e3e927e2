//! The operations, one module for each kind of thing. A handler reads its request, asks the control
//! plane, and returns the answer.

mod cache;
mod drift;
mod engines;
mod explain;
mod history;
mod join;
mod login;
mod logs;
mod manage;
mod nodes;
mod rollouts;
mod sites;
mod system;
mod users;

use axum::Json;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{openapi, problem::Refusal, state::ApiState};

/// An answer in JSON.
type Answer<T> = Result<Json<T>, Refusal>;

/// Returns all operations with their descriptions.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    let api = OpenApiRouter::new()
        .routes(routes!(login::set_up))
        .routes(routes!(login::log_in))
        .routes(routes!(login::refresh))
        .routes(routes!(login::log_out))
        .routes(routes!(login::begin_session, login::end_session))
        .routes(routes!(login::whoami))
        .routes(routes!(login::redeem_link))
        .routes(routes!(login::change_password))
        .routes(routes!(sites::list_sites, sites::create_site))
        .routes(routes!(sites::show_site, sites::edit_site, sites::remove_site))
        .routes(routes!(sites::block_site))
        .routes(routes!(sites::unblock_site))
        .routes(routes!(sites::revert_site))
        .routes(routes!(cache::show_cache))
        .routes(routes!(cache::purge_cache))
        .routes(routes!(logs::site_logs))
        .routes(routes!(logs::engine_log))
        .routes(routes!(explain::explain_request))
        .routes(routes!(explain::try_out))
        .routes(routes!(sites::plan, sites::pending))
        .routes(routes!(sites::apply))
        .routes(routes!(sites::export))
        .routes(routes!(engines::list_engines))
        .routes(routes!(nodes::list_nodes, nodes::create_node))
        .routes(routes!(nodes::show_node, nodes::edit_node, nodes::remove_node))
        .routes(routes!(nodes::activate_node))
        .routes(routes!(nodes::deactivate_node))
        .routes(routes!(nodes::drain_node))
        .routes(routes!(nodes::undrain_node))
        .routes(routes!(nodes::check_node))
        .routes(routes!(nodes::scan_node))
        .routes(routes!(nodes::node_statistics))
        .routes(routes!(nodes::statistics))
        .routes(routes!(nodes::deploy_node))
        .routes(routes!(drift::node_drift))
        .routes(routes!(drift::plan_adoption, drift::adopt_node))
        .routes(routes!(nodes::plan_install, nodes::install_node))
        .routes(routes!(nodes::pin_node))
        .routes(routes!(nodes::release_node))
        .routes(routes!(nodes::roll_back_node))
        .routes(routes!(nodes::confirm_host_key))
        .routes(routes!(manage::exec_node))
        .routes(routes!(manage::service_node))
        .routes(routes!(manage::node_sudoers))
        .routes(routes!(join::join_node))
        .routes(routes!(join::list_join_tokens, join::create_join_token))
        .routes(routes!(join::revoke_join_token))
        .routes(routes!(nodes::ssh_key))
        .routes(routes!(nodes::discover))
        .routes(routes!(nodes::import_nodes))
        .routes(routes!(history::list_revisions))
        .routes(routes!(history::show_revision))
        .routes(routes!(history::revision_progress))
        .routes(routes!(history::revert_revision))
        .routes(routes!(history::diff))
        .routes(routes!(rollouts::list_rollouts))
        .routes(routes!(rollouts::show_rollout))
        .routes(routes!(rollouts::pause_rollout))
        .routes(routes!(rollouts::resume_rollout))
        .routes(routes!(rollouts::abort_rollout))
        .routes(routes!(rollouts::events))
        .routes(routes!(rollouts::deployment_events))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(users::show_user, users::edit_user, users::remove_user))
        .routes(routes!(users::reset_user))
        .routes(routes!(users::list_tokens, users::create_token))
        .routes(routes!(users::revoke_token))
        .routes(routes!(users::list_audit))
        .routes(routes!(system::health))
        .routes(routes!(system::list_tasks))
        .routes(routes!(system::list_certificates))
        .routes(routes!(system::list_deployments))
        .routes(routes!(system::show_deployment))
        .routes(routes!(system::deployment_steps))
        .routes(routes!(system::local_root))
        .routes(routes!(system::list_roots))
        .routes(routes!(system::renew_root))
        .routes(routes!(system::activate_root));
    OpenApiRouter::with_openapi(openapi::frame())
        .nest("/api/v1", api)
        .routes(routes!(system::metrics))
}
