//! Test servers and conformance suites. Everything here listens on loopback or on unix sockets in
//! the caller's folder, on ports that were free, and ends when it is dropped.

pub mod announced;
pub mod backend;
pub mod bed;
pub mod ca;
pub mod client;
pub mod collector;
pub mod corpus;
pub mod disk;
pub mod frames;
pub mod gate;
pub mod manager;
pub mod names;
pub mod nginx;
pub mod origin;
pub mod peer;
pub mod port;
pub mod processes;
pub mod skip;
pub mod soak;
pub mod sshd;
pub mod websocket;
