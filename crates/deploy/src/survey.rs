//! What a node is like, seen from the manager: who is let in, which system and engine are there, what
//! is in the way. Nothing on the node is changed.
//!
//! What cannot be seen is never made up: it says why it was not seen.

mod copy;
mod door;
mod engine;
mod judge;
mod package;
mod service;
mod sockets;
mod way_in;

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_engine::{Command, EngineFacts, Layout, OsRelease, Ports, Rights, Version};
use portway_model::{EngineKind, Node, Stage};
use portway_transport::{Content, SEARCH_PATH, Transport, TransportError};

pub use self::{
    copy::{CopyPlace, copy_of},
    door::Door,
    engine::EngineSeen,
    judge::preflight,
    service::Stopped,
    sockets::Listener,
    way_in::way_in,
};
use crate::{
    Access, CameAs, NodeState, StepError, Unwritten, access,
    home::Home,
    step::{Node as Steps, printed},
    tools, turn,
};

/// How long a look at one thing may take.
const LOOK: Duration = Duration::from_secs(10);
/// How long the engine's own test may take.
const TEST: Duration = Duration::from_secs(30);
/// Where systems keep the authorities that they trust, in one file.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Something that was looked at: what was seen, or why nothing was.
pub type Seen<T> = Result<T, String>;

/// What a node is like.
#[derive(Clone, Debug)]
pub struct Survey {
    /// When it was looked at.
    pub at: Timestamp,
    /// The numeric user who logs in.
    pub user: Seen<u32>,
    /// The system, as it calls itself.
    pub system: Seen<OsRelease>,
    /// The engine's program.
    pub program: Seen<Utf8PathBuf>,
    /// The engine.
    pub engine: Seen<EngineSeen>,
    /// The version of the package that the program came as; nothing where it came otherwise.
    pub package: Seen<Option<String>>,
    /// What the engine's own test says of what is there: nothing wrong, or its words.
    pub test: Seen<Option<String>>,
    /// The seconds by which its clock is ahead of the manager's.
    pub clock: Seen<i64>,
    /// The bytes left where Portway's folder is or will be.
    pub free: Seen<u64>,
    /// Whether that folder is there, or can be made.
    pub home: Seen<Folder>,
    /// How that folder is closed to all but the engine.
    pub access: Seen<Access>,
    /// Whether the engine's own configuration is there.
    pub top_level: Seen<bool>,
    /// What lies where the engine's own configuration reaches Portway's.
    pub entrance: Seen<Entrance>,
    /// Where the copy of the engine's own configuration can be put that its test reads.
    pub copy: Seen<CopyPlace>,
    /// Whether the folder of sites' logs is there, or can be made.
    pub logs: Seen<Folder>,
    /// What lies beside that and is not Portway's: the engine reads it too.
    pub beside: Seen<Vec<Utf8PathBuf>>,
    /// What listens on the ports that the node is to have.
    pub listeners: Seen<Vec<Listener>>,
    /// Portway's note on the node, where there is one.
    pub state: Seen<Option<NodeState>>,
    /// The authorities that the machine trusts.
    pub authorities: Seen<Utf8PathBuf>,
    /// What says that the engine does not run; nothing where it does.
    pub stopped: Seen<Option<Stopped>>,
    /// What lies where an edge's control socket should be; nothing of other engines.
    pub door: Option<Seen<Door>>,
}

/// A folder in which whoever logs in is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It is there and can be written to.
    Ours,
    /// It is there and cannot be written to.
    Closed,
    /// It is not there, and whoever logs in can make it.
    CanBeMade,
    /// It is not there, and whoever logs in cannot make it.
    CannotBeMade,
}

/// What lies where the engine's own configuration reaches Portway's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Nothing yet, and its folder can be written to.
    Free,
    /// Nothing yet, and its folder cannot be written to.
    Closed,
    /// Its folder is missing.
    NoFolder,
    /// The link that leads to Portway's.
    Ours,
    /// Something else.
    Taken(String),
}

