//! The manager's own program, sent to a node to be its edge there.
//!
//! The program travels into Portway's folder on the node, under a name with its digest, is proven there
//! by that digest, and then installs itself (`portway edge --install`): that is the one command that is
//! run as root, and whoever would rather type it on the node can. An edge that runs is succeeded by the
//! new program; if that one fails, the node is put back to what it had.

use std::{sync::Arc, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_deploy::ByOthers;
use portway_model::{
    EngineKind, FieldPath, Finding, FindingCode, Findings, Node, ResourceKind,
    node::{Connection, EDGE_SOCKET},
};
use portway_policy::Digest;
use portway_store::{AuditOutcome, NodeRow};
use portway_transport::{Argv, ArgvError, Content, Mode, Transport as _, TransportError, Upload};
use portway_wire::node::{InstallNode, NodeInstall, NodeInstallStep, NodeProgram};

use super::{bring::BringError, connect::Reach};
use crate::{Control, ControlError, EdgeClient, deploy::chain, nodes, rights::Operator};

/// How long a look at one thing may take.
const LOOK: Duration = Duration::from_secs(20);
/// How long installing may take: an edge with many sites reads them when it starts.
const INSTALLING: Duration = Duration::from_secs(330);
/// How long an edge that was started may take to answer.
const ANSWERING: Duration = Duration::from_secs(20);
/// How often it is asked meanwhile.
const EVERY: Duration = Duration::from_millis(200);
/// How a step ended that went well.
const DONE: &str = "exit code 0";
/// So many digits of the digest stand in the name of the program.
const DIGITS: usize = 16;

/// This process's program, as it is sent.
struct Program {
    bytes: Vec<u8>,
    digest: Digest,
}

/// An installation that is being prepared or done.
struct Installing<'a> {
    node: &'a Node,
    reach: Arc<Reach>,
    program: Program,
    findings: Findings,
}

/// Why an installation came to nothing, as far as that is no finding.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("{}", told(.0))]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Argv(#[from] ArgvError),
    #[error("{0}")]
    Failed(String),
}

impl Operator<'_> {
    /// Tells how an engine would come to a node. Nothing is changed there.
    pub async fn plan_install(
        &self,
        node: &str,
        how: &InstallNode,
    ) -> Result<NodeInstall, ControlError> {
        let (row, node) = self.node_to_install(node).await?;
        if node.engine != EngineKind::Edge {
            return Box::pin(self.control.plan_engine(&row, &node, how)).await;
        }
        refuse_program(how)?;
        let mut it = self.control.installing(&row, &node).await?;
        it.judge().await.map_err(failed)?;
        it.report().await.map_err(failed)
    }

    /// Brings an engine to a node, and proves that it is there.
    pub async fn install_node(
        &self,
        node: &str,
        how: &InstallNode,
    ) -> Result<NodeInstall, ControlError> {
        let (row, node) = self.node_to_install(node).await?;
        if node.engine == EngineKind::Edge {
            refuse_program(how)?;
        }
        let (control, actor, name) = (self.control.clone(), self.actor.clone(), row.name.clone());
        let how = how.clone();
        let work = Box::pin(async move {
            let operator = Operator { control: &control, actor: &actor };
            match node.engine {
                EngineKind::Edge => operator.install_edge(&row, &node).await,
                EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik => {
                    Box::pin(control.install_engine(&row, &node, &how)).await
                }
            }
        });
        self.errand("node.install", &name, work, how_installed).await
    }

    /// Installs the manager's program on a node as its edge, and proves that it answers.
    async fn install_edge(&self, row: &NodeRow, node: &Node) -> Result<NodeInstall, ControlError> {
        let control = self.control;
        let mut it = control.installing(row, node).await?;
        it.judge().await.map_err(failed)?;
        if it.findings.has_errors() {
            return it.report().await.map_err(failed);
        }
        // This manager's other errands on the node wait.
        let _turn = control.inner.fleet.workers.turn(row.id).await;
        let output = Box::pin(it.carry_out()).await.map_err(failed)?;
        // Whoever was let in to the control socket just now has to log in anew.
        control.inner.fleet.log_in_anew(row.id);
        it.reach = control.reach(row, node).await.map_err(unreachable)?;
        it.await_answer().await.map_err(failed)?;
        control.look_after(row, ByOthers::Respect).await;
        let mut report = it.report().await.map_err(failed)?;
        report.done = true;
        if let Some(step) = report.steps.first_mut() {
            (step.status, step.output) = (Some(DONE.to_owned()), output);
        }
        Ok(report)
    }

    async fn node_to_install(&self, node: &str) -> Result<(NodeRow, Node), ControlError> {
        let row = self.control.node_named(node).await?;
        match nodes::declared(&row)? {
            Some(declared) => Ok((row, declared)),
            None => {
                let text = "the edge of a manager is upgraded with it".to_owned();
                Err(ControlError::BadRequest(text))
            }
        }
    }
}

