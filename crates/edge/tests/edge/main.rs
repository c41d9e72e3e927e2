//! The edge as its users meet it: in this process, over real sockets.

mod access;
mod changes;
mod control;
mod proxying;
mod routing;
mod secure;
mod support;
mod upstreams;
