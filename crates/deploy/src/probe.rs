//! Asks an engine what it serves: an exit code proves nothing, an answer does.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use portway_engine::Probe;
use portway_transport::{Target, Transport};
use tokio::time::{Instant, sleep, timeout};

/// The most an answer may have.
const MOST: usize = 64 << 10;
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(3);
/// The pause after the first answer that is not the right one; it doubles up to `LONGEST`.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(250);

/// Asks once. Returns what was answered, or why there is no answer.
pub(crate) async fn ask<T: Transport>(
    transport: &T,
    probe: &Probe,
    patience: Duration,
) -> Result<String, String> {
    match timeout(patience, exchange(transport, probe)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
    }
}

/// So many right answers in a row prove it: for a moment after a reload, an engine's old workers
/// answer beside its new ones.
const IN_A_ROW: u32 = 3;

/// Asks until the answer is the right one. Returns what came instead when time is up.
pub(crate) async fn until_right<T: Transport>(transport: &T, probe: &Probe) -> Result<(), String> {
    let end = Instant::now() + probe.deadline;
    let mut pause = PAUSE;
    let mut right = 0;
    loop {
        let answer = ask(transport, probe, QUESTION).await;
        if answer.as_deref() == Ok(probe.answer.as_str()) {
            right += 1;
            if right == IN_A_ROW {
                return Ok(());
            }
            continue;
        }
        right = 0;
        if Instant::now() + pause > end {
            return Err(match answer {
                Ok(other) => format!("it answers `{other}`"),
                Err(problem) => problem,
            });
        }
        sleep(pause).await;
        pause = LONGEST.min(pause * 2);
    }
}

async fn exchange<T: Transport>(transport: &T, probe: &Probe) -> Result<String, String> {
    let stream = transport.dial(&Target::loopback(probe.port)).await.map_err(chain)?;
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
        if let Some(header) = &probe.header {
            let value = answer.headers().get(header).and_then(|value| value.to_str().ok());
            return value.map(str::to_owned).ok_or_else(|| format!("no header {header}"));
        }
        let body =
            Limited::new(answer.into_body(), MOST).collect().await.map_err(|e| e.to_string())?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).trim().to_owned())
    };
    // The connection is driven from here, so that nothing outlives the question.
    tokio::select! {
        answer = talk => answer,
        ended = connection => match ended {
            Ok(()) => Err("the connection was closed".to_owned()),
            Err(error) => Err(chain(error)),
        },
    }
}

fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
