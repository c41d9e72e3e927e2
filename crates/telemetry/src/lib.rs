//! Logging and tracing set-up, metric names, the access-log record.

pub mod access;
pub mod metrics;
