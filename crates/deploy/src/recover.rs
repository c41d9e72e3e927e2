//! What becomes of a deployment that was cut off, decided from what the node has.

use portway_policy::Digest;

use crate::Look;

/// What is to be done about a deployment whose end nobody saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing was switched: the node serves what it served before.
    NotSwitched,
    /// It was switched, and it is not known to be served: it is made to be read, and proven.
    Prove,
    /// It is served.
    Live,
    /// The node was switched to something else.
    Replaced,
}

/// Decides what becomes of a deployment of release `to` that was cut off.
pub fn resume(to: Digest, found: &Look) -> Resume {
    match (found.linked, found.running) {
        (Some(linked), Some(running)) if linked == to && running == to => Resume::Live,
        (Some(linked), _) if linked == to => Resume::Prove,
        (linked, _) if linked == found.state.as_ref().and_then(|state| state.release) => {
            Resume::NotSwitched
        }
        (_, _) => Resume::Replaced,
    }
}
