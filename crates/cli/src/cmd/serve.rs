//! `serve`: the manager, and the edge where none runs.

mod addresses;
mod announce;
mod console;
mod doors;
pub(super) mod install;
mod keeper;
mod ports;

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    net::TcpListener,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_api::{ApiSettings, ApiState};
use portway_control::{Clock, Control, ControlConfig};
use portway_model::node::TrustedProxy;
use portway_store::DatabaseUrl;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

pub(super) use self::console::publish as publish_console;
use self::{console::ConsoleFile, doors::Doors, keeper::Keeper};
use crate::{
    args::Serve,
    config::{self, Machine, Settings},
    exit::{Exit, Failure, Outcome},
    kept::{self, Kept},
    notify,
    out::Out,
    paths::Paths,
    session::Session,
    signals, telemetry,
};

/// `portway serve`
pub(super) async fn run(session: &Session, args: Serve) -> Outcome {
    let paths = session.paths()?;
    if args.install {
        return install::run(session, &args.options, args.dry_run);
    }
    let settings = config::settle(&args.options, &paths, Machine::look())?;
    let socket = session.own_socket()?;
    let readers = Readers::of(&settings)?;
    check_key(&settings, &paths).await?;
    make_folder(&paths.data, readers)?;
    let lock = lock(&paths)?;
    let guard = telemetry::start(&session.out, settings.log_format, "portway")?;
    let stop = CancellationToken::new();
    signals::listen(stop.clone())?;
    let started_at = session.now();
    let (out, sockets) = (&session.out, session.sockets.as_slice());
    let manager = Manager { out, sockets, settings, paths, readers, socket, started_at };
    let ended = manager.run(&stop).await;
    let flushed = tokio::task::spawn_blocking(move || guard.shutdown()).await;
    flushed.map_err(|error| Failure::failed("the last spans are lost").because(&error))?;
    drop(lock);
    ended.map(|()| Exit::Ok)
}

/// A manager that cannot open its database must not be there at all: it is found out before
/// anything is made, and before an edge is started.
async fn check_key(settings: &Settings, paths: &Paths) -> Result<(), Failure> {
    portway_control::check_key(&paths.key(), &database(settings)?)
        .await
        .map_err(|error| Failure::failed("the manager cannot start").because(&error))
}

fn database(settings: &Settings) -> Result<DatabaseUrl, Failure> {
    settings
        .database
        .parse()
        .map_err(|error| Failure::usage("the database cannot be used").because(&error))
}

/// Who may look into the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// The manager's user alone.
    Owner,
    /// Also the members of this group; they reach the local socket through it.
    Group(u32),
}

impl Readers {
    fn of(settings: &Settings) -> Result<Self, Failure> {
        match &settings.admin_group {
            None => Ok(Self::Owner),
            Some(group) => addresses::group(group).map(Self::Group),
        }
    }

    const fn group(self) -> Option<u32> {
        match self {
            Self::Owner => None,
            Self::Group(group) => Some(group),
        }
    }
}

/// Makes a folder that only its readers may enter. One that is there keeps its mode, unless
/// everyone may enter it.
pub(super) fn make_folder(folder: &Utf8Path, readers: Readers) -> Result<(), Failure> {
    let wrong = |error: io::Error| {
        Failure::failed(format!("cannot use the folder {folder}"))
            .because(&error)
            .help("choose another by --data")
    };
    let mode = if readers == Readers::Owner { 0o700 } else { 0o750 };
    DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(wrong)?;
    let now = std::fs::metadata(folder).map_err(wrong)?.permissions().mode();
    if now & 0o007 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(wrong)?;
    }
    if let Readers::Group(group) = readers {
        std::os::unix::fs::chown(folder, None, Some(group)).map_err(wrong)?;
    }
    Ok(())
}

/// Two managers on one folder would undo each other's work. Held as long as the file is open.
pub(super) fn lock(paths: &Paths) -> Result<File, Failure> {
    let path = paths.data.join("manager.lock");
    let wrong = |error: &io::Error| Failure::failed(format!("cannot use {path}")).because(error);
    let open = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = open.map_err(|error| wrong(&error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::new(Exit::Conflict, format!("a manager already runs on {}", paths.data))
                .help("speak to it: portway status; or choose another folder by --data"))
        }
        Err(TryLockError::Error(error)) => Err(wrong(&error)),
    }
}

/// A manager that is about to run.
struct Manager<'a> {
    out: &'a Out,
    /// Opened by systemd.
    sockets: &'a [Arc<TcpListener>],
    settings: Settings,
    paths: Paths,
    readers: Readers,
    socket: Utf8PathBuf,
    started_at: Timestamp,
}

