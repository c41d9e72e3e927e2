//! What a command works with: the output, the manager it speaks to, and where things are.

use std::{net::TcpListener, path::PathBuf, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_wire::client::{Client, ClientConfig, ClientError, Endpoint};

use crate::{
    args::{Global, ServeOptions},
    config::{self, Machine, Settings},
    exit::{Exit, Failure},
    kept::Kept,
    login::Logins,
    out::Out,
    paths::{self, Paths, SYSTEM_DATA, Surroundings},
};

/// What a command works with.
pub(crate) struct Session {
    /// Where it prints.
    pub(crate) out: Out,
    /// Sockets that systemd opened for this process.
    pub(crate) sockets: Vec<Arc<TcpListener>>,
    global: Global,
}

impl Session {
    /// Returns a session. Nothing is opened yet.
    pub(crate) fn new(global: Global, out: Out) -> Self {
        Self { out, sockets: Vec::new(), global }
    }

    /// Adds sockets that systemd opened for this process.
    pub(crate) fn with_sockets(self, sockets: Vec<Arc<TcpListener>>) -> Self {
        Self { sockets, ..self }
    }

    /// Returns the time.
    #[expect(clippy::unused_self, reason = "commands take their time from the session")]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Returns where things are on this machine.
    pub(crate) fn paths(&self) -> Result<Paths, Failure> {
        Paths::find(self.global.data.as_deref(), surroundings())
    }

    /// Returns what the manager on this machine has, or had when it was last up. Where none has
    /// ever been up, what `config.yaml` says and what is usual.
    pub(crate) fn manager(&self) -> Result<Kept, Failure> {
        let paths = self.manager_paths()?;
        if let Some(kept) = Kept::read(&paths)? {
            return Ok(kept);
        }
        let settings = self.written_settings()?;
        Ok(Kept::new(&settings, &self.own_socket()?, self.now()))
    }

    /// Returns what `config.yaml` says, completed by what is usual.
    pub(crate) fn written_settings(&self) -> Result<Settings, Failure> {
        config::settle(&ServeOptions::default(), &self.paths()?, Machine::look())
    }

    /// Returns the saved logins.
    #[expect(clippy::unused_self, reason = "commands take their logins from the session")]
    pub(crate) fn logins(&self) -> Result<Logins, Failure> {
        Ok(Logins::in_folder(&paths::config_folder(surroundings())?))
    }

    /// Tells whether the manager on this machine is spoken to.
    pub(crate) fn is_local(&self) -> bool {
        self.global.server.is_none()
    }

    /// Returns the address given by `--server`.
    pub(crate) fn server(&self) -> Option<&str> {
        self.global.server.as_deref()
    }

    /// Returns the options that every command has, to be given to another process.
    pub(crate) fn global(&self) -> &Global {
        &self.global
    }

    /// Returns the manager's local socket: the one that was given, or the one that the manager
    /// wrote down.
    pub(crate) fn socket(&self) -> Result<Utf8PathBuf, Failure> {
        if self.global.socket.is_some() {
            return self.own_socket();
        }
        let paths = self.manager_paths()?;
        match Kept::read(&paths) {
            Ok(Some(kept)) => Ok(kept.socket),
            Ok(None) => Ok(paths.socket()),
            // Who may not look into the folder may not use the socket either, and is told so there.
            Err(failure) if failure.exit == Exit::NotAllowed => Ok(paths.socket()),
            Err(failure) => Err(failure),
        }
    }

    /// Returns where the manager has its things: below the data folder, or, for a user who has none
    /// of their own, where the service of this machine has it.
    fn manager_paths(&self) -> Result<Paths, Failure> {
        let own = self.paths()?;
        let service = Paths { data: SYSTEM_DATA.into() };
        let is_elsewhere = self.global.data.is_none() && !own.data.exists();
        Ok(if is_elsewhere && service.data.exists() { service } else { own })
    }

    /// Returns the local socket that a manager started by this command has.
    pub(crate) fn own_socket(&self) -> Result<Utf8PathBuf, Failure> {
        match &self.global.socket {
            Some(socket) => camino::absolute_utf8(socket).map_err(|error| {
                Failure::failed(format!("{socket} cannot be found")).because(&error)
            }),
            None => Ok(self.paths()?.socket()),
        }
    }

    /// Returns a client of the manager, with what the caller can show.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let Some(server) = self.global.server.as_deref() else {
            return self.local_client().await;
        };
        let anonymous = self.anonymous(server)?;
        if let Some(token) = &self.global.token {
            return Ok(anonymous.with_token(token)?);
        }
        let server = &anonymous.endpoint();
        match self.logins()?.token(server, &anonymous, self.now()).await? {
            Some(token) => Ok(anonymous.with_token(&token)?),
            None => Err(Failure::new(Exit::NotAllowed, format!("not logged in with {server}"))
                .help(format!("portway login {server}   (or give a token in PORTWAY_TOKEN)"))),
        }
    }

    /// Returns a client that shows nothing, for logging in and for what everyone may see.
    pub(crate) async fn public_client(&self) -> Result<Client, Failure> {
        match self.global.server.as_deref() {
            Some(server) => self.anonymous(server),
            None => self.local_client().await,
        }
    }

    /// Returns a client of a manager elsewhere that shows nothing.
    pub(crate) fn anonymous(&self, server: &str) -> Result<Client, Failure> {
        let url = server.trim_end_matches('/');
        let url = url.parse().map_err(|_| ClientError::Url { url: server.to_owned() })?;
        let ca_pem = self.global.ca_file.as_deref().map(read_authorities).transpose()?;
        Ok(Client::new(ClientConfig { ca_pem, ..ClientConfig::new(Endpoint::Http(url)) })?)
    }

    async fn local_client(&self) -> Result<Client, Failure> {
        let socket = self.socket()?;
        let endpoint = Endpoint::Unix(PathBuf::from(&socket));
        let token = self.global.token.clone();
        let client = Client::new(ClientConfig { token, ..ClientConfig::new(endpoint) })?;
        probe(&socket).await?;
        Ok(client)
    }
}

/// Tells early, and in words that help, that nobody answers on the local socket.
async fn probe(socket: &Utf8Path) -> Result<(), Failure> {
    let Err(error) = tokio::net::UnixStream::connect(socket).await else { return Ok(()) };
    let failure = |text: String| Failure::new(Exit::Unreachable, text).because(&error);
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        let failure =
            Failure { exit: Exit::NotAllowed, ..failure(format!("you may not use {socket}")) };
        return Err(failure.help(
            "use sudo, or join the group of the service; from elsewhere: portway --server URL …",
        ));
    }
    Err(failure(format!("no manager answers on {socket}")).help(
        "start it with `portway serve` (in the repository: `make run`); one that keeps its data \
         elsewhere is named by --data, one on another machine by --server URL",
    ))
}

fn read_authorities(path: &Utf8Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::failed(format!("cannot read {path}")).because(&error))
}

/// Returns what of this process decides where things are.
fn surroundings() -> Surroundings<'static> {
    Surroundings {
        is_root: rustix::process::geteuid().is_root(),
        variable: &|name| std::env::var(name).ok(),
    }
}
