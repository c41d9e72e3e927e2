//! Sites: reading them, changing them, planning and applying site files.

mod apply;
mod clash;
mod nodes;
mod planned;
mod prepare;
mod read;
mod seal;
mod seal_keys;
mod snippets;
mod taken;
mod view;
mod write;

pub use write::Precondition;
pub(crate) use {
    view::{checked, spec_of},
    write::{Draft, commit_error},
};
