//! An answer that costs something, for askers who cannot be asked to wait their turn: it is made by
//! one at a time and kept for a while, however many ask and however soon they go away again.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{task::JoinError, time::Instant};

/// The most recent answer.
pub(crate) struct Recent<T: Clone> {
    fresh: Duration,
    latest: Mutex<Option<Making<T>>>,
}

/// An answer that is there or being made, with when it was there.
type Making<T> = Shared<BoxFuture<'static, Result<(T, Instant), Arc<JoinError>>>>;

impl<T: Clone + Send + Sync + 'static> Recent<T> {
    /// Keeps answers for as long as they are `fresh`.
    pub(crate) fn new(fresh: Duration) -> Self {
        Self { fresh, latest: Mutex::new(None) }
    }

    /// Returns the fresh answer, the one that is being made, or the one that `make` makes. Making
    /// goes on when the asker goes away. The error is a panic of whoever made it.
    pub(crate) async fn get<F>(&self, make: impl FnOnce() -> F) -> Result<T, Arc<JoinError>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let making = {
            let mut latest = self.latest();
            match latest.as_ref().filter(|making| self.serves(making)) {
                Some(making) => making.clone(),
                None => latest.insert(begin(make())).clone(),
            }
        };
        making.await.map(|(answer, _)| answer)
    }

    fn serves(&self, making: &Making<T>) -> bool {
        match making.peek() {
            None => true,
            Some(Ok((_, at))) => at.elapsed() < self.fresh,
            Some(Err(_)) => false,
        }
    }

    fn latest(&self) -> MutexGuard<'_, Option<Making<T>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin<T, F>(make: F) -> Making<T>
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let timed = async move { (make.await, Instant::now()) };
    tokio::spawn(timed).map(|made| made.map_err(Arc::new)).boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const FRESH: Duration = Duration::from_secs(3);
    const WORK: Duration = Duration::from_secs(1);

    /// Returns the number of the answer: the first is 1.
    async fn ask(recent: &Recent<usize>, count: &Arc<AtomicUsize>) -> usize {
        let count = Arc::clone(count);
        let make = || async move {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(WORK).await;
            number
        };
        recent.get(make).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_one_answer_is_made_at_a_time() {
        let (recent, made) = (Recent::new(FRESH), Arc::default());

        let answers = futures_util::future::join_all((0..100).map(|_| ask(&recent, &made))).await;

        assert_eq!(answers, [1; 100]);
        tokio::time::advance(FRESH / 2).await;
        assert_eq!(ask(&recent, &made).await, 1);
        tokio::time::advance(FRESH / 2).await;
        assert_eq!(ask(&recent, &made).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_starts_nothing_anew() {
        let (recent, made) = (Recent::new(FRESH), Arc::default());

        for _ in 0..100 {
            let gone = tokio::time::timeout(Duration::from_millis(1), ask(&recent, &made)).await;
            assert!(gone.is_err());
        }

        assert_eq!(ask(&recent, &made).await, 1);
    }

    #[tokio::test]
    async fn a_panic_is_not_kept() {
        let recent = Recent::<usize>::new(FRESH);
        let broken = recent.get(|| async { panic!("as told") }).await;
        assert!(broken.is_err());
        assert_eq!(recent.get(|| async { 7 }).await.unwrap(), 7);
    }
}
