//! `edge`: the data plane as a process of its own.

mod install;
mod invocation;
mod system;
mod uninstall;
mod upgrade;

use std::sync::Arc;

use camino::Utf8PathBuf;
use portway_control::EdgeClient;
use portway_edge::{Before, EdgeConfig, Writes};
use portway_policy::{
    Claim,
    bundle::{Change, PROTOCOL},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::invocation::{Program, words};
pub(super) use self::{invocation::identity, upgrade::SUCCEED};
use crate::{
    args::Edge,
    config::{self, Machine},
    exit::{Exit, Failure, Outcome},
    notify,
    paths::Paths,
    session::Session,
    signals::{self, Upgrades},
    telemetry,
};

/// `portway edge`
pub(super) async fn run(session: &Session, args: Edge) -> Outcome {
    if args.setting_up.install {
        return install::run(session, &args).await;
    }
    if args.setting_up.uninstall {
        return uninstall::run(session).await;
    }
    let paths = session.paths()?;
    let mut config = configuration(&args, &paths, Machine::look())?;
    if args.stop || args.upgrade || args.setting_up.disown {
        let told = args.control_socket.clone();
        let socket = told.map_or_else(|| session.manager().map(|m| m.edge_socket), Ok)?;
        if args.stop {
            return stop(session, socket).await;
        }
        if args.setting_up.disown {
            return disown(session, socket).await;
        }
        let wanted = upgrade::is_described(&args).then(|| words(&config, &args, &paths));
        return upgrade::run(session, socket, wanted).await;
    }
    let guard =
        telemetry::start(&session.out, args.log_format.unwrap_or_default(), "portway-edge")?;
    config.spans = guard.request_spans();
    config.sockets.clone_from(&session.sockets);
    config.herald = Arc::new(notify::Systemd::default());
    config.invocation.program = identity();
    config.invocation.arguments = words(&config, &args, &paths);
    if args.started.detached
        && let Err(error) = rustix::process::setsid()
    {
        warn!("the edge could not leave its session, and ends with it: {error}");
    }
    let stop = CancellationToken::new();
    signals::listen(stop.clone())?;
    let program = Program::own()?;
    let upgrading = upgrade::at_signals(
        Upgrades::listen()?,
        program,
        config.invocation.arguments.clone(),
        stop.clone(),
    );
    // It ends with the process.
    let upgrading = tokio::spawn(upgrading);
    let before = match (args.started.succeed, args.started.same_outputs) {
        (false, _) => Before::Nobody,
        (true, false) => Before::Predecessor(Writes::Here),
        (true, true) => Before::Predecessor(Writes::WhereThePredecessorDid),
    };
    let ended = portway_edge::run(config, before, stop).await;
    upgrading.abort();
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

/// `portway edge --disown`
async fn disown(session: &Session, socket: Utf8PathBuf) -> Outcome {
    let change = Change { format: PROTOCOL, claim: Some(Claim::GiveUp), ..Change::default() };
    EdgeClient::new(socket).change(&change).await.map_err(|error| {
        Failure::new(Exit::Unreachable, "the edge cannot be asked").because(&error)
    })?;
    session.out.note("the edge is nobody's; it serves on")?;
    Ok(Exit::Ok)
}

fn configuration(args: &Edge, paths: &Paths, machine: Machine) -> Result<EdgeConfig, Failure> {
    let listeners = config::settle_edge(&args.listeners, paths, machine)?;
    let usual = EdgeConfig::below(&paths.edge());
    Ok(EdgeConfig {
        state_dir: args.state.clone().unwrap_or_else(|| usual.state_dir.clone()),
        log_dir: args.log_dir.clone().unwrap_or_else(|| usual.log_dir.clone()),
        control_socket: args.control_socket.clone().unwrap_or_else(|| usual.control_socket.clone()),
        http: listeners.http,
        https: listeners.https,
        public_https_port: listeners.public_https_port,
        workers: listeners.workers,
        name_servers: listeners.name_servers,
        ..usual
    })
}
