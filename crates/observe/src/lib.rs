//! How a node fares, seen from the manager and without an agent.
//!
//! One cheap command tells how the machine is, and the engine itself what it serves and counts
//! ([`look()`]). What a reading says is turned into numbers by pure functions ([`measures()`]) and judged ([`judge`]). What cannot
//! be seen is never made up: it says why it was not seen.
//!
//! This crate deliberately knows no store and no clock, changes nothing on a node, and repeats nothing
//! by itself.

mod ask;
mod health;
mod logs;
mod look;
mod measures;
mod sample;
mod sections;
mod service;

pub use self::{
    health::{Check, Expected, Health, Judged, Verdict, judge, judge_unseen},
    logs::{JournalError, Listing, LogError, RemoteLog, journal, list_logs, read_log},
    look::{Subject, look},
    measures::{measures, unseen},
    sample::{Cpu, Disk, Folder, Memory, Sample, Seen, Traffic},
    service::{Service, Told},
};
