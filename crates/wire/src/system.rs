//! Health, tasks and certificates.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// How Portway is, truthfully.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The worst of the checks.
    pub status: HealthStatus,
    /// The version of the manager; only for those who see the checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether an administrator exists.
    pub set_up: bool,
    /// Each check; only for administrators and viewers, and for tokens with `read:system`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<HealthCheck>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthCheck {
    /// What was looked at: `database`, `edge`, `tasks`, `disk`, `certificates`.
    pub name: String,
    /// How it is.
    pub status: HealthStatus,
    /// In words, with what to do where something is wrong.
    pub detail: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// As it should be.
    Ok,
    /// Works, and needs attention.
    Degraded,
    /// Does not work.
    Failed,
}

/// A background task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// The name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// Whose task it is.
    pub scope: TaskScopeView,
    /// The manager that made the last run, or whose task it is.
    pub manager: Option<String>,
    /// Whether it runs at the moment.
    pub running: bool,
    /// When it last began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_started_at: Option<Timestamp>,
    /// When it last ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_finished_at: Option<Timestamp>,
    /// How many milliseconds the last run took; nothing while the next one is under way.
    pub last_duration_ms: Option<u64>,
    /// `ok` or `failed`.
    pub last_outcome: Option<String>,
    /// What it did or why it failed.
    pub last_message: Option<String>,
    /// When it runs next.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run_at: Option<Timestamp>,
}

/// Whose task it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskScopeView {
    /// The installation's: of several managers one runs it at a time.
    Installation,
    /// The machine's own: every manager runs its own.
    Machine,
}

/// A root of the local authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RootView {
    /// Its place among the roots: the first has 1, its successor 2.
    pub number: i64,
    /// Whether it issues certificates.
    pub state: RootState,
    /// Its name in lists of trusted roots.
    pub name: String,
    /// SHA-256 of it in DER.
    pub fingerprint: String,
    /// Not valid before.
    #[schema(value_type = String, format = DateTime)]
    pub not_before: Timestamp,
    /// Not valid after.
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// Since when it issues certificates.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub activated_at: Option<Timestamp>,
    /// The certificate in PEM.
    pub pem: String,
}

/// What a root of the local authority does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RootState {
    /// It was made, and issues nothing yet: devices are given time to trust it.
    Prepared,
    /// It issues all certificates.
    Active,
    /// Its successor issues; what it issued before is being replaced.
    Retired,
}

/// The roots of the local authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Roots {
    /// In their order, the first made first.
    pub items: Vec<RootView>,
}

/// A certificate without its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    /// The id.
    pub id: Uuid,
    /// `local` or `local_root`.
    pub source: String,
    /// The names it is for.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: Option<String>,
    /// Not valid before.
    #[schema(value_type = String, format = DateTime)]
    pub not_before: Timestamp,
    /// Not valid after.
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// SHA-256 of the leaf in DER.
    pub fingerprint: String,
}
