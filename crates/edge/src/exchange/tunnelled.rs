//! A request that became a tunnel, as logs and metrics tell it: what passed through the tunnel
//! counts as its bodies, however it ends.

use std::rc::Rc;

use http::StatusCode;
use portway_telemetry::{
    Answer,
    access::{ErrorKind, ErrorLevel},
};

use super::Exchange;
use crate::{
    body,
    proxy::{Passed, TunnelError},
};

/// A tunnel that is not at its end. Where it is dropped, it was cut.
pub(crate) struct Tunnelled {
    exchange: Box<Exchange>,
    passed: Rc<Passed>,
}

impl Exchange {
    /// Follows a tunnel to its end.
    pub(crate) fn tunnelled(mut self: Box<Self>, passed: Rc<Passed>) -> Tunnelled {
        self.status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
        self.answer = Answer::Sent;
        Tunnelled { exchange: self, passed }
    }
}

impl Tunnelled {
    /// Both sides are done, or one broke off.
    pub(crate) fn ended(mut self, ended: Result<(), TunnelError>) {
        if let Err(error) = ended {
            let kind = match error {
                TunnelError::Held | TunnelError::Unwritable(_) => ErrorKind::Edge,
                TunnelError::Client(_) => ErrorKind::ClientGone,
                TunnelError::Upstream(_) => ErrorKind::Upstream,
            };
            let message = body::chain(&error);
            self.exchange.error(kind, ErrorLevel::Info, "tunnel_broken", message);
        }
        self.end();
    }

    fn end(&mut self) {
        self.exchange.received.get_or_insert_default().set(self.passed.up.get());
        self.exchange.sent = self.passed.down.get();
        self.exchange.end();
    }
}

impl Drop for Tunnelled {
    fn drop(&mut self) {
        if !self.exchange.ended {
            let message = "the edge ended, and the time for what had begun was over".to_owned();
            self.exchange.error(ErrorKind::Edge, ErrorLevel::Info, "tunnel_cut", message);
            self.end();
        }
    }
}
