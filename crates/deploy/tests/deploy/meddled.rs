//! A transport on which somebody else puts a candidate of their own in the place of each one.

use std::{path::PathBuf, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_transport::{
    Argv, BoxStream, Entry, Local, Output, Target, Transport, TransportError, Upload,
};

/// This machine, with somebody else on it.
pub(crate) struct Meddled {
    pub(crate) local: Local,
    pub(crate) candidate: PathBuf,
}

impl Transport for Meddled {
    async fn run(
        &self,
        argv: &Argv,
        stdin: &[u8],
        deadline: Duration,
    ) -> Result<Output, TransportError> {
        if self.candidate.exists() {
            std::fs::write(&self.candidate, "no_such_directive;\n").unwrap();
        }
        self.local.run(argv, stdin, deadline).await
    }

    async fn put(&self, files: &[Upload]) -> Result<(), TransportError> {
        self.local.put(files).await
    }

    async fn get(&self, path: &Utf8Path) -> Result<Option<Vec<u8>>, TransportError> {
        self.local.get(path).await
    }

    async fn list(&self, folder: &Utf8Path) -> Result<Option<Vec<Entry>>, TransportError> {
        self.local.list(folder).await
    }

    async fn remove(&self, paths: &[Utf8PathBuf]) -> Result<(), TransportError> {
        self.local.remove(paths).await
    }

    async fn relink(&self, link: &Utf8Path, target: &Utf8Path) -> Result<(), TransportError> {
        self.local.relink(link, target).await
    }

    async fn dial(&self, target: &Target) -> Result<BoxStream, TransportError> {
        self.local.dial(target).await
    }
}
