//! Asks an engine what it serves: an exit code proves nothing, an answer does.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use portway_engine::Probe;
use portway_transport::{Target, Transport, TransportError};
use tokio::time::{Instant, sleep, timeout};

/// The most an answer may have.
const MOST: usize = 64 << 10;
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(3);
/// The pause after the first answer that is not the right one; it doubles up to `LONGEST`.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(250);

/// Why there is no right answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silent {
    /// The question did not come to the node, which says nothing of the engine.
    #[error(transparent)]
    Away(TransportError),
    /// The engine answered otherwise, or not.
    #[error("{0}")]
    Engine(String),
}

impl From<String> for Silent {
    fn from(problem: String) -> Self {
        Self::Engine(problem)
    }
}

/// Asks once. Returns what was answered, or why there is no answer.
pub(crate) async fn ask<T: Transport>(
    transport: &T,
    probe: &Probe,
    patience: Duration,
) -> Result<String, Silent> {
    question(transport, probe, patience).await.map(|answer| answer.text)
}

/// What an engine answered.
struct Answer {
    text: String,
    /// The process that answered, where it says so.
    worker: Option<String>,
}

async fn question<T: Transport>(
    transport: &T,
    probe: &Probe,
    patience: Duration,
) -> Result<Answer, Silent> {
    match timeout(patience, exchange(transport, probe)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", patience.as_secs()).into()),
    }
}

/// So many right answers in a row prove it where nothing else does: for a moment after a reload, an
/// engine's old workers may answer beside its new ones.
pub(crate) const IN_A_ROW: u32 = 3;

/// Asks until so many answers in a row are the right one. Returns the process that gave the last one,
/// where it says so, and what came instead when time is up.
pub(crate) async fn until_right<T: Transport>(
    transport: &T,
    probe: &Probe,
    in_a_row: u32,
) -> Result<Option<String>, Silent> {
    let end = Instant::now() + probe.deadline;
    let mut pause = PAUSE;
    let mut right = 0;
    loop {
        let other = match question(transport, probe, QUESTION).await {
            Ok(answer) if answer.text == probe.answer => {
                right += 1;
                if right >= in_a_row {
                    return Ok(answer.worker);
                }
                continue;
            }
            Ok(answer) => format!("it answers `{}`", answer.text).into(),
            Err(problem) => problem,
        };
        right = 0;
        if Instant::now() + pause > end {
            return Err(other);
        }
        sleep(pause).await;
        pause = LONGEST.min(pause * 2);
    }
}

async fn exchange<T: Transport>(transport: &T, probe: &Probe) -> Result<Answer, Silent> {
    let stream = transport.dial(&Target::loopback(probe.port)).await.map_err(undialled)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(chain)?;
    let request = Request::get(&probe.path)
        .header(http::header::HOST, format!("127.0.0.1:{}", probe.port))
        .body(Empty::<Bytes>::new())
        .map_err(chain)?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(chain)?;
        let status = answer.status().as_u16();
        if status != probe.status {
            return Err(format!("status {status}"));
        }
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let worker = probe.workers.as_ref().and_then(|workers| header(workers.header));
        if let Some(name) = &probe.header {
            let text = header(name).ok_or_else(|| format!("no header {name}"))?;
            return Ok(Answer { text, worker });
        }
        let body =
            Limited::new(answer.into_body(), MOST).collect().await.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
        Ok(Answer { text, worker })
    };
    // The connection is driven from here, so that nothing outlives the question.
    let answer: Result<Answer, String> = tokio::select! {
        answer = talk => answer,
        ended = connection => match ended {
            Ok(()) => Err("the connection was closed".to_owned()),
            Err(error) => Err(chain(error)),
        },
    };
    Ok(answer?)
}

/// Nobody who listens is the engine's affair; whatever else keeps a question from the node is not.
fn undialled(error: TransportError) -> Silent {
    if matches!(error, TransportError::Refused { .. }) {
        return Silent::Engine(chain(error));
    }
    Silent::Away(error)
}

pub(crate) fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
