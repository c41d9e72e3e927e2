//! How an edge takes the place of another one without a request being lost, for example because
//! its program was replaced.
//!
//! The successor asks over the control socket of the predecessor (`POST /v1/succeed`), and from
//! then on the two speak in messages, with file descriptors passed along:
//!
//! 1. The successor says who it is (`Hello`). The predecessor lets changes wait, copies what it
//!    may still have to read, closes its state, and gives its sockets (`Offer`): those it listens
//!    on, so that connections which wait at them wait on, and the control socket.
//! 2. The successor opens the state and makes everything ready to accept (`Prepared`).
//! 3. The predecessor tells its supervisor who is watched from now on, and lets go (`Go`): it
//!    accepts nothing more, and ends what it began. The successor accepts.
//!
//! Until `Go` the predecessor serves. If the successor fails, says nothing in time or is killed,
//! the predecessor takes its state back and goes on as if nothing had been. If the predecessor is
//! killed, the successor has all it needs, and serves: the connection that ends without a word is
//! as good as `Go`. So at any moment exactly one of them accepts.
//!
//! Afterwards every connection of the predecessor ends where its client expects it: HTTP/1.1 with
//! `Connection: close` on the next answer, HTTP/2 with GOAWAY.

mod channel;
mod predecessor;
mod successor;

use std::time::Duration;

use camino::Utf8PathBuf;
use portway_policy::bundle::ListenerStatus;
use serde::{Deserialize, Serialize};

pub use self::successor::SuccessionError;
pub(crate) use self::{
    predecessor::{Predecessor, Ways, accept},
    successor::{Outputs, Succession},
};

/// The version of what the two say to each other.
const PROTOCOL: u32 = 1;

/// What the connection is upgraded to.
const UPGRADE: &str = "portway-succession";

/// How long a message may take to which the other side has nothing to prepare.
const PROMPT: Duration = Duration::from_secs(10);

/// How long the successor may take to open the state and make itself ready.
const PREPARING: Duration = Duration::from_secs(240);

/// How long the predecessor may take to end a change, and to copy what it may still need.
const OFFERING: Duration = Duration::from_secs(120);

/// What the two say.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "snake_case")]
enum Message {
    /// The successor, first.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Of its binary.
        version: String,
        /// The state that it would use.
        state_dir: Utf8PathBuf,
    },
    /// The predecessor. The descriptors follow: those of the listeners in their order, the control
    /// socket, standard output and standard error.
    Offer {
        /// Of its binary.
        version: String,
        /// Where it listens.
        listeners: Vec<OfferedListener>,
    },
    /// The successor: it would accept connections at once.
    Prepared {
        /// The addresses on which it will.
        listeners: Vec<ListenerStatus>,
    },
    /// The predecessor: it accepts none any more.
    Go,
    /// Either: nothing comes of it.
    Refused {
        /// Why.
        reason: String,
    },
}

/// An address with the number of its sockets.
#[derive(Debug, Serialize, Deserialize)]
struct OfferedListener {
    #[serde(flatten)]
    status: ListenerStatus,
    sockets: usize,
}
