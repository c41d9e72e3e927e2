//! Test servers and conformance suites. Everything here listens on loopback or on unix sockets in
//! the caller's folder, on ports that were free, and ends when it is dropped.

pub mod ca;
pub mod collector;
pub mod manager;
pub mod origin;
pub mod websocket;