fn how_installed(install: &NodeInstall) -> (AuditOutcome, String) {
    if install.done {
        return (AuditOutcome::Done, install.by.clone());
    }
    let faults = install.findings.iter().filter(|finding| finding.is_error());
    (AuditOutcome::Failed, faults.map(|fault| fault.text.as_str()).collect::<Vec<_>>().join("; "))
}

/// An edge is this manager's own program, of one version and one digest.
fn refuse_program(how: &InstallNode) -> Result<(), ControlError> {
    if how.program.is_none() && how.sha256.is_none() {
        return Ok(());
    }
    let text = "an edge is given this manager's own program; leave `program` and `sha256` out";
    Err(ControlError::BadRequest(text.to_owned()))
}

impl Control {
    async fn installing<'a>(
        &self,
        row: &NodeRow,
        node: &'a Node,
    ) -> Result<Installing<'a>, ControlError> {
        let reach = self.reach(row, node).await.map_err(unreachable)?;
        let read = tokio::task::spawn_blocking(Program::read).await;
        let program = read
            .map_err(std::io::Error::other)
            .and_then(|read| read)
            .map_err(|error| ControlError::internal("reading the manager's own program", error))?;
        let findings = Findings::about(ResourceKind::Node, node.name.as_str());
        Ok(Installing { node, reach, program, findings })
    }
}

impl Program {
    /// Reads the file that this process runs, though another one may lie under its name by now.
    fn read() -> std::io::Result<Self> {
        let bytes = std::fs::read("/proc/self/exe")?;
        let digest = Digest::of(&bytes);
        Ok(Self { bytes, digest })
    }
}

