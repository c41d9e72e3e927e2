//! Sealing at rest, redaction and key files.
