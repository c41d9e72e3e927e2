//! Certificates: the local authority, what it issues, and when to renew.
