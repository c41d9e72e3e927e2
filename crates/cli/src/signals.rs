//! The signals that end a process in order.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// Cancels `stop` at the first SIGTERM or SIGINT. At the second the process ends at once, for who
/// asks twice does not want to wait.
pub(crate) fn listen(stop: CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // It ends with the process: a signal can come at any time.
    let _task = tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        stop.cancel();
        next(&mut terminate, &mut interrupt).await;
        std::process::exit(130);
    });
    Ok(())
}

/// Both are cancel-safe.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
