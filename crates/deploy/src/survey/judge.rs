//! What of a survey keeps a node from being used, or will, and what to do about it.

use portway_engine::{OsRelease, Version};
use portway_model::{EngineKind, FieldPath, Finding, FindingCode, Findings, Node, ResourceKind};

use super::{
    Access, CopyPlace, Door, EngineSeen, Entrance, Folder, Listener, Stopped, Survey, copy_of,
    layout,
};
use crate::holes::holes;

/// The least room that a deployment may need, and what is left for others.
const LEAST_FREE: u64 = 64 << 20;
/// More than this and tokens, certificates and logs no longer fit together.
const MOST_SKEW: i64 = 30;

/// Returns what keeps a node from being used, and what deserves attention. Without errors the node can
/// be deployed to.
pub fn preflight(node: &Node, survey: &Survey) -> Vec<Finding> {
    let mut judge =
        Judge { node, survey, findings: Findings::about(ResourceKind::Node, node.name.as_str()) };
    judge.system();
    judge.engine();
    judge.folders();
    judge.entrance();
    judge.copy();
    judge.logs();
    judge.ports();
    judge.machine();
    judge.owner();
    let seen = survey.engine.as_ref().ok();
    let holes = seen.and_then(|seen| holes(node, seen.version, &survey.came_as()));
    judge.findings.into_vec().into_iter().chain(holes).collect()
}

struct Judge<'a> {
    node: &'a Node,
    survey: &'a Survey,
    findings: Findings,
}

