//! One connection for all that is done on a node, made when it is needed and again when it was lost.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::Mutex, time::Instant};

use super::{
    connection::Connection,
    hop::{Hop, Timing},
};
use crate::TransportError;

/// The way to a node.
pub(super) struct Link {
    pub(super) to: Hop,
    jumps: Vec<Hop>,
    timing: Timing,
    /// Held while connecting, on purpose: all who need the connection wait for the same attempt.
    state: Mutex<State>,
    opened: AtomicU64,
}

enum State {
    /// Nobody has needed it, or it was closed.
    Idle,
    Up(Arc<Connection>),
    Failed {
        error: TransportError,
        failures: u32,
        until: Instant,
    },
}

impl Link {
    pub(super) fn new(to: Hop, jumps: Vec<Hop>, timing: Timing) -> Self {
        Self { to, jumps, timing, state: Mutex::new(State::Idle), opened: AtomicU64::new(0) }
    }

    /// Returns the connection. For a while after a failure, the failure is returned at once: a node
    /// that is down costs nobody time, and one that refuses is not asked over and over.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, TransportError> {
        let mut state = self.state.lock().await;
        let failures = match &*state {
            State::Up(connection) if !connection.is_over() => return Ok(Arc::clone(connection)),
            State::Failed { error, until, .. } if Instant::now() < *until => {
                return Err(error.clone());
            }
            State::Failed { failures, .. } => *failures,
            State::Up(_) | State::Idle => 0,
        };
        match Connection::open(&self.to, &self.jumps, &self.timing).await {
            Ok(connection) => {
                self.opened.fetch_add(1, Ordering::Relaxed);
                let connection = Arc::new(connection);
                *state = State::Up(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                let failures = failures.saturating_add(1);
                let until = Instant::now() + self.timing.wait(failures);
                *state = State::Failed { error: error.clone(), failures, until };
                Err(error)
            }
        }
    }

    /// Has the next attempt made at once. After another failure the wait is still longer.
    pub(super) fn forget_failure(&self) {
        if let Ok(mut state) = self.state.try_lock()
            && let State::Failed { until, .. } = &mut *state
        {
            *until = Instant::now();
        }
    }

    pub(super) async fn close(&self) {
        let state = std::mem::replace(&mut *self.state.lock().await, State::Idle);
        if let State::Up(connection) = state {
            connection.close().await;
        }
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}
