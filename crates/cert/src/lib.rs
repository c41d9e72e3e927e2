//! Certificates: the local authority, what it issues, when to renew, and how to trust it.
//!
//! Everything here is a function of its arguments: the time is given in, nothing is stored, and
//! installing the root is a plan that somebody else carries out.

mod authority;
mod inspect;
mod names;
mod renewal;
pub mod trust;

pub use authority::{Authority, AuthorityError, IssuedCertificate, Lifetime, LifetimeError};
pub use inspect::{InspectError, Inspected, KeyMatchError, certificate, inspect, matches_key};
pub use names::{CertificateNames, NoNames};
pub use renewal::{renew_at, renew_due, renewal_horizon, root_notice};
