//! How a site's policy is carried out by an engine that is not Portway's own: what the engine can do
//! of it, and the configuration that makes it do so.
//!
//! Everything here is pure: no I/O, no async, no clock. Equal input gives equal bytes. Whoever deploys
//! carries out the [`Steps`] that an [`Engine`] names.
//!
//! No setting is dropped in silence: [`uses()`] lists every setting that a policy uses, the engine says
//! for each what becomes of it ([`Support`]), and [`judge()`] turns that into findings.

mod bounds;
pub mod caddy;
mod counts;
mod engine;
mod facts;
mod go_pattern;
mod holes;
mod install;
mod judge;
mod matrix;
pub mod nginx;
mod object;
mod order;
mod os_release;
mod output;
mod own_log;
mod path;
mod service;
mod setting;
mod snippet;
mod steps;
mod support;
pub mod traefik;
mod uses;

pub use self::{
    counts::{COUNTS_MOST, Counted, Counts, counts_path, read_counts},
    engine::{Engine, RenderError, TopLevel},
    facts::{EngineFacts, Layout, Ports, Version, VersionError},
    holes::{Hole, known_holes},
    install::{
        InstallPlan, InstallStep, NoPlan, ProgramPlace, Wanted, offered, package_plan, program_plan,
    },
    judge::judge,
    matrix::{EngineMatrix, MatrixRow, engines_markdown, matrix},
    object::{Extension, Object, Place, Release, ReleaseSite, Rendered, Secrecy},
    os_release::{Family, OsRelease},
    own_log::{AccessLog, OwnLog, access_log, own_log},
    service::{
        Action, NoWay, Supervisor, UnknownAction, service_commands, service_name, state_command,
    },
    setting::{Bearing, Setting},
    snippet::{not_carried_out, review_snippets},
    steps::{
        Candidate, CandidateError, CandidateFile, Command, Link, Probe, Rights, Steps, Test,
        Workers,
    },
    support::{Fit, Support},
    uses::{Use, Value, uses},
};
