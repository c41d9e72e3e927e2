//! What a request waits for on its way, beside its targets: told with its time where there was something
//! to wait for, and without a look at the clock where there was not.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    time::Duration,
};

use portway_telemetry::access::{Way, milliseconds};
use tokio::time::Instant;

/// What takes less is not told: nobody looks for it, and it would only make the log longer.
const LEAST: Duration = Duration::from_micros(100);

/// A step of a request that mostly takes no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its head arrives.
    Head,
    /// The sites of its host are loaded.
    Load,
    /// Its password is checked.
    Password,
    /// Another request for the same is answered, as the answer may be for this one too.
    Cache,
    /// Its body is read before a target is taken.
    Body,
    /// A disk is read.
    Files,
}

impl Step {
    /// Tells whether a time is worth telling.
    pub(crate) fn is_told(time: Duration) -> bool {
        time >= LEAST
    }

    /// Tells what the step took; a step may be entered more than once.
    pub(crate) fn tell(self, time: Duration, way: &mut Way) {
        let told = match self {
            Self::Head => &mut way.head_ms,
            Self::Load => &mut way.load_ms,
            Self::Password => &mut way.password_ms,
            Self::Cache => &mut way.cache_ms,
            Self::Body => &mut way.body_ms,
            Self::Files => &mut way.files_ms,
        };
        let before = told.unwrap_or_default();
        // As sums of decimal fractions are none: to the microsecond.
        *told = Some(((before + milliseconds(time)) * 1e3).round() / 1e3);
    }
}

/// Waits for something that mostly is there at once. Where it is not, `tell` learns how long it was
/// waited for, also when whoever waits gives up.
pub(crate) async fn waited<F: Future>(
    mut future: Pin<&mut F>,
    tell: impl FnOnce(Duration),
) -> F::Output {
    let mut wait = Wait { since: None, tell: Some(tell) };
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            wait.since.get_or_insert_with(Instant::now);
        }
        polled
    })
    .await
}

struct Wait<T: FnOnce(Duration)> {
    /// When it turned out that it is not there at once.
    since: Option<Instant>,
    tell: Option<T>,
}

impl<T: FnOnce(Duration)> Drop for Wait<T> {
    fn drop(&mut self) {
        if let Some((since, tell)) = self.since.zip(self.tell.take()) {
            tell(since.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, pin::pin};

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_there_at_once_has_no_time_and_what_is_not_has_its_own() {
        let mut told = None;
        assert_eq!(waited(pin!(ready(7)), |time| told = Some(time)).await, 7);
        assert_eq!(told, None);
        waited(pin!(sleep(3 * SECOND)), |time| told = Some(time)).await;
        assert_eq!(told, Some(3 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_is_told_how_long_it_was() {
        let mut told = None;
        let waiting = async {
            waited(pin!(sleep(9 * SECOND)), |time| told = Some(time)).await;
        };
        assert!(timeout(2 * SECOND, waiting).await.is_err());
        assert_eq!(told, Some(2 * SECOND));
    }

    #[test]
    fn a_step_that_is_entered_again_is_told_with_the_sum() {
        let mut way = Way::default();
        Step::Files.tell(Duration::from_micros(100), &mut way);
        Step::Files.tell(Duration::from_micros(200), &mut way);
        assert_eq!(way.files_ms.map(|ms| ms.to_string()).as_deref(), Some("0.3"));
        assert!(Step::is_told(LEAST) && !Step::is_told(Duration::from_micros(99)));
    }
}
