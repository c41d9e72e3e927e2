//! Brings one node from what it has to what it should have, stage by stage, or back.
//!
//! A deployment is told the release that the node is to serve, and how to speak with the node. It reads
//! what the node has, sends what is missing, has the engine test it beside what runs, switches one
//! link, and asks the engine until it answers with the new release's digest. What fails before the
//! switch changes nothing; what fails after it is switched back and asked for the old digest. Each
//! stage is [noted](Journal) before it begins.
//!
//! Every step can be done twice, and what the node has is read from it, never remembered: so a
//! deployment that was cut off is [gone on with](recover) or undone by whoever comes next. Of two
//! managers that both believe that it is their turn, the one with the greater [fence] wins on
//! the node itself.
//!
//! This crate deliberately knows no store, no clock and no user: it is given the release, and tells
//! how it ended.

mod access;
mod clean;
mod fence;
mod holes;
mod home;
mod install;
mod instance;
mod journal;
mod look;
mod probe;
mod proof;
mod recover;
mod run;
mod service;
mod stage;
mod state;
mod step;
mod sudoers;
mod survey;
mod switch;
mod tools;
mod turn;
mod workers;

pub use self::{
    access::Access,
    clean::{Cleaned, clean},
    holes::{CameAs, holes},
    install::{InstallError, Installed, Prospect, Wish, carry_out, prospect},
    journal::{Journal, JournalError, StepRecord, Unwritten},
    look::{Look, Owner, Standing},
    proof::{Answers, Asked, Doors, Proof, Verdict, Visit, after, before, compare, visit},
    recover::{Resume, resume},
    run::{ByOthers, Deployment, Ended, deploy, look, rehearse},
    service::{Acted, Ran, ServiceError, ServiceState, act},
    state::{FORMAT, NodeState},
    step::StepError,
    sudoers::{
        INSTALL_SUDOERS, SUDOERS, SudoPlaces, Sudoers, SudoersError, install_sudoers, sudoers,
    },
    survey::{
        CopyPlace, Door, EngineSeen, Entrance, Folder, Listener, Seen, Stopped, Survey, copy_of,
        layout, preflight, survey, way_in,
    },
};