/// Looks at a node.
///
/// # Errors
/// When the node cannot be spoken with at all. That a single thing cannot be seen is no error.
pub async fn survey<T: Transport>(
    transport: &T,
    node: &Node,
    now: impl Fn() -> Timestamp + Send + Sync,
) -> Result<Survey, TransportError> {
    let nobody = Unwritten;
    let steps = Steps { transport, journal: &nobody, stage: Stage::Queued };
    let eye = Eye { steps };
    // The first question tells whether the node can be spoken with; later ones may fail alone.
    let user = eye.user().await?;
    let authorities = eye.authorities().await;
    let program = eye.program(node).await;
    let layout = layout(node, authorities.as_ref().ok(), program.as_ref().ok());
    let is_edge = node.engine == EngineKind::Edge;
    let door = if is_edge { Some(door::see(&eye, &node.control_socket()).await) } else { None };
    let system = eye.system().await;
    Ok(Survey {
        at: now(),
        user,
        package: package::see(&eye, system.as_ref().ok(), program.as_ref().ok()).await,
        system,
        engine: engine::see(&eye, node.engine, &layout).await,
        test: eye.test(node.engine, &layout).await,
        stopped: service::see(&eye, node, &layout).await,
        clock: eye.clock(&now).await,
        free: eye.free(&layout.home).await,
        home: eye.folder(&layout.home).await,
        access: if is_edge {
            // It keeps its own folders.
            Ok(Access::Settled)
        } else {
            access::plan(&eye.steps, node.engine.as_str(), &layout).await.map_err(words)
        },
        // An edge reads nothing but what it is given over its control socket.
        top_level: if is_edge { Ok(true) } else { eye.is_there(&layout.top_level).await },
        entrance: eye.entrance(&layout, node.engine).await,
        copy: copy::see(&eye, node.engine, &layout).await,
        // An edge keeps its own.
        logs: if is_edge { Ok(Folder::Ours) } else { eye.folder(&layout.logs).await },
        beside: eye.beside(&layout).await,
        listeners: sockets::see(&eye, &node.ports).await,
        state: eye.state(&layout).await,
        authorities,
        program,
        door,
    })
}

impl Survey {
    /// Returns what the engine's program came as.
    pub fn came_as(&self) -> CameAs {
        match &self.package {
            Ok(Some(version)) => CameAs::Package(version.clone()),
            Ok(None) => CameAs::Program,
            Err(_) => CameAs::Unknown,
        }
    }

    /// Returns what is rendered for, where the engine was seen.
    pub fn facts(&self, node: &Node) -> Option<EngineFacts> {
        let engine = self.engine.as_ref().ok()?;
        let layout = layout(node, self.authorities.as_ref().ok(), self.program.as_ref().ok());
        let copy = match &self.copy {
            Ok(CopyPlace::Through(place)) => Some(place.clone()),
            Ok(CopyPlace::Beside | CopyPlace::Closed) | Err(_) => None,
        };
        Some(EngineFacts {
            version: engine.version,
            modules: engine.modules.clone(),
            layout: Layout { copy, ..layout },
            ports: Ports {
                addresses: Vec::new(),
                http: node.ports.http,
                https: node.ports.https,
                probe: node.ports.probe,
            },
        })
    }
}

/// Returns where the files of a node lie: where its engine's packages put them, unless it is said.
pub fn layout(
    node: &Node,
    authorities: Option<&Utf8PathBuf>,
    program: Option<&Utf8PathBuf>,
) -> Layout {
    let home = node.paths.home.clone();
    // An edge writes where its unit says.
    let logs = match node.engine {
        EngineKind::Edge => "/var/log/portway-edge",
        EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik => "/var/log/portway",
    };
    let (config, entrance) = match node.engine {
        EngineKind::Nginx => {
            ("/etc/nginx/nginx.conf".into(), "/etc/nginx/conf.d/portway.conf".into())
        }
        EngineKind::Caddy => ("/etc/caddy/Caddyfile".into(), home.join("current.caddy")),
        EngineKind::Traefik => {
            ("/etc/traefik/traefik.yml".into(), "/etc/traefik/dynamic/portway.yml".into())
        }
        EngineKind::Edge => (home.join("edge"), home.join("edge/control.sock")),
    };
    Layout {
        top_level: node.paths.config.clone().unwrap_or(config),
        reached_by: node.paths.include.clone().unwrap_or(entrance),
        copy: None,
        logs: node.paths.logs.clone().unwrap_or_else(|| Utf8PathBuf::from(logs)),
        program: program.cloned().unwrap_or_else(|| Utf8PathBuf::from(program_of(node.engine))),
        authorities: authorities.cloned().unwrap_or_else(|| Utf8PathBuf::from(AUTHORITIES[0])),
        home,
    }
}

/// Asks a program that lies anywhere on a node for its version.
pub(crate) async fn engine_at<T: Transport>(
    transport: &T,
    engine: EngineKind,
    layout: &Layout,
    program: &Utf8Path,
) -> Seen<Version> {
    let steps = Steps { transport, journal: &Unwritten, stage: Stage::Queued };
    let layout = Layout { program: program.to_owned(), ..layout.clone() };
    Ok(engine::see(&Eye { steps }, engine, &layout).await?.version)
}