impl Manager<'_> {
    async fn run(mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let doors = Doors::open(self.settings.api, &self.socket, self.readers, self.sockets)?;
        self.settings.api = doors.api();
        let helpers = TaskTracker::new();
        if self.settings.starts_edge {
            let keeper = Keeper::new(&self.settings, &self.paths)?;
            let stop = stop.clone();
            helpers.spawn(async move { keeper.keep(&stop).await });
        }
        stop.run_until_cancelled(ports::learn(&mut self.settings)).await;
        let ended = self.serve(&doors, stop).await;
        notify::stopping();
        stop.cancel();
        helpers.close();
        helpers.wait().await;
        doors.close()?;
        ended
    }

    /// Begins what is done once, when the manager is up.
    async fn begin(&self, control: &Control) -> Result<(), Failure> {
        self.keep(None)?;
        let forgotten = control.forget_declared_edge_key().await;
        if forgotten.map_err(|error| {
            Failure::failed("the console's site cannot be changed").because(&error)
        })? {
            info!("the key of the console stood in its site; it has another one");
            console::renew_key(&self.paths)?;
        }
        announce::announce(self.out, &self.settings, &self.paths, control, self.https_port()).await
    }

    /// Writes down the settings for the commands that are typed later.
    fn keep(&self, stopped_at: Option<Timestamp>) -> Result<(), Failure> {
        let kept = Kept::new(&self.settings, &self.socket, self.started_at);
        kept::keep_database(&self.paths, &self.settings.database)?;
        Kept { stopped_at, ..kept }.write(&self.paths, self.readers.group())
    }

    /// Serves until told to stop. When the console gets another name, everything but the doors
    /// begins anew; requests wait at the door meanwhile.
    async fn serve(&self, doors: &Doors, stop: &CancellationToken) -> Result<(), Failure> {
        let mut is_first = true;
        while !stop.is_cancelled() {
            let console = ConsoleFile::read(&self.paths)?;
            let generation = stop.child_token();
            let clock: Clock = Arc::new(Timestamp::now);
            let config = self.control_config(console.as_ref())?;
            let starting = Control::start(config, clock, generation.clone());
            let (control, tasks) = starting
                .await
                .map_err(|error| Failure::failed("the manager cannot start").because(&error))?;
            if std::mem::take(&mut is_first) {
                self.begin(&control).await?;
                notify::ready();
            }
            let state = ApiState::new(control, self.api_settings(console.as_ref()))
                .map_err(|error| Failure::failed("the API cannot start").because(&error))?;
            let serving = portway_api::serve(doors.listeners()?, state, generation.clone());
            let mut serving = std::pin::pin!(serving);
            // Serving is pinned outside, watching forgets nothing when it is dropped.
            let served = tokio::select! {
                served = &mut serving => served,
                () = console::changed(&self.paths, console.as_ref()) => {
                    info!("the console has another name; the API begins anew");
                    generation.cancel();
                    serving.await
                }
            };
            generation.cancel();
            tasks.wait().await;
            served.map_err(|error| Failure::failed("the API ended").because(&error))?;
        }
        self.keep(Some(Timestamp::now()))?;
        info!("the manager has stopped; the edge serves on");
        Ok(())
    }

    fn control_config(&self, console: Option<&ConsoleFile>) -> Result<ControlConfig, Failure> {
        let settings = &self.settings;
        Ok(ControlConfig {
            data_dir: self.paths.data.clone(),
            log_dir: settings.edge_logs.clone(),
            key_file: self.paths.key(),
            database: database(settings)?,
            edge_socket: settings.edge_socket.clone(),
            console_url: match console {
                Some(console) => announce::public_url(&console.host, self.https_port()),
                None => announce::local_url(settings.api),
            },
            admin_group: self.readers.group(),
            trusted_proxies: settings
                .trusted_proxies
                .iter()
                .copied()
                .flat_map(TrustedProxy::networks)
                .collect(),
            own_addresses: addresses::own(),
            observe_every: settings.observe_every,
            node_exec: settings.node_exec,
            rollouts: settings.rollouts.clone(),
            health: settings.health.clone(),
            console: console.map(|console| console.to_control(settings.api)),
        })
    }

    fn api_settings(&self, console: Option<&ConsoleFile>) -> ApiSettings {
        ApiSettings { console: console.map(ConsoleFile::to_api), https_port: self.https_port() }
    }

    /// Returns the port under which clients reach HTTPS.
    fn https_port(&self) -> u16 {
        let listeners = &self.settings.listeners;
        let bound = listeners.https.first().map(std::net::SocketAddr::port);
        listeners.public_https_port.or(bound).unwrap_or(443)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(folder.path()).unwrap();
        let mode = |path: &Utf8Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let fresh = base.join("a/b");
        make_folder(&fresh, Readers::Owner).unwrap();
        assert_eq!(mode(&fresh), 0o700);
        let open = base.join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        make_folder(&open, Readers::Owner).unwrap();
        assert_eq!(mode(&open), 0o700);
    }

    #[test]
    fn only_one_manager_has_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() };
        let first = lock(&paths).unwrap();
        assert_eq!(lock(&paths).unwrap_err().exit, Exit::Conflict);
        drop(first);
        assert!(lock(&paths).is_ok());
    }
}
