//! The types that Portway is about: sites, users, revisions, findings. No I/O, no async.