/// Returns the name of an engine's program.
pub(crate) const fn program_of(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Edge => "portway",
        EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik => engine.as_str(),
    }
}

/// Looks at one thing at a time.
struct Eye<'a, T> {
    steps: Steps<'a, T, Unwritten>,
}

impl<T: Transport> Eye<'_, T> {
    async fn user(&self) -> Result<Seen<u32>, TransportError> {
        match self.said(&["id", "-u"], Rights::Login).await {
            Ok(said) => Ok(said.trim().parse().map_err(|_| format!("`id -u` says `{said}`"))),
            Err(StepError::Transport(error)) => Err(error),
            Err(other) => Ok(Err(other.to_string())),
        }
    }

    async fn authorities(&self) -> Seen<Utf8PathBuf> {
        let paths = AUTHORITIES.map(Utf8PathBuf::from);
        let found = self.first("-e", &paths).await?;
        found.ok_or_else(|| format!("there is none of {}", AUTHORITIES.join(", ")))
    }

    /// Returns where a program is. Configurations and rules of sudo name programs by their paths.
    async fn program(&self, node: &Node) -> Seen<Utf8PathBuf> {
        if let Some(path) = &node.paths.program {
            let is_one = self.holds(&["test", "-x", path.as_str()]).await?;
            return if is_one { Ok(path.clone()) } else { Err(format!("{path} is no program")) };
        }
        let name = program_of(node.engine);
        let found = tools::program(self.steps.transport, name).await.map_err(unsaid)?;
        found.ok_or_else(|| format!("there is no program `{name}` in {SEARCH_PATH}"))
    }

    async fn system(&self) -> Seen<OsRelease> {
        let path = Utf8Path::new("/etc/os-release");
        let bytes = self.steps.get(path).await.map_err(words)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        OsRelease::read(&text).ok_or_else(|| format!("{path} does not name a system"))
    }

    async fn test(&self, kind: EngineKind, layout: &Layout) -> Seen<Option<String>> {
        let Some(test) = own_test(kind, layout) else { return Ok(None) };
        let output = self.steps.run(&test).await.map_err(words)?;
        let words = printed(&output);
        // Caddy refuses to import what is not there, and Portway's part comes with the first release.
        let lacks_ours =
            words.contains(&format!("File to import not found: {}", layout.reached_by));
        Ok((!output.is_success() && !lacks_ours).then_some(words))
    }

    async fn clock(&self, now: &(impl Fn() -> Timestamp + Send + Sync)) -> Seen<i64> {
        let (before, began) = (now(), Instant::now());
        let said = self.said(&["date", "-u", "+%s"], Rights::Login).await.map_err(words)?;
        let there: i64 = said.trim().parse().map_err(|_| format!("`date` says `{said}`"))?;
        // In the middle of question and answer.
        let middle = i64::try_from(began.elapsed().as_secs() / 2).unwrap_or(0);
        Ok(there - before.as_second() - middle)
    }

    async fn free(&self, home: &Utf8Path) -> Seen<u64> {
        let folder = self.nearest(home).await?;
        let said =
            self.said(&["df", "-P", "-k", folder.as_str()], Rights::Login).await.map_err(words)?;
        available(&said).ok_or_else(|| format!("`df` says `{}`", said.trim()))
    }

    async fn folder(&self, wanted: &Utf8Path) -> Seen<Folder> {
        let nearest = self.nearest(wanted).await?;
        let writable = self.is_writable(&nearest).await?;
        Ok(match (nearest == wanted, writable) {
            (true, true) => Folder::Ours,
            (true, false) => Folder::Closed,
            (false, true) => Folder::CanBeMade,
            (false, false) => Folder::CannotBeMade,
        })
    }

    async fn entrance(&self, layout: &Layout, kind: EngineKind) -> Seen<Entrance> {
        let path = &layout.reached_by;
        let folder = path.parent().unwrap_or(Utf8Path::new("/"));
        let name = path.file_name().unwrap_or_default();
        if kind == EngineKind::Edge {
            return Ok(Entrance::Free);
        }
        if kind == EngineKind::Caddy && folder == layout.home {
            let is_there = self.is_there(path).await?;
            return Ok(if is_there { Entrance::Ours } else { Entrance::Free });
        }
        let listed = self.steps.transport.list(folder).await.map_err(|error| error.to_string())?;
        let Some(entries) = listed else { return Ok(Entrance::NoFolder) };
        Ok(match entries.into_iter().find(|entry| entry.name == name).map(|entry| entry.content) {
            None if self.is_writable(folder).await? => Entrance::Free,
            None => Entrance::Closed,
            Some(Content::Link { target }) if target.starts_with(&layout.home) => Entrance::Ours,
            Some(Content::Link { target }) => Entrance::Taken(format!("a link to {target}")),
            Some(Content::File { .. }) => Entrance::Taken("a file".to_owned()),
            Some(Content::Folder) => Entrance::Taken("a folder".to_owned()),
            Some(Content::Other) => Entrance::Taken("no file".to_owned()),
        })
    }

    /// Where the engine's own file names Portway's, there is no folder that is read beside it.
    async fn beside(&self, layout: &Layout) -> Seen<Vec<Utf8PathBuf>> {
        let folder = layout.reached_by.parent().unwrap_or(Utf8Path::new("/"));
        if folder == layout.home {
            return Ok(Vec::new());
        }
        let entries = self.steps.list(folder).await.map_err(words)?;
        let files = entries.into_iter().filter(|entry| entry.content != Content::Folder);
        let paths = files.map(|entry| folder.join(entry.name));
        Ok(paths.filter(|path| *path != layout.reached_by).collect())
    }

    async fn state(&self, layout: &Layout) -> Seen<Option<NodeState>> {
        turn::state(&self.steps, &Home::of(layout)).await.map_err(words)
    }

    /// Returns the nearest folder on the way up that is there.
    async fn nearest(&self, path: &Utf8Path) -> Seen<Utf8PathBuf> {
        let folders: Vec<_> = path.ancestors().map(Utf8Path::to_owned).collect();
        Ok(self.first("-e", &folders).await?.unwrap_or_else(|| Utf8PathBuf::from("/")))
    }

    async fn first(&self, what: &str, paths: &[Utf8PathBuf]) -> Seen<Option<Utf8PathBuf>> {
        let found = tools::first(self.steps.transport, what, paths).await.map_err(unsaid)?;
        Ok(found.cloned())
    }

    async fn is_there(&self, path: &Utf8Path) -> Seen<bool> {
        self.holds(&["test", "-e", path.as_str()]).await
    }

    async fn is_writable(&self, path: &Utf8Path) -> Seen<bool> {
        self.holds(&["test", "-w", path.as_str()]).await
    }

    async fn holds(&self, argv: &[&str]) -> Seen<bool> {
        let command = command(argv, Rights::Login, LOOK);
        self.steps.run(&command).await.map(|output| output.is_success()).map_err(words)
    }

    /// Returns what a command that must succeed prints.
    async fn said(&self, argv: &[&str], rights: Rights) -> Result<String, StepError> {
        self.steps.must(&command(argv, rights, LOOK)).await.map(|output| printed(&output))
    }
}