impl Installing<'_> {
    fn folder(&self) -> Utf8PathBuf {
        self.node.paths.home.join("bin")
    }

    /// Where the program lies on the node: what is under this name is this program, or is no program.
    fn path(&self) -> Utf8PathBuf {
        let digest = self.program.digest.to_string();
        let short = digest.get(..DIGITS).unwrap_or(&digest);
        self.folder().join(format!("portway-{short}"))
    }

    /// What is run as root.
    fn words(&self) -> Vec<String> {
        let ports = self.node.ports;
        let (http, https) = (ports.http.to_string(), ports.https.to_string());
        // In sudoers, `=` would have to be written otherwise.
        let words = ["edge", "--install", "--http-port", &http, "--https-port", &https];
        let mut words = words.map(str::to_owned).to_vec();
        if let Connection::Ssh(ssh) = &self.node.connection
            && !ssh.to.user.is_root()
        {
            words.extend(["--admit".to_owned(), ssh.to.user.to_string()]);
        }
        words
    }

    fn command(&self) -> Result<Argv, ArgvError> {
        Ok(Argv::new(self.path().as_str(), self.words())?.as_root())
    }

    async fn says(&self, words: &[&str]) -> Result<String, InstallError> {
        let Some((program, arguments)) = words.split_first() else { return Ok(String::new()) };
        let argv = Argv::new(*program, arguments.iter().copied())?;
        let output = self.reach.run(&argv, b"", LOOK).await?;
        Ok(output.stdout_text().trim().to_owned())
    }

    async fn holds(&self, words: &[&str]) -> Result<bool, InstallError> {
        let Some((program, arguments)) = words.split_first() else { return Ok(false) };
        let argv = Argv::new(*program, arguments.iter().copied())?;
        Ok(self.reach.run(&argv, b"", LOOK).await?.is_success())
    }

    fn error(&mut self, field: &str, text: String, remedy: String) {
        let path = field.split('.').fold(FieldPath::root(), |path, key| path.key(key));
        self.findings.error(FindingCode::NodeUnfit, &path, text).remedy(remedy);
    }

    /// Finds what is in the way.
    async fn judge(&mut self) -> Result<(), InstallError> {
        let by_hand = "have whatever runs services there start `portway edge`, and name its control \
                       socket by `portway node set … --control-socket`";
        let machine = self.says(&["uname", "-sm"]).await?;
        let own = format!("Linux {}", std::env::consts::ARCH);
        if machine != own {
            let text =
                format!("the node is `{machine}`, and this manager's program is for `{own}`");
            let remedy = "build Portway for it, and there as root: `portway edge --install`";
            self.error("engine", text, remedy.to_owned());
        }
        if !self.holds(&["test", "-d", "/run/systemd/system"]).await? {
            let text = "systemd does not run on the node".to_owned();
            self.error("engine", text, by_hand.to_owned());
        }
        if self.holds(&["test", "-e", "/etc/systemd/system/portway.service"]).await? {
            let text = "the node is the machine of a manager, which has its own edge".to_owned();
            let remedy = "that edge is a node already, by itself; sites without `nodes` are there";
            self.error("engine", text, remedy.to_owned());
        }
        let socket = self.node.control_socket();
        if socket != EDGE_SOCKET {
            let text = format!(
                "the node's control socket is {socket}, and that of what is installed {EDGE_SOCKET}"
            );
            let remedy =
                format!("`portway node set {} --control-socket {EDGE_SOCKET}`", self.node.name);
            self.error("paths.socket", text, remedy);
        }
        self.judge_home().await?;
        self.judge_root().await
    }

    /// Finds whether the program can be sent.
    async fn judge_home(&mut self) -> Result<(), InstallError> {
        let home = self.node.paths.home.clone();
        for folder in home.ancestors() {
            if !self.holds(&["test", "-e", folder.as_str()]).await? {
                continue;
            }
            if !self.holds(&["test", "-w", folder.as_str()]).await? {
                let text = format!("{home} cannot be made or written to by whoever logs in");
                let remedy = format!(
                    "as root on the node: `install -d -m 0711 -o USER {home}`, with the user who logs in"
                );
                self.error("paths.home", text, remedy);
            }
            break;
        }
        Ok(())
    }

    /// Finds whether the one command may be run as root: asked beforehand, so that nothing is sent in
    /// vain.
    async fn judge_root(&mut self) -> Result<(), InstallError> {
        let Connection::Ssh(ssh) = &self.node.connection else { return Ok(()) };
        if ssh.to.user.is_root() {
            return Ok(());
        }
        let user = ssh.to.user.clone();
        if !ssh.become_root {
            let text = format!("installing needs root, and {user} is not to use sudo");
            let remedy =
                format!("`portway node set {} --sudo true`, or log in as root", self.node.name);
            self.error("ssh.sudo", text, remedy);
            return Ok(());
        }
        let command = self.command()?.bounded(INSTALLING);
        let mut asked = vec!["sudo", "-n", "-l", "--"];
        asked.extend(command.iter().map(String::as_str));
        let is_allowed = match self.holds(&asked).await {
            Err(InstallError::Transport(TransportError::NoProgram { .. })) => false,
            other => other?,
        };
        if !is_allowed {
            let command = command.join(" ");
            let text = format!("{user} may not run `{command}` as root");
            let remedy = format!(
                "allow it in /etc/sudoers.d/portway (edit with `visudo -f`): `{user} ALL=(root) NOPASSWD: {command}`, with absolute paths; or log in as root; or bring the program there and type `sudo ./portway edge --install --admit {user}`"
            );
            self.error("ssh", text, remedy);
        }
        Ok(())
    }

    /// Sends the program, unless it is there, and has it install itself. Returns what it printed.
    async fn carry_out(&self) -> Result<String, InstallError> {
        let (folder, path) = (self.folder(), self.path());
        let command = Argv::new("mkdir", ["-p", "-m", "0755", folder.as_str()])?;
        let made = self.reach.run(&command, b"", LOOK).await?;
        if !made.is_success() {
            let said = made.stderr_text().trim().to_owned();
            return Err(InstallError::Failed(format!(
                "the folder {folder} cannot be made: {said}"
            )));
        }
        self.send(&folder, &path).await?;
        let proof = Argv::new(path.as_str(), ["--version"])?;
        let ran = self.reach.run(&proof, b"", LOOK).await?;
        if !ran.is_success() {
            return Err(InstallError::Failed(format!(
                "this manager's program does not run on the node: {}; build Portway there, or with an older C library, and as root: `portway edge --install`",
                ran.stderr_text().trim()
            )));
        }
        let argv = self.command()?;
        let output = self.reach.run(&argv, b"", INSTALLING).await?;
        if output.is_success() {
            return Ok(output.stdout_text().trim().to_owned());
        }
        Err(InstallError::Failed(format!(
            "`{argv}` failed on the node, which is as it was: {}",
            output.stderr_text().trim()
        )))
    }

    /// Sends the program; those of other versions, which lie beside it, are removed.
    async fn send(&self, folder: &Utf8Path, path: &Utf8Path) -> Result<(), InstallError> {
        let listed = self.reach.list(folder).await?.unwrap_or_default();
        let is_it = |content: &Content| matches!(content, Content::File { digest, .. } if *digest == self.program.digest);
        let name = path.file_name().unwrap_or_default();
        let is_there = listed.iter().any(|entry| entry.name == name && is_it(&entry.content));
        if !is_there {
            let upload = Upload::new(path, Mode::PROGRAM, self.program.bytes.clone())?;
            self.reach.put(&[upload]).await?;
        }
        let others = listed.iter().filter(|entry| entry.name != name);
        let others = others.filter(|entry| entry.name.starts_with("portway-"));
        let others: Vec<_> = others.map(|entry| folder.join(&entry.name)).collect();
        Ok(self.reach.remove(&others).await?)
    }

    fn client(&self) -> EdgeClient {
        EdgeClient::there(Arc::clone(&self.reach), self.node.control_socket())
    }

    /// Waits until the edge answers over the way by which it is given its sites.
    async fn await_answer(&self) -> Result<(), InstallError> {
        let client = self.client();
        let answers = async {
            loop {
                match client.status().await {
                    Ok(_) => return,
                    Err(_) => tokio::time::sleep(EVERY).await,
                }
            }
        };
        if tokio::time::timeout(ANSWERING, answers).await.is_ok() {
            return Ok(());
        }
        let why = client.status().await.err().map(|error| chain(&error)).unwrap_or_default();
        Err(InstallError::Failed(format!("the edge is installed and does not answer: {why}")))
    }

    async fn report(&mut self) -> Result<NodeInstall, InstallError> {
        let (path, words) = (self.path(), self.words());
        let size = u64::try_from(self.program.bytes.len()).unwrap_or(u64::MAX);
        let findings: Vec<Finding> = std::mem::replace(
            &mut self.findings,
            Findings::about(ResourceKind::Node, self.node.name.as_str()),
        )
        .into_vec();
        let running = self.client().status().await.ok().map(|status| status.version);
        let step = NodeInstallStep {
            action: format!("{path} {}", words.join(" ")),
            as_root: true,
            deadline_seconds: Some(INSTALLING.as_secs()),
            ..NodeInstallStep::default()
        };
        Ok(NodeInstall {
            engine: EngineKind::Edge.to_string(),
            by: "this manager's own program, which is sent".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            state: if running.is_some() { "it answers" } else { "none answers" }.to_owned(),
            installed: running,
            interrupts: "the edge that runs is succeeded; no request is lost".to_owned(),
            steps: vec![step],
            program: Some(NodeProgram {
                path: path.into_string(),
                digest: self.program.digest.to_string(),
                size: Some(size),
            }),
            said: None,
            done: false,
            findings,
        })
    }
}

fn told(error: &TransportError) -> String {
    format!("{error}; {}", error.remedy())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn failed(error: InstallError) -> ControlError {
    ControlError::Conflict(error.to_string())
}

fn unreachable(error: impl Into<BringError>) -> ControlError {
    ControlError::Conflict(error.into().told())
}
