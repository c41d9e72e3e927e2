//! What a case is, and how one is carried out over a connection.

use std::{fmt, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::mpsc,
    time::timeout,
};

use super::{
    deflate,
    frames::{self, BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT},
};

/// How long a server may take for what it must do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server is given to do what it may as well do later.
const MOMENT: Duration = Duration::from_millis(100);

/// A case: what is sent, and what may come of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// As the Autobahn test suite numbers it.
    pub(crate) number: String,
    /// The extensions that are offered.
    pub(crate) offer: &'static str,
    pub(crate) steps: Vec<Step>,
    /// Every list of answers that is right.
    pub(crate) right: Vec<Vec<Said>>,
    /// Who ends the connection.
    pub(crate) ends: Ends,
    /// The codes with which a server may close; it may as well say none.
    pub(crate) codes: Vec<u16>,
}

/// Something that the client does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes bytes.
    Write(Vec<u8>),
    /// Writes bytes, so many at once.
    Chop(Vec<u8>, usize),
    /// Waits until the server has said so many things in all.
    Hear(usize),
    /// Gives the server the time to close.
    Moment,
}

/// Who ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// The client, when it has heard everything.
    Client,
    /// The client, by one of its steps.
    Step,
    /// The server.
    Server,
}

/// Something that a server said.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// What no answer should be.
    Odd(Frame),
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The extensions that were agreed on.
    pub(crate) agreed: String,
    pub(crate) said: Vec<Said>,
    /// How the server closed: with a code and a reason, without a code, or not at all.
    pub(crate) closed: Option<(Option<u16>, String)>,
    /// Whether the connection ended by itself.
    pub(crate) ended: bool,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, bytes) = match self {
            Self::Text(bytes) => ("text", bytes),
            Self::Binary(bytes) => ("binary", bytes),
            Self::Pong(bytes) => ("pong", bytes),
            Self::Odd(frame) => return write!(f, "{frame:?}"),
        };
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        write!(f, "{kind} of {} bytes {begin:?}", bytes.len())
    }
}

impl Case {
    /// Says what is wrong with an outcome, if anything is.
    pub(crate) fn judge(&self, outcome: &Outcome) -> Result<(), String> {
        if !self.right.contains(&outcome.said) {
            return Err(format!("said {:?}, not any of {:?}", outcome.said, self.right));
        }
        if !outcome.ended {
            return Err("the connection did not end".to_owned());
        }
        match &outcome.closed {
            None if self.ends == Ends::Client => Err("it was not closed by its rules".to_owned()),
            Some((Some(code), reason)) if !self.codes.contains(code) => {
                Err(format!("closed with {code} ({reason}), not one of {:?}", self.codes))
            }
            None | Some(_) => Ok(()),
        }
    }

    /// Says where two outcomes differ, if they do. Where a server may answer what came before a
    /// fault or not, it may do so in one and not in the other.
    pub(crate) fn differ(&self, direct: &Outcome, through: &Outcome) -> Result<(), String> {
        let mut through = through.clone();
        if self.right.len() > 1 && self.right.contains(&through.said) {
            through.said.clone_from(&direct.said);
        }
        if *direct == through {
            return Ok(());
        }
        Err(format!("directly {direct:?}\n through the edge {through:?}"))
    }

    /// Carries the case out over a connection on which extensions were agreed on.
    pub(crate) async fn run<S>(&self, stream: S, agreed: String) -> Outcome
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(stream);
        let (teller, hears) = mpsc::unbounded_channel();
        let listening = tokio::spawn(listen(read, teller));
        let mut client = Client { write, hears, open: true, said: vec![], closed: None };
        for step in &self.steps {
            client.take(step).await;
        }
        if self.ends == Ends::Client {
            let expected = self.right.iter().map(Vec::len).max().unwrap_or(0);
            client.hear(expected).await;
            client.write(&frames::close(1000, "").bytes()).await;
        }
        let ended = client.hear_out(self.ends).await;
        listening.abort();
        Outcome { agreed, said: client.said, closed: client.closed, ended }
    }
}

/// One end of a connection.
struct Client<S> {
    write: WriteHalf<S>,
    hears: mpsc::UnboundedReceiver<Frame>,
    /// Whether the server can say more.
    open: bool,
    said: Vec<Said>,
    closed: Option<(Option<u16>, String)>,
}

impl<S: AsyncRead + AsyncWrite> Client<S> {
    async fn take(&mut self, step: &Step) {
        match step {
            Step::Write(bytes) => self.write(bytes).await,
            Step::Chop(bytes, size) => {
                for piece in bytes.chunks(*size) {
                    self.write(piece).await;
                }
            }
            Step::Hear(count) => self.hear(*count).await,
            Step::Moment => {
                let closing = async {
                    while self.open && self.closed.is_none() {
                        self.next().await;
                    }
                };
                // That it goes on is as good.
                drop(timeout(MOMENT, closing).await);
            }
        }
    }

    /// Writes what the server may no longer want.
    async fn write(&mut self, bytes: &[u8]) {
        drop(self.write.write_all(bytes).await);
        drop(self.write.flush().await);
    }

    async fn hear(&mut self, count: usize) {
        let hearing = async {
            while self.open && self.closed.is_none() && self.said.len() < count {
                self.next().await;
            }
        };
        // What is missing then is seen by who judges.
        drop(timeout(PATIENCE, hearing).await);
    }

    /// Listens to the end of the connection, and tells whether there was one.
    async fn hear_out(&mut self, ends: Ends) -> bool {
        let mut answered = ends != Ends::Server;
        let hearing = async {
            while self.open {
                self.next().await;
                if let (Some((code, _)), false) = (&self.closed, answered) {
                    answered = true;
                    let answer = match code {
                        Some(code) => frames::close(*code, ""),
                        None => frames::whole(CLOSE, ""),
                    };
                    self.write(&answer.bytes()).await;
                }
            }
        };
        let ended = timeout(PATIENCE, hearing).await.is_ok();
        drop(self.write.shutdown().await);
        ended
    }

    async fn next(&mut self) {
        let Some(frame) = self.hears.recv().await else {
            self.open = false;
            return;
        };
        match frame.opcode {
            CLOSE => {
                let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
                self.closed = Some((code, reason.into_owned()));
            }
            TEXT => self.said.push(Said::Text(frame.payload)),
            BINARY => self.said.push(Said::Binary(frame.payload)),
            PONG => self.said.push(Said::Pong(frame.payload)),
            _ => self.said.push(Said::Odd(frame)),
        }
    }
}

/// Reads to the end of a connection. Messages are put together and inflated.
async fn listen<S>(mut read: ReadHalf<S>, teller: mpsc::UnboundedSender<Frame>)
where
    S: AsyncRead + AsyncWrite,
{
    let mut inflate = deflate::Inflate::new();
    let mut message: Option<Frame> = None;
    while let Ok(mut frame) = Frame::read(&mut read).await {
        if matches!(frame.opcode, CLOSE | PING | PONG) {
            drop(teller.send(frame));
            continue;
        }
        if frame.opcode == CONTINUATION
            && let Some(mut begun) = message.take()
        {
            begun.payload.append(&mut frame.payload);
            frame = Frame { last: frame.last, ..begun };
        }
        if !frame.last {
            message = Some(frame);
            continue;
        }
        if frame.reserved == frames::COMPRESSED {
            frame = frames::whole(frame.opcode, inflate.message(frame.payload));
        }
        drop(teller.send(frame));
    }
}