/// Returns the command by which an engine tests what it has already; nothing where it has none.
pub(crate) fn own_test(engine: EngineKind, layout: &Layout) -> Option<Command> {
    let (program, config) = (layout.program.as_str(), layout.top_level.as_str());
    match engine {
        EngineKind::Nginx => {
            Some(command(&[program, "-t", "-q", "-c", config], Rights::Superuser, TEST))
        }
        EngineKind::Caddy => {
            let argv = [program, "validate", "--adapter", "caddyfile", "--config", config];
            Some(command(&argv, Rights::Login, TEST))
        }
        EngineKind::Traefik | EngineKind::Edge => None,
    }
}

fn command(argv: &[&str], rights: Rights, deadline: Duration) -> Command {
    Command { argv: argv.iter().map(|word| (*word).to_owned()).collect(), rights, deadline }
}

fn words(error: StepError) -> String {
    if let StepError::Transport(error) = error {
        return unsaid(error);
    }
    error.to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn unsaid(error: TransportError) -> String {
    format!("{error}; {}", error.remedy())
}

/// Reads the fourth column of what `df -P -k` prints below its heading.
fn available(df: &str) -> Option<u64> {
    let kilobytes: u64 = df.lines().last()?.split_whitespace().nth(3)?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_lie_where_the_engine_of_a_node_writes_them() {
        for (engine, logs) in [
            ("nginx", "/var/log/portway"),
            ("traefik", "/var/log/portway"),
            ("edge", "/var/log/portway-edge"),
        ] {
            let spec = serde_json::json!({"engine": engine, "ssh": "deploy@192.0.2.7"});
            let spec = serde_json::from_value(spec).unwrap();
            let (node, _) = portway_model::node::check(&"web-1".parse().unwrap(), &spec);
            assert_eq!(layout(&node.unwrap(), None, None).logs, logs);
        }
    }

    #[test]
    fn what_is_left_on_a_disk_is_read_in_bytes() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                  /dev/vda 263174212 31457280 65011712 33% /\n";
        assert_eq!(available(df), Some(65_011_712 * 1024));
        assert_eq!(available(""), None);
    }
}