impl Judge<'_> {
    fn error(&mut self, field: &str, text: String, remedy: String) {
        let path = path_of(field);
        self.findings.error(FindingCode::NodeUnfit, &path, text).remedy(remedy);
    }

    fn warning(&mut self, field: &str, text: String, remedy: String) {
        let path = path_of(field);
        self.findings.warning(FindingCode::NodeUnfit, &path, text).remedy(remedy);
    }

    fn system(&mut self) {
        if let Err(why) = &self.survey.system {
            let text = format!("the system of the node is not known: {why}");
            self.warning("", text, "see that /etc/os-release is there".to_owned());
        }
    }

    fn engine(&mut self) {
        let name = self.node.engine;
        match &self.survey.engine {
            Err(why) if name == EngineKind::Edge => self.no_edge(why),
            Err(why) => {
                let remedy = self.install();
                self.error("engine", format!("{name} was not found on the node: {why}"), remedy);
            }
            Ok(EngineSeen { version, .. }) => {
                let oldest = oldest(name);
                if *version < oldest {
                    let text = format!(
                        "{name} {version} is older than {oldest}, the oldest that Portway writes for"
                    );
                    let remedy = format!("`portway node install {} --upgrade`", self.node.name);
                    self.error("engine", text, remedy);
                }
            }
        }
        if self.survey.engine.is_ok() {
            self.stopped();
        } else if name != EngineKind::Edge {
            // What it would say for itself cannot be known either.
            return;
        }
        match &self.survey.test {
            Ok(None) => {}
            Ok(Some(words)) => {
                let text = format!("{name} refuses the configuration that it has already: {words}");
                self.error("paths.config", text, "mend it before Portway adds to it".to_owned());
            }
            Err(why) => {
                let text = format!("{name} could not be asked to test its configuration: {why}");
                let remedy = format!(
                    "let whoever logs in do what it must: `portway node sudoers {}` prints the rules for sudo; or log in as root",
                    self.node.name
                );
                self.error("connection", text, remedy);
            }
        }
    }

    /// An engine that does not run would be given its sites, and serve none of them.
    fn stopped(&mut self) {
        let Ok(Some(Stopped { said, can_be_started })) = &self.survey.stopped else { return };
        let (engine, name) = (self.node.engine, &self.node.name);
        let text = format!("{engine} does not run on the node: {said}");
        let entrance = layout(self.node, None, None).reached_by;
        let remedy = if engine == EngineKind::Caddy && self.survey.entrance == Ok(Entrance::Free) {
            // It does not start while a file that it imports is missing.
            let login = self.login();
            format!(
                "as root on the node: `install -D -m 0644 -o {login} /dev/null {entrance}`; then `portway node start {name}`, or start it there"
            )
        } else if *can_be_started {
            format!("`portway node start {name}` starts it, or start it there")
        } else {
            "start it there: nothing looks after it that could be told to".to_owned()
        };
        self.error("engine", text, remedy);
    }

    /// Says why the edge of the node cannot be spoken with, and how it comes to be there.
    fn no_edge(&mut self, why: &str) {
        let (socket, name) = (self.node.control_socket(), &self.node.name);
        let install = format!("`portway node install {name}` installs and starts one");
        let (field, text, remedy) = match &self.survey.door {
            Some(Ok(Door::NoFolder)) => (
                "engine",
                format!("no edge is on the node: the folder of {socket} is missing"),
                install,
            ),
            Some(Ok(Door::NoSocket)) => (
                "engine",
                format!("no edge runs on the node: there is no {socket}"),
                format!("start it there, `systemctl start portway-edge`; {install}"),
            ),
            Some(Ok(Door::Closed)) => (
                "paths.socket",
                format!("whoever logs in may not open {socket}"),
                "as root on the node: `usermod -aG portway-edge USER`, with the user who logs in"
                    .to_owned(),
            ),
            Some(Ok(Door::There) | Err(_)) | None => (
                "engine",
                format!("the edge of the node does not answer: {why}"),
                format!(
                    "see whether it runs, `systemctl status portway-edge`, and that sshd_config there does not have `AllowStreamLocalForwarding no` or `DisableForwarding yes`; {install}"
                ),
            ),
        };
        self.error(field, text, remedy);
    }

    fn install(&self) -> String {
        let (engine, node) = (self.node.engine, &self.node.name);
        let family = self.survey.system.as_ref().ok().and_then(OsRelease::family);
        match (family, engine) {
            (Some(_), EngineKind::Nginx | EngineKind::Caddy) => {
                format!("`portway node install {node}` installs it, from the system's own packages")
            }
            (_, EngineKind::Traefik | EngineKind::Caddy) => format!(
                "bring the program of a release to the node; `portway node install {node} --program FILE` puts it in its place"
            ),
            (_, EngineKind::Nginx | EngineKind::Edge) => {
                format!("install {engine} on the node by hand")
            }
        }
    }

    /// An edge that answers has its folders already, and needs none of the login user's.
    fn needs_folders(&self) -> bool {
        self.node.engine != EngineKind::Edge || self.survey.engine.is_err()
    }

    fn folders(&mut self) {
        if !self.needs_folders() {
            return;
        }
        let (home, user) = (self.node.paths.home.clone(), self.login());
        let make = format!("as root on the node: `install -d -m 0711 -o {user} {home}`");
        match &self.survey.home {
            Ok(Folder::Ours | Folder::CanBeMade) => {}
            Ok(Folder::Closed) => self.error(
                "paths.home",
                format!("{home} cannot be written to by whoever logs in"),
                make,
            ),
            Ok(Folder::CannotBeMade) => self.error(
                "paths.home",
                format!("{home} is not there, and whoever logs in cannot make it"),
                make,
            ),
            Err(why) => {
                self.error("paths.home", format!("{home} could not be looked at: {why}"), make);
            }
        }
        match &self.survey.access {
            Ok(Access::Barred { why, remedy }) => {
                self.error("paths.home", why.clone(), remedy.clone());
            }
            Err(why) => {
                let text = format!("who may read in {home} could not be looked at: {why}");
                self.error("paths.home", text, "look at the node".to_owned());
            }
            Ok(Access::Settled | Access::Private | Access::Group(_) | Access::Listed(_)) => {}
        }
    }

    fn entrance(&mut self) {
        let layout = layout(self.node, None, None);
        let (path, top_level) = (&layout.reached_by, &layout.top_level);
        if self.survey.top_level == Ok(false) {
            let text = format!("{top_level} is not there");
            self.error(
                "paths.config",
                text,
                "say where the engine's own configuration is".to_owned(),
            );
        }
        match &self.survey.entrance {
            Ok(Entrance::Free | Entrance::Ours) => {}
            Ok(Entrance::Closed) => {
                let target = layout.home.join(current(self.node.engine));
                let text = format!("{path} cannot be made by whoever logs in");
                // A link that leads nowhere would break the configuration that is there.
                let remedy = format!(
                    "as root on the node: `install -m 0644 -o {} /dev/null {target} && ln -s {target} {path}`; or let whoever logs in write to its folder",
                    self.login()
                );
                self.error("paths.include", text, remedy);
            }
            Ok(Entrance::NoFolder) => {
                let text = format!("the folder of {path} is not there");
                let remedy =
                    format!("make it, and have {top_level} read it; or say which folder it reads");
                self.error("paths.include", text, remedy);
            }
            Ok(Entrance::Taken(what)) => {
                let text = format!("{path} is in the way: {what} that Portway did not put there");
                self.error("paths.include", text, "move it away".to_owned());
            }
            Err(why) => {
                let text = format!("{path} could not be looked at: {why}");
                self.error("paths.include", text, "let whoever logs in read its folder".to_owned());
            }
        }
    }

    /// The copy that is tested lies beside the engine's own configuration.
    fn copy(&mut self) {
        let layout = layout(self.node, None, None);
        let Some(copy) = copy_of(self.node.engine, &layout) else { return };
        if self.survey.top_level == Ok(false) {
            return;
        }
        let closed = match &self.survey.copy {
            Ok(CopyPlace::Beside | CopyPlace::Through(_)) => return,
            Ok(CopyPlace::Closed) => String::new(),
            Err(why) => format!(": {why}"),
        };
        let name = copy.file_name().unwrap_or_default();
        let text =
            format!("{copy}, the copy that is tested, cannot be made by whoever logs in{closed}");
        let remedy = format!(
            "as root on the node: `ln -s {} {copy}`; or let whoever logs in write to its folder",
            layout.home.join(name)
        );
        self.error("paths.config", text, remedy);
    }

    fn logs(&mut self) {
        let logs = layout(self.node, None, None).logs;
        let remedy =
            format!("as root on the node: `install -d -m 0755 -o {} {logs}`", self.login());
        let text = match &self.survey.logs {
            Ok(Folder::Ours | Folder::CanBeMade) => return,
            Ok(Folder::Closed) => format!("{logs} cannot be written to by whoever logs in"),
            Ok(Folder::CannotBeMade) => {
                format!("{logs} is not there, and whoever logs in cannot make it")
            }
            Err(why) => format!("{logs} could not be looked at: {why}"),
        };
        self.error("paths.logs", text, remedy);
    }

    /// Returns who logs in, as `install -o` takes it.
    fn login(&self) -> String {
        self.survey.user.as_ref().map_or_else(|_| "USER".to_owned(), u32::to_string)
    }

    fn ports(&mut self) {
        let Ok(listeners) = &self.survey.listeners else { return };
        let ports = self.node.ports;
        let named = [
            ("ports.http", ports.http),
            ("ports.https", ports.https),
            ("ports.probe", ports.probe),
        ];
        for (field, port) in named {
            let others: Vec<_> =
                listeners.iter().filter(|listener| self.is_foreign(listener, port)).collect();
            if let Some(Listener { program: Some(program), .. }) = others.first() {
                let text = format!("port {port} of the node is taken by `{program}`");
                let remedy = format!("stop it on the node, or give `{field}` another port");
                self.error(field, text, remedy);
            }
        }
    }

    /// Whether something listens on the port that is not the engine.
    fn is_foreign(&self, listener: &Listener, port: u16) -> bool {
        let engine = self.node.engine.as_str();
        let is_other = |program: &String| program != engine && !program.starts_with("portway");
        listener.port == port && listener.program.as_ref().is_some_and(is_other)
    }

    fn machine(&mut self) {
        if let Ok(free) = self.survey.free
            && self.needs_folders()
            && free < LEAST_FREE
        {
            let text = format!("{} MiB are left where {} lies", free >> 20, self.node.paths.home);
            self.error("paths.home", text, "make room on the node".to_owned());
        }
        if let Ok(skew) = self.survey.clock
            && skew.abs() > MOST_SKEW
        {
            let ahead = if skew > 0 { "ahead of" } else { "behind" };
            let text = format!("the node's clock is {} s {ahead} the manager's", skew.abs());
            let remedy = "have both keep time by NTP (`timedatectl set-ntp true`)".to_owned();
            self.warning("", text, remedy);
        }
    }

    fn owner(&mut self) {
        if let Err(why) = &self.survey.state {
            let text = format!("Portway's note on the node cannot be read: {why}");
            self.error("paths.home", text, "see who else manages the node".to_owned());
        }
    }
}

fn path_of(field: &str) -> FieldPath {
    field
        .split('.')
        .filter(|key| !key.is_empty())
        .fold(FieldPath::root(), |path, key| path.key(key))
}

fn current(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Nginx => "current.conf",
        EngineKind::Caddy => "current.caddy",
        EngineKind::Traefik => "current.yml",
        EngineKind::Edge => "edge",
    }
}

const fn oldest(engine: EngineKind) -> Version {
    match engine {
        EngineKind::Nginx => Version::new(1, 22, 0),
        EngineKind::Caddy => Version::new(2, 6, 0),
        EngineKind::Traefik => Version::new(3, 0, 0),
        EngineKind::Edge => Version::new(0, 1, 0),
    }
}
