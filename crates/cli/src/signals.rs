//! The signals that end a process in order, and those by which an edge is upgraded.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::exit::Failure;

/// Cancels `stop` at the first SIGTERM, SIGINT or SIGQUIT. At the second the process ends at once, for who
/// asks twice does not want to wait.
pub(crate) fn listen(stop: CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    // It ends with the process: a signal can come at any time.
    let _task = tokio::spawn(async move {
        next(&mut terminate, &mut interrupt, &mut quit).await;
        stop.cancel();
        next(&mut terminate, &mut interrupt, &mut quit).await;
        std::process::exit(130);
    });
    Ok(())
}

/// All are cancel-safe.
async fn next(terminate: &mut Signal, interrupt: &mut Signal, quit: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = quit.recv() => {}
    }
}

/// What an edge does at a signal beside stopping.
pub(crate) struct Upgrades {
    usr2: Signal,
    hup: Signal,
}

impl Upgrades {
    /// Listens for SIGUSR2, as those who know nginx expect, and for SIGHUP.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let (usr2, hup) = (signal(SignalKind::user_defined2())?, signal(SignalKind::hangup())?);
        Ok(Self { usr2, hup })
    }

    /// Waits until an upgrade is asked for. SIGHUP asks for nothing: there is no configuration to
    /// be read again. It ends an edge whose terminal goes away.
    pub(crate) async fn next(&mut self, stop: &CancellationToken) {
        loop {
            // Both are cancel-safe.
            tokio::select! {
                _ = self.usr2.recv() => return,
                _ = self.hup.recv() => {}
            }
            if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                stop.cancel();
            } else {
                info!(
                    "SIGHUP: changes are live as soon as they are made, there is nothing to reload; SIGUSR2 upgrades the program"
                );
            }
        }
    }
}
