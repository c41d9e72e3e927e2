//! The built-in reverse proxy: the data plane. It reads neither the store nor the API.
//!
//! An edge is started with [`start()`] or [`run`]. What it serves it reads from its own disk and
//! takes as changes over its control socket (see [`portway_policy::bundle`]); it needs nothing
//! else, and keeps serving when the control plane is gone. One worker thread per core accepts,
//! answers and forwards; control, logs and the disk have threads of their own.
//!
//! The way of a request is written once, as a list, in `pipeline`.

mod access;
mod actions;
mod admission;
mod balance;
mod body;
mod cache;
mod canonical;
mod checks;
mod clock;
mod coding;
mod compress;
mod config;
mod content;
mod control;
mod cookies;
mod exchange;
mod files;
mod headers;
mod herald;
mod http1;
mod http2;
mod listener;
mod lists;
mod log;
mod metrics;
mod pages;
mod pipeline;
mod proxy;
mod quality;
mod random;
mod ready;
mod request_id;
mod sendfile;
mod stall;
mod start;
#[cfg(test)]
mod strangers;
mod succession;
mod tags;
mod tls;
mod trial;
mod waited;
mod worker;

pub use crate::{
    config::{
        DEFAULT_BODY_MEMORY, DEFAULT_CACHE_MEMORY, DEFAULT_DRAIN, DEFAULT_DRAIN_SUCCEEDED,
        EdgeConfig,
    },
    content::StateError,
    control::ControlError,
    herald::{Herald, Nobody},
    listener::BindError,
    log::LogError,
    start::{Before, EdgeError, EdgeHandle, Writes, run, start, succeed},
    succession::SuccessionError,
};
