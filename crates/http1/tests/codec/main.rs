//! What the codec promises, tested through its public interface: every case of the corpus has the
//! outcome that is written beside it, and what holds for all messages holds for generated ones.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected ends the test")]
#![expect(clippy::indexing_slicing, reason = "what is unexpected ends the test")]

mod checks;
mod corpus;
mod differential;
mod generate;
mod outcome;
mod properties;
