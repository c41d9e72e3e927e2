//! A page of a machine, asked for from outside, each time over a connection of its own.

use std::time::{Duration, Instant};

use portway_testkit::client::{Speech, Web};

/// A page of a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    port: u16,
}

impl Page {
    /// The host that is asked for.
    pub(crate) const HOST: &'static str = "app.bench.test";

    /// Returns the page of a port.
    pub(crate) fn of(port: u16) -> Self {
        Self { port }
    }

    /// Asks until the answer is a text. Returns when it was.
    pub(crate) async fn until(
        self,
        text: &str,
        every: Duration,
        patience: Duration,
    ) -> anyhow::Result<Instant> {
        let began = Instant::now();
        loop {
            if self.is(text).await {
                return Ok(Instant::now());
            }
            anyhow::ensure!(began.elapsed() < patience, "port {} never answers {text}", self.port);
            tokio::time::sleep(every).await;
        }
    }

    async fn is(self, text: &str) -> bool {
        let mut web = Web::new(self.port, Speech::Http1);
        web.get(Self::HOST).await.is_ok_and(|answer| answer.is(text))
    }
}
