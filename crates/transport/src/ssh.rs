//! A machine that is reached over SSH.
//!
//! One connection carries everything that is done on a node, for as long as the process lives; it is
//! made when it is first needed and again when it was lost. Before anything is run, the host key is
//! one that was confirmed, and the login shell has proven that it takes words as they are quoted.

mod connect;
mod connection;
mod exec;
mod files;
mod forward;
mod guard;
mod handler;
mod hop;
mod key;
mod link;
mod listing;
mod login;
mod several;
mod shell;
mod tar;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use uuid::Uuid;

use self::{
    connection::{Connection, Lease, Wants},
    exec::{Line, exec},
    forward::Forwarded,
    link::Link,
    several::{Group, Rights},
};
pub use self::{
    hop::{Credential, Hop, Timing},
    key::{KeyError, PrivateKey},
};
use crate::{
    Argv, BoxStream, Done, Entry, Op, Output, Privilege, SEARCH_PATH, SudoRefusal, Target,
    Transport, TransportError, Upload,
    argv::{AFTER_THE_END, whole_seconds},
    file::{self, MAX_FILE},
    quote,
    said::{Speaker, brief},
    several::{SCRIPT, one},
};

/// How often a folder is listed in which files vanish meanwhile.
const LISTINGS: usize = 5;

/// A machine that is reached over SSH. Clones share its one connection.
#[derive(Clone)]
pub struct Ssh {
    link: Arc<Link>,
    address: Arc<str>,
    search_path: Arc<str>,
    uses_sudo: bool,
}

impl Ssh {
    /// Names a node and the jump hosts before it, the nearest first. Nothing is connected yet.
    pub fn new(to: Hop, jumps: Vec<Hop>) -> Self {
        Self::with_timing(to, jumps, Timing::default())
    }

    /// Names a node, with other patience than is usual.
    pub fn with_timing(to: Hop, jumps: Vec<Hop>, timing: Timing) -> Self {
        let address = to.address.to_string().into();
        Self {
            link: Arc::new(Link::new(to, jumps, timing)),
            address,
            search_path: SEARCH_PATH.into(),
            uses_sudo: true,
        }
    }

    /// Looks for programs in these folders instead of [`SEARCH_PATH`].
    #[must_use]
    pub fn with_search_path(mut self, folders: &str) -> Self {
        self.search_path = folders.into();
        self
    }

    /// Refuses what only root may do where somebody else logs in, instead of asking sudo for it.
    #[must_use]
    pub fn without_sudo(mut self) -> Self {
        self.uses_sudo = false;
        self
    }

    /// Connects if there is no connection: the host keys are proven, one is logged in, and the login
    /// shell takes commands.
    ///
    /// For a while after a failure, which grows with each, the same failure is returned at once.
    pub async fn connect(&self) -> Result<(), TransportError> {
        self.link.connection().await.map(drop)
    }

    /// Lets the next attempt be made at once, because something was changed that may help. An attempt that
    /// is under way goes on.
    pub fn forget_failure(&self) {
        self.link.forget_failure();
    }

    /// Ends the connection. It is made again when it is needed.
    pub async fn close(&self) {
        self.link.close().await;
    }

