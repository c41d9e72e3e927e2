//! What a command works with: the output, the manager it speaks to, and where things are.

use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_wire::client::{Client, ClientConfig, ClientError, Endpoint};

use crate::{
    args::{Global, ServeOptions},
    config::{self, Machine, Settings},
    exit::{Exit, Failure},
    login::Logins,
    out::Out,
    paths::{self, Paths, Surroundings},
};

/// What a command works with.
pub(crate) struct Session {
    /// Where it prints.
    pub(crate) out: Out,
    global: Global,
}

impl Session {
    /// Returns a session. Nothing is opened yet.
    pub(crate) fn new(global: Global, out: Out) -> Self {
        Self { out, global }
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

    /// Returns the settings of the manager on this machine, as far as they are written down.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
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

    /// Returns the manager's local socket.
    pub(crate) fn socket(&self) -> Result<Utf8PathBuf, Failure> {
        match &self.global.socket {
            Some(socket) => Ok(socket.clone()),
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
