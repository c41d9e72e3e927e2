//! `edge`: the data plane as a process of its own.

use camino::Utf8PathBuf;
use portway_control::EdgeClient;
use portway_edge::{DEFAULT_DRAIN, EdgeConfig};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    args::Edge,
    config::{self, Machine},
    exit::{Exit, Failure, Outcome},
    notify,
    paths::Paths,
    session::Session,
    signals, telemetry,
};

/// `portway edge`
pub(super) async fn run(session: &Session, args: Edge) -> Outcome {
    let mut config = configuration(&args, &session.paths()?, Machine::look())?;
    if args.stop {
        let told = args.control_socket.map_or_else(|| session.manager().map(|m| m.edge_socket), Ok);
        return stop(session, told?).await;
    }
    let guard =
        telemetry::start(&session.out, args.log_format.unwrap_or_default(), "portway-edge")?;
    config.spans = guard.request_spans();
    if args.detached
        && let Err(error) = rustix::process::setsid()
    {
        warn!("the edge could not leave its session, and ends with it: {error}");
    }
    let stop = CancellationToken::new();
    signals::listen(stop.clone())?;
    let ended = portway_edge::run(config, stop, notify::ready).await;
    let flushed = tokio::task::spawn_blocking(move || guard.shutdown()).await;
    flushed.map_err(|error| Failure::failed("the last spans are lost").because(&error))?;
    ended.map_err(|error| {
        Failure::failed("the edge cannot serve").because(&error).help(
            "a port below 1024 needs root or CAP_NET_BIND_SERVICE; --http-port and --https-port \
             choose others",
        )
    })?;
    Ok(Exit::Ok)
}

/// `portway edge --stop`
async fn stop(session: &Session, socket: Utf8PathBuf) -> Outcome {
    let client = EdgeClient::new(socket);
    client.stop().await.map_err(|error| {
        Failure::new(Exit::Unreachable, "the edge cannot be stopped").because(&error)
    })?;
    session.out.note("the edge stops after the requests in flight")?;
    Ok(Exit::Ok)
}

fn configuration(args: &Edge, paths: &Paths, machine: Machine) -> Result<EdgeConfig, Failure> {
    let listeners = config::settle_edge(&args.listeners, paths, machine)?;
    let usual = EdgeConfig::below(&paths.edge());
    Ok(EdgeConfig {
        state_dir: args.state.clone().unwrap_or(usual.state_dir),
        log_dir: args.log_dir.clone().unwrap_or(usual.log_dir),
        control_socket: args.control_socket.clone().unwrap_or(usual.control_socket),
        spans: usual.spans,
        http: listeners.http,
        https: listeners.https,
        public_https_port: listeners.public_https_port,
        workers: listeners.workers,
        name_servers: listeners.name_servers,
        body_memory: usual.body_memory,
        drain: DEFAULT_DRAIN,
    })
}
