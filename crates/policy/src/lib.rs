//! What a node must carry out, compiled from what was declared, and the format in which an edge is
//! given it.
//!
//! A node's content is a set of objects named by digest and an index of its sites. Everything here
//! is pure: equal input gives equal bytes.

pub mod bundle;
mod compile;
mod digest;
mod owner;
mod site;

pub use compile::{CompileInput, compile};
pub use digest::{Digest, Index};
pub use owner::{Claim, Owner};
pub use site::{
    Blocked, CertificateObject, FORMAT, HttpsPolicy, NetworkGuard, NodeSettings, OLDEST_FORMAT,
    STICKY_SINCE, SitePolicy, StickyKey, StickyKeyError, log_folder,
};
