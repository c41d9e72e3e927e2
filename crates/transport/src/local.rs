//! The machine on which the manager runs. No shell is involved.

mod files;
mod process;

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{
    net::{TcpStream, UnixStream},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    Argv, BoxStream, Entry, Output, SEARCH_PATH, Target, Transport, TransportError, Upload, file,
    said::Speaker,
};

/// What errors call this machine.
const ADDRESS: &str = "this machine";
/// How long a program may take to accept a connection.
const DIALLING: Duration = Duration::from_secs(10);

/// The machine on which the manager runs, with the rights of the manager.
#[derive(Clone, Debug)]
pub struct Local {
    search_path: String,
    user: String,
}

impl Local {
    /// Returns this machine.
    pub fn new() -> Self {
        let user = format!("user {}", rustix::process::geteuid().as_raw());
        Self { search_path: SEARCH_PATH.to_owned(), user }
    }

    /// Looks for programs in these folders instead of [`SEARCH_PATH`].
    #[must_use]
    pub fn with_search_path(mut self, folders: impl Into<String>) -> Self {
        self.search_path = folders.into();
        self
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker { address: ADDRESS, user: &self.user }
    }

    /// Runs what waits for a disk, away from what waits for sockets.
    async fn on_disk<T, F>(&self, doing: &'static str, work: F) -> Result<T, TransportError>
    where
        T: Send + 'static,
        F: FnOnce(&str) -> Result<T, TransportError> + Send + 'static,
    {
        let user = self.user.clone();
        let done = spawn_blocking(move || work(&user)).await;
        done.map_err(|stopped| process::here(doing, stopped.into()))?
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for Local {
    async fn run(
        &self,
        argv: &Argv,
        stdin: &[u8],
        deadline: Duration,
    ) -> Result<Output, TransportError> {
        let output = process::run(argv, stdin, deadline, &self.search_path).await?;
        self.speaker().judge(argv, deadline, output)
    }

    async fn put(&self, files: &[Upload]) -> Result<(), TransportError> {
        let files = files.to_vec();
        self.on_disk("write files", move |user| {
            file::by_folder(&files)?
                .into_iter()
                .try_for_each(|(folder, group)| files::put(folder, &group, user))
        })
        .await
    }

    async fn get(&self, path: &Utf8Path) -> Result<Option<Vec<u8>>, TransportError> {
        file::check_file(path)?;
        let path = path.to_owned();
        self.on_disk("read a file", move |user| files::get(&path, user)).await
    }

    async fn list(&self, folder: &Utf8Path) -> Result<Option<Vec<Entry>>, TransportError> {
        file::check(folder)?;
        let folder = folder.to_owned();
        self.on_disk("list a folder", move |user| files::list(&folder, user)).await
    }

    async fn remove(&self, paths: &[Utf8PathBuf]) -> Result<(), TransportError> {
        paths.iter().try_for_each(|path| file::check_file(path))?;
        let paths = paths.to_vec();
        self.on_disk("remove files", move |user| {
            paths.iter().try_for_each(|path| files::remove(path, user))
        })
        .await
    }

    async fn relink(&self, link: &Utf8Path, target: &Utf8Path) -> Result<(), TransportError> {
        file::check_file(link)?;
        file::check_link_target(target)?;
        let (link, target) = (link.to_owned(), target.to_owned());
        self.on_disk("make a link", move |user| files::relink(&link, &target, user)).await
    }

    async fn dial(&self, target: &Target) -> Result<BoxStream, TransportError> {
        let dialling = async {
            let stream: std::io::Result<BoxStream> = match target {
                Target::Tcp { host, port } => TcpStream::connect((host.as_str(), *port))
                    .await
                    .map(|s| Box::new(s) as BoxStream),
                Target::Unix(path) => {
                    UnixStream::connect(path).await.map(|s| Box::new(s) as BoxStream)
                }
            };
            stream.map_err(|error| TransportError::Refused {
                address: ADDRESS.to_owned(),
                target: target.to_string(),
                reason: error.to_string(),
            })
        };
        timeout(DIALLING, dialling).await.unwrap_or_else(|_| {
            Err(TransportError::TimedOut { what: format!("dialling {target}"), deadline: DIALLING })
        })
    }
}
