//! The way of a request's body to the upstream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use portway_http1::{Framing, body::Encoder};

use super::{SendError, Turn};
use crate::{
    body::{Body, BodyError},
    http1::wire::Wire,
    proxy::{BodyFault, Stream},
};

/// When this much waits to be written, it is written before more is asked for.
const FULL: usize = 64 * 1024;

/// The way of a request's body to the upstream.
pub(super) struct Upload {
    pub(super) body: Body,
    encoder: Encoder,
    stage: Stage,
    /// Whether nothing was taken from the body.
    pub(super) untouched: bool,
}

#[derive(Debug)]
enum Stage {
    /// There is more of the body.
    Body,
    /// All of it was taken from the client; some waits to be written.
    Drain,
    /// All of it was written.
    Done,
    /// The upstream takes no more of it.
    Broken(Option<io::Error>),
}

impl Upload {
    pub(super) fn new(body: Body, framing: Framing) -> Self {
        let stage = if body.is_end_stream() { Stage::Drain } else { Stage::Body };
        Self { body, encoder: Encoder::new(framing), stage, untouched: true }
    }

    /// Moves the request on. Is ready when there is nothing left to do.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<Box<dyn Stream>>,
    ) -> Poll<Result<(), BodyFault>> {
        while matches!(self.stage, Stage::Body) {
            if wire.waiting() >= FULL {
                ready!(self.poll_write(cx, wire));
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                // What is there goes out while more is awaited.
                let written = self.poll_write(cx, wire);
                return if self.is_broken() { written.map(Ok) } else { Poll::Pending };
            };
            self.untouched = false;
            self.take(wire, frame)?;
        }
        if matches!(self.stage, Stage::Drain) {
            ready!(self.poll_write(cx, wire));
        }
        Poll::Ready(Ok(()))
    }

    fn take(
        &mut self,
        wire: &mut Wire<Box<dyn Stream>>,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> Result<(), BodyFault> {
        let encoded = match frame.transpose().map_err(|error| BodyFault::from(&error))? {
            Some(frame) => match frame.into_data() {
                Ok(data) => wire.encode(&mut self.encoder, data),
                Err(frame) => {
                    self.stage = Stage::Drain;
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.encoder.end(&trailers, wire.output())
                }
            },
            None => Ok(()),
        };
        let encoded = encoded.and_then(|()| {
            if matches!(self.stage, Stage::Body) && self.body.is_end_stream() {
                self.stage = Stage::Drain;
                self.encoder.end(&HeaderMap::new(), wire.output())?;
            }
            Ok(())
        });
        encoded.map_err(|error| BodyFault::Broken(error.to_string()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, wire: &mut Wire<Box<dyn Stream>>) -> Poll<()> {
        match ready!(wire.poll_flush(cx)) {
            Ok(()) if matches!(self.stage, Stage::Drain) => self.stage = Stage::Done,
            Ok(()) => {}
            Err(error) => self.stage = Stage::Broken(Some(error)),
        }
        Poll::Ready(())
    }

    pub(super) fn turn(&self, wire: &Wire<Box<dyn Stream>>) -> Turn {
        match self.stage {
            Stage::Done | Stage::Broken(_) => Turn::Answer,
            Stage::Body if wire.is_drained() => Turn::Client,
            Stage::Body | Stage::Drain => Turn::Take(wire.written()),
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self.stage, Stage::Broken(_))
    }

    /// Tells whether there is more that the upstream may take.
    pub(super) fn is_going_on(&self) -> bool {
        matches!(self.stage, Stage::Body | Stage::Drain)
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Returns why the upstream takes no more.
    pub(super) fn broken(&mut self) -> SendError {
        match &mut self.stage {
            Stage::Broken(error) => error.take().map_or(SendError::Closed, SendError::Broken),
            Stage::Body | Stage::Drain | Stage::Done => SendError::Closed,
        }
    }
}
