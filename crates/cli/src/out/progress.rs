//! A line that shows that something takes its time: from the second second on.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes less time needs no line.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that takes its time. The line is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    text: String,
    began: Instant,
    silent: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(text: &str, silent: bool) -> Self {
        let silent = silent || !io::stderr().is_terminal();
        Self { text: text.to_owned(), began: Instant::now(), silent, bar: None }
    }

    /// Returns how long to wait before [`Self::tick`] should be called.
    pub(crate) fn next_tick(&self) -> Duration {
        PATIENCE.saturating_sub(self.began.elapsed()).max(Duration::from_millis(50))
    }

    /// Shows the line, when it is time.
    pub(crate) fn tick(&mut self) {
        if self.silent || self.bar.is_some() || self.began.elapsed() < PATIENCE {
            return;
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(self.text.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar = Some(bar);
    }

    /// Awaits something while the line shows.
    pub(crate) async fn during<T>(mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            // Both branches are cancel-safe: the work is pinned outside the loop.
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(self.next_tick()), if self.bar.is_none() => self.tick(),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
