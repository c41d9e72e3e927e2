//! Asks what listens on a port of a node's loopback, over plain HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use portway_transport::{Target, Transport};
use tokio::time::timeout;

/// How long all questions together may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

/// Asks for some paths, one after the other on one connection. Returns an answer to each, or why there
/// is none.
pub(crate) async fn ask<T: Transport>(
    transport: &T,
    port: u16,
    paths: &[&str],
    most: usize,
) -> Vec<Result<Answer, String>> {
    let mut answers = Vec::new();
    let end = match timeout(PATIENCE, talk(transport, port, paths, most, &mut answers)).await {
        Ok(Ok(())) => "it ended the connection".to_owned(),
        Ok(Err(problem)) => problem,
        Err(_) => format!("no answer on port {port} within {} s", PATIENCE.as_secs()),
    };
    answers.resize_with(paths.len(), || Err(end.clone()));
    answers
}

async fn talk<T: Transport>(
    transport: &T,
    port: u16,
    paths: &[&str],
    most: usize,
    answers: &mut Vec<Result<Answer, String>>,
) -> Result<(), String> {
    let stream = transport.dial(&Target::loopback(port)).await.map_err(chain)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(chain)?;
    let questions = async {
        for path in paths {
            sender.ready().await.map_err(chain)?;
            answers.push(question(&mut sender, port, path, most).await);
        }
        Ok(())
    };
    // The connection is driven from here, so that nothing outlives the questions.
    tokio::select! {
        asked = questions => asked,
        ended = connection => match ended {
            Ok(()) => Err("it ended the connection".to_owned()),
            Err(error) => Err(chain(error)),
        },
    }
}

async fn question(
    sender: &mut SendRequest<Empty<Bytes>>,
    port: u16,
    path: &str,
    most: usize,
) -> Result<Answer, String> {
    let request = Request::get(path)
        .header(HOST, format!("127.0.0.1:{port}"))
        .body(Empty::<Bytes>::new())
        .map_err(chain)?;
    let (head, body) = sender.send_request(request).await.map_err(chain)?.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|error| error.to_string())?;
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    })
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