    /// Returns how many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.link.opened()
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker { address: &self.address, user: self.link.to.user.as_str() }
    }

    /// Returns a connection with a channel for a command. A connection that turns out to be gone is
    /// made anew, once: nothing was sent on it yet.
    async fn lease(&self, wants: Wants) -> Result<(Arc<Connection>, Lease), TransportError> {
        let connection = self.link.connection().await?;
        match connection.lease(wants).await {
            Ok(lease) => return Ok((connection, lease)),
            Err(TransportError::Lost { .. }) if connection.is_over() => {}
            Err(error) => return Err(error),
        }
        let connection = self.link.connection().await?;
        let lease = connection.lease(wants).await?;
        Ok((connection, lease))
    }

    /// Runs a command, and tells one that ran from one that did not.
    async fn execute(
        &self,
        argv: &Argv,
        stdin: Vec<Bytes>,
        deadline: Duration,
        limit: usize,
    ) -> Result<Output, TransportError> {
        if self.needs_sudo(argv) && !self.uses_sudo {
            return Err(TransportError::Sudo {
                command: quote::join(argv.bounded(deadline)),
                user: self.link.to.user.to_string(),
                refusal: SudoRefusal::SwitchedOff,
            });
        }
        let wants = if argv.is_for_readers() { Wants::ToRead } else { Wants::ToAct };
        let (connection, lease) = self.lease(wants).await?;
        let what = format!("`{argv}`");
        let patience = Duration::from_secs(whole_seconds(deadline)) + AFTER_THE_END;
        let line = Line { what: &what, text: self.line(argv, deadline), stdin, patience, limit };
        let output = exec(&connection, lease, line).await?;
        self.speaker().judge(argv, deadline, output)
    }

    /// Runs one of our own scripts or commands, which print no more than fits.
    async fn script(&self, argv: &Argv, stdin: Vec<Bytes>) -> Result<Output, TransportError> {
        self.execute(argv, stdin, files::PATIENCE, argv.most_output()).await
    }

    fn needs_sudo(&self, argv: &Argv) -> bool {
        argv.privilege() == Privilege::Root && !self.link.to.user.is_root()
    }

    /// Carries out as many operations as one command can, at least one.
    async fn group(
        &self,
        work: &[Op],
    ) -> Result<Vec<Result<Done, TransportError>>, TransportError> {
        let mark = Uuid::new_v4().simple().to_string();
        let rights = Rights { is_root: self.link.to.user.is_root(), uses_sudo: self.uses_sudo };
        let group = Group::first_of(work, rights, &mark)?;
        let work = work.get(..group.count).unwrap_or_default();
        let (Some(first), true) = (work.first(), group.count > 1) else {
            return match work.first() {
                Some(only) => Ok(vec![one(self, only).await]),
                None => Ok(Vec::new()),
            };
        };
        let (connection, lease) = self.lease(group.wants()).await?;
        let what = format!("{} steps, from {first} on", group.count);
        let patience = group.deadline + AFTER_THE_END;
        let text = self.line(&group.argv, group.deadline);
        let (stdin, limit) = (group.stdin.clone(), group.argv.most_output());
        let line = Line { what: &what, text, stdin, patience, limit };
        let output = exec(&connection, lease, line).await?;
        let mut results = Vec::with_capacity(group.count);
        for (op, said) in work.iter().zip(several::read(&output, &mark)) {
            let done = match several::within_bounds(op, said) {
                Ok(said) => self.outcome(op, said).await,
                Err(error) => Err(error),
            };
            let goes_on = done.as_ref().is_ok_and(Done::goes_on);
            results.push(done);
            if !goes_on {
                return Ok(results);
            }
        }
        if results.len() < group.count {
            results.push(Err(self.broken_off(&group, &what, output)));
        }
        Ok(results)
    }

    /// Reads what one operation of several said.
    async fn outcome(&self, op: &Op, said: Output) -> Result<Done, TransportError> {
        let speaker = self.speaker();
        let took = said.duration;
        let done = |()| Done::Done(took);
        match op {
            Op::Run { argv, deadline, .. } => speaker.judge(argv, *deadline, said).map(Done::Ran),
            Op::Script { argv } => speaker.judge(argv, SCRIPT, said).map(Done::Ran),
            Op::Get(path) => files::get_outcome(speaker, path, said).map(Done::Got),
            Op::List(folders) => {
                let paths: Vec<_> = folders.iter().map(AsRef::as_ref).collect();
                match files::list_outcome(speaker, &paths, &said) {
                    Some(listed) => listed.map(Done::Listed),
                    None => one(self, op).await,
                }
            }
            Op::Put(files) => {
                let folder = files.first().map_or(Utf8Path::new("/"), Upload::folder);
                files::put_outcome(speaker, folder, &said).map(done)
            }
            Op::Remove(paths) => {
                let first = paths.first().map_or(Utf8Path::new("/"), AsRef::as_ref);
                files::done(speaker, "remove", first, &said).map(done)
            }
            Op::Relink { link, .. } => {
                let folder = link.parent().unwrap_or(link);
                files::put_outcome(speaker, folder, &said).map(done)
            }
        }
    }

    /// Says why not all of several operations ended.
    fn broken_off(&self, group: &Group, what: &str, output: Output) -> TransportError {
        match self.speaker().judge(&group.argv, group.deadline, output) {
            Err(TransportError::TimedOut { .. }) => {
                TransportError::TimedOut { what: what.to_owned(), deadline: group.deadline }
            }
            Err(error) => error,
            Ok(output) => {
                let said = format!("{} ({})", brief(&output.stderr_text()), output.status);
                TransportError::File { doing: "carry out", path: what.to_owned(), said }
            }
        }
    }

    /// The whole line for the login shell: every word of it is quoted.
    fn line(&self, argv: &Argv, deadline: Duration) -> String {
        let path = format!("PATH={}", self.search_path);
        let mut words = vec!["env", "LC_ALL=C", &path];
        if self.needs_sudo(argv) {
            words.extend(["sudo", "-n", "--"]);
        }
        let bounded = argv.bounded(deadline);
        words.extend(bounded.iter().map(String::as_str));
        quote::join(words)
    }
}

