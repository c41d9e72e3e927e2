//! A connection that stopped speaking HTTP: after the upstream's 101, bytes pass both ways until
//! both sides are done, each as fast as the other takes them.
//!
//! A side that said that it has no more to say is still told everything. One that takes nothing any
//! more is still heard to its end: what an application says last, why it closes for example, reaches
//! a client that was sending. A tunnel through which nothing passes holds no memory for bytes.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// Why a tunnel ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    /// The client's connection could not be taken over.
    #[error("the client's connection could not be taken over")]
    Held,
    /// The head of the answer cannot be written.
    #[error("the answer cannot be written")]
    Unwritable(#[from] portway_http1::WriteError),
    /// The client's connection broke.
    #[error("the client broke off")]
    Client(#[source] io::Error),
    /// The upstream's connection broke.
    #[error("the upstream broke off")]
    Upstream(#[source] io::Error),
}

/// What passed through a tunnel so far.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// From the client to the upstream.
    pub(crate) up: Rc<Cell<u64>>,
    /// From the upstream to the client.
    pub(crate) down: Rc<Cell<u64>>,
}

/// Passes bytes both ways until both sides are done or one is broken.
pub(crate) async fn pass<C, U>(
    mut client: C,
    mut upstream: U,
    passed: &Passed,
) -> Result<(), TunnelError>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Flow::new(Rc::clone(&passed.up));
    let mut down = Flow::new(Rc::clone(&passed.down));
    poll_fn(|cx| {
        let sent = up.poll(cx, &mut client, &mut upstream).map_err(TunnelError::Client)?;
        let answered = down.poll(cx, &mut upstream, &mut client).map_err(TunnelError::Upstream)?;
        if down.is_out_of_patience() {
            return Poll::Ready(Ok::<_, TunnelError>(()));
        }
        ready!(sent);
        ready!(answered);
        Poll::Ready(Ok(()))
    })
    .await?;
    match (up.refused, down.refused) {
        (None, None) => Ok(()),
        (Some(error), _) => Err(TunnelError::Upstream(error)),
        (None, Some(error)) => Err(TunnelError::Client(error)),
    }
}

/// One direction.
struct Flow {
    /// Read, and not taken by the other side yet.
    waiting: BytesMut,
    passed: Rc<Cell<u64>>,
    stage: Stage,
    /// Whether a layer below may hold what was taken.
    unflushed: bool,
    /// Why the other side takes nothing any more.
    refused: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There may be more.
    Open,
    /// There is no more, which the other side is to be told.
    Ending,
    /// It was told, or takes nothing.
    Ended,
}

impl Flow {
    fn new(passed: Rc<Cell<u64>>) -> Self {
        let (waiting, stage) = (BytesMut::new(), Stage::Open);
        Self { waiting, passed, stage, unflushed: false, refused: None }
    }

    /// Passes on what there is. It is ready when there will be no more; the error is one of reading.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while self.stage != Stage::Ended {
            let read = match ready!(self.poll_give(cx, to)) {
                Ok(()) if self.stage == Stage::Open => self.poll_take(cx, from, to),
                Ok(()) => {
                    let told = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.stage = Stage::Ended;
                    // Who has closed already need not be told, and loses nothing.
                    drop(told);
                    Poll::Ready(Ok(()))
                }
                Err(error) => {
                    self.refuse(error);
                    Poll::Ready(Ok(()))
                }
            };
            ready!(read)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the other side what waits for it.
    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let taken = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.count(taken);
            self.waiting.advance(taken);
        }
        if self.waiting.capacity() > 0 {
            self.waiting = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, into memory that all tunnels of a thread share, and writes as much of it as is
    /// taken at once.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        thread_local! {
            static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
        }
        SHARED.with_borrow_mut(|shared| {
            let mut piece = ReadBuf::new(shared);
            let Poll::Ready(read) = Pin::new(from).poll_read(cx, &mut piece) else {
                if self.unflushed
                    && let Err(error) = ready!(Pin::new(to).poll_flush(cx))
                {
                    self.refuse(error);
                    return Poll::Ready(Ok(()));
                }
                self.unflushed = false;
                return Poll::Pending;
            };
            read?;
            let piece = piece.filled();
            if piece.is_empty() {
                self.stage = Stage::Ending;
                return Poll::Ready(Ok(()));
            }
            self.unflushed = true;
            let taken = match Pin::new(to).poll_write(cx, piece) {
                Poll::Ready(Ok(taken)) => taken,
                Poll::Ready(Err(error)) => {
                    self.refuse(error);
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => 0,
            };
            self.count(taken);
            self.waiting.extend_from_slice(piece.get(taken..).unwrap_or_default());
            Poll::Ready(Ok(()))
        })
    }

    /// Tells whether the other side took nothing for too long: it is there, and could say more for
    /// ever.
    fn is_out_of_patience(&self) -> bool {
        self.refused.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    fn refuse(&mut self, error: io::Error) {
        self.waiting = BytesMut::new();
        self.refused = Some(error);
        self.stage = Stage::Ended;
    }

    fn count(&self, taken: usize) {
        self.passed.set(self.passed.get() + u64::try_from(taken).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_one_side_says_after_the_other_has_ended_still_arrives() {
        let (mut client, near) = duplex(4);
        let (far, mut upstream) = duplex(4);
        let passed = Passed::default();
        let told = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let telling = async {
            let mut asked = String::new();
            upstream.read_to_string(&mut asked).await.unwrap();
            upstream.write_all(b"a long answer").await.unwrap();
            drop(upstream);
            asked
        };

        let (ended, answer, asked) = tokio::join!(pass(near, far, &passed), told, telling);

        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!((answer.as_str(), asked.as_str()), ("a long answer", "question"));
        assert_eq!((passed.up.get(), passed.down.get()), (8, 13));
    }

    #[tokio::test]
    async fn the_last_words_of_an_upstream_reach_a_client_that_was_sending() {
        let (mut client, near) = duplex(64);
        let (far, upstream) = duplex(64);
        let passed = Passed::default();
        let (reading, mut writing) = tokio::io::split(upstream);
        // From here on, nothing is taken, and there is an answer to be read.
        writing.write_all(b"1009").await.unwrap();
        drop((reading, writing));
        client.write_all(b"too much").await.unwrap();

        let ended = pass(near, far, &passed).await;

        assert!(matches!(ended, Err(TunnelError::Upstream(_))), "{ended:?}");
        let mut last = String::new();
        client.read_to_string(&mut last).await.unwrap();
        assert_eq!(last, "1009");
        assert_eq!((passed.up.get(), passed.down.get()), (0, 4));
    }

    #[tokio::test]
    async fn what_was_not_taken_at_once_waits_and_stays_in_order() {
        let (mut client, near) = duplex(PIECE * 4);
        let (far, mut upstream) = duplex(7);
        let passed = Passed::default();
        let sent: Vec<u8> = (0..PIECE * 3).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let sending = async {
            client.write_all(&sent).await.unwrap();
            drop(client);
        };
        let hearing = async {
            let mut heard = Vec::new();
            upstream.read_to_end(&mut heard).await.unwrap();
            drop(upstream);
            heard
        };

        let (ended, (), heard) = tokio::join!(pass(near, far, &passed), sending, hearing);

        assert!(ended.is_ok(), "{ended:?}");
        assert!(heard == sent, "{} bytes of {}", heard.len(), sent.len());
    }
}