impl Transport for Ssh {
    async fn run(
        &self,
        argv: &Argv,
        stdin: &[u8],
        deadline: Duration,
    ) -> Result<Output, TransportError> {
        let stdin = vec![Bytes::copy_from_slice(stdin)];
        self.execute(argv, stdin, deadline, argv.most_output()).await
    }

    async fn put(&self, files: &[Upload]) -> Result<(), TransportError> {
        for (folder, group) in file::by_folder(files)? {
            let argv = files::put_command(folder, &group)?;
            let input = files::put_input(&group);
            let deadline = files::put_patience(&input);
            let output = self.execute(&argv, input, deadline, argv.most_output()).await?;
            files::put_outcome(self.speaker(), folder, &output)?;
        }
        Ok(())
    }

    async fn get(&self, path: &Utf8Path) -> Result<Option<Vec<u8>>, TransportError> {
        file::check_file(path)?;
        let argv = files::get_command(path)?;
        let deadline = files::PATIENCE * 10;
        let output = self.execute(&argv, Vec::new(), deadline, MAX_FILE).await?;
        files::get_outcome(self.speaker(), path, output)
    }

    async fn list(&self, folder: &Utf8Path) -> Result<Option<Vec<Entry>>, TransportError> {
        file::check(folder)?;
        let argv = files::list_command(&[folder])?;
        for _ in 0..LISTINGS {
            let output = self.script(&argv, Vec::new()).await?;
            if let Some(outcome) = files::list_outcome(self.speaker(), &[folder], &output) {
                return outcome.map(|mut listed| listed.pop().flatten());
            }
        }
        let said = "its files vanish while it is being listed".to_owned();
        Err(TransportError::File { doing: "list", path: folder.to_string(), said })
    }

    async fn remove(&self, paths: &[Utf8PathBuf]) -> Result<(), TransportError> {
        paths.iter().try_for_each(|path| file::check_file(path))?;
        let Some(first) = paths.first() else { return Ok(()) };
        let argv = files::remove_command()?;
        let output = self.script(&argv, vec![files::remove_input(paths)]).await?;
        files::done(self.speaker(), "remove", first, &output)
    }

    async fn relink(&self, link: &Utf8Path, target: &Utf8Path) -> Result<(), TransportError> {
        file::check_file(link)?;
        file::check_link_target(target)?;
        let output = self.script(&files::relink_command(link, target)?, Vec::new()).await?;
        files::put_outcome(self.speaker(), link.parent().unwrap_or(link), &output)
    }

    async fn several(&self, work: &[Op]) -> Vec<Result<Done, TransportError>> {
        let mut results = Vec::with_capacity(work.len());
        while let Some(rest) = work.get(results.len()..).filter(|rest| !rest.is_empty()) {
            let group = match self.group(rest).await {
                Ok(group) => group,
                Err(error) => vec![Err(error)],
            };
            let goes_on = group.iter().all(|done| done.as_ref().is_ok_and(Done::goes_on));
            results.extend(group);
            if !goes_on {
                break;
            }
        }
        results
    }

    async fn dial(&self, target: &Target) -> Result<BoxStream, TransportError> {
        let connection = self.link.connection().await?;
        let channel = match connection.forward(target).await {
            Err(TransportError::Lost { .. }) if connection.is_over() => None,
            done => Some(done?),
        };
        if let Some(channel) = channel {
            return Ok(Box::new(Forwarded::new(channel, connection)));
        }
        let connection = self.link.connection().await?;
        let channel = connection.forward(target).await?;
        Ok(Box::new(Forwarded::new(channel, connection)))
    }
}

impl fmt::Debug for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ssh")
            .field("address", &self.address)
            .field("user", &self.link.to.user)
            .finish_non_exhaustive()
    }
}
