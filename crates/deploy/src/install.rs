//! Brings an engine to a node, or to its newest version there: what would be done, as it can be shown and
//! allowed beforehand, and then exactly that.
//!
//! Every command has its deadline, on the node too. What fails is put back where something was replaced;
//! a package manager keeps its own books, and what it said is told.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::{
    Action, Command, Family, InstallPlan, InstallStep, Layout, NoPlan, OsRelease, Ports,
    ProgramPlace, Rights, Supervisor, Version, Wanted, offered, package_plan, program_plan,
    service_commands,
};
use portway_model::{EngineKind, Node, Stage, node::Connection};
use portway_policy::Digest;
use portway_transport::{Argv, ArgvError, Mode, Transport, TransportError, Upload};

use crate::{
    Ran, ServiceError, ServiceState, StepError, Survey, Unwritten,
    service::{running, state, usual_layout},
    step::{Node as Steps, argv, printed},
    survey::{engine_at, layout},
    tools,
};

/// How long a look at one thing may take.
const LOOK: Duration = Duration::from_secs(20);
/// How long the digest of a program of some hundred megabytes may take.
const DIGESTING: Duration = Duration::from_secs(120);

/// What somebody wants of an engine on a node.
#[derive(Clone, Debug)]
pub struct Wish {
    /// That it is there, or as new as can be.
    pub wanted: Wanted,
    /// A program on the node that is to be the engine; its package otherwise.
    pub program: Option<Utf8PathBuf>,
    /// What the SHA-256 of that program must be.
    pub digest: Option<Digest>,
}

/// What would be done, and what is there.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// The plan.
    pub plan: InstallPlan,
    /// The version that would come, as the package manager or the program itself says.
    pub offered: Option<String>,
    /// What the package manager said.
    pub said: Option<String>,
    /// The version that is there.
    pub installed: Option<Version>,
    /// How the engine is.
    pub state: ServiceState,
    /// What starts it, where it does not run afterwards; nothing where nobody looks after it.
    pub start: Vec<Command>,
    /// The commands that whoever logs in may not run as root.
    pub forbidden: Vec<Command>,
    /// Who logs in.
    pub user: String,
    supervisor: Supervisor,
    family: Option<Family>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Installed {
    /// What was run, in its order.
    pub ran: Vec<Ran>,
    /// Why it failed, where it did; what was replaced is put back.
    pub failed: Option<String>,
    /// The version that the package manager named at last.
    pub offered: Option<String>,
    /// How the engine is now.
    pub state: ServiceState,
}

/// Why an engine cannot be installed, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is there.
    #[error("{engine} {version} is on the node already; with `--upgrade` the newest comes")]
    IsThere {
        /// The engine.
        engine: EngineKind,
        /// Its version.
        version: String,
    },
    /// It is not there.
    #[error("{0} is not on the node, so it cannot be upgraded; leave `--upgrade` out")]
    NotThere(EngineKind),
    /// It did not come as a package.
    #[error("{program} did not come as a package; `--program FILE` puts another in its place")]
    NoPackage {
        /// The program.
        program: Utf8PathBuf,
    },
    /// There is no way that is known.
    #[error("{0}; {remedy}", remedy = .0.remedy(.1))]
    NoPlan(NoPlan, String),
    /// nginx needs more than its program.
    #[error("nginx is more than one program, and comes as a package only; leave `--program` out")]
    NotOneProgram,
    /// The program cannot be used.
    #[error("{path} cannot be used: {why}")]
    Program {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        why: String,
    },
    /// The program is another one.
    #[error("the SHA-256 of {path} is {is}, and not {wanted}; nothing was done")]
    OtherProgram {
        /// The file.
        path: Utf8PathBuf,
        /// What it is.
        is: Digest,
        /// What it was to be.
        wanted: Digest,
    },
    /// The system is not known.
    #[error("the system of the node is not known: {0}")]
    NoSystem(String),
    /// The engine could not be looked at.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A step could not be tried.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl From<TransportError> for InstallError {
    fn from(error: TransportError) -> Self {
        Self::Step(error.into())
    }
}

impl From<ArgvError> for InstallError {
    fn from(error: ArgvError) -> Self {
        TransportError::from(error).into()
    }
}

/// Finds what would be done. Nothing on the node is changed.
///
/// # Errors
/// When there is no way, or the node cannot be spoken with.
pub async fn prospect<T: Transport>(
    transport: &T,
    node: &Node,
    seen: &Survey,
    wish: &Wish,
) -> Result<Prospect, InstallError> {
    judge(node, seen, wish)?;
    let it = Look { transport, node, seen };
    let supervisor = tools::supervisor(transport).await?;
    let user = it.said(&["id", "-un"], LOOK).await?;
    let (plan, offered_program) = match &wish.program {
        Some(program) => it.by_program(program, wish.digest, &supervisor, &user).await?,
        None => (it.by_package(wish.wanted)?, None),
    };
    let said = match &plan.preview {
        Some(preview) => Some(printed(&steps(transport).run(preview).await?)),
        None => None,
    };
    let family = seen.system.as_ref().ok().and_then(OsRelease::family);
    let packaged = said
        .as_deref()
        .zip(family)
        .and_then(|(said, family)| offered(family, node.engine.as_str(), said));
    let start = start(node, &supervisor, &it.layout());
    let mut prospect = Prospect {
        offered: offered_program.or(packaged),
        said,
        installed: seen.engine.as_ref().ok().map(|engine| engine.version),
        state: state(transport, node, &supervisor).await?,
        start,
        forbidden: Vec::new(),
        user,
        supervisor,
        family,
        plan,
    };
    prospect.forbidden = it.forbidden(&prospect).await?;
    Ok(prospect)
}

/// Does what a prospect says, step by step, and looks how the engine is then.
///
/// # Errors
/// When the node cannot be spoken with any more. A step that fails is no error: what it said is told.
pub async fn carry_out<T: Transport>(
    transport: &T,
    node: &Node,
    prospect: &Prospect,
) -> Result<Installed, InstallError> {
    let mut work = Work { transport, node, prospect, ran: Vec::new(), done: 0, offered: None };
    let failed = match work.all().await {
        Ok(()) => None,
        Err(Stopped::Failed(why)) => Some(why),
        Err(Stopped::Lost(error)) => return Err(error),
    };
    let plan = &prospect.plan;
    let last: &[Command] = match failed {
        None => &plan.finish,
        Some(_) if work.done >= plan.undo_from => &plan.undo,
        Some(_) => &[],
    };
    for command in last {
        // One that fails keeps no other from being tried: each is told.
        if let Err(Stopped::Lost(error)) = work.run(command).await {
            return Err(error);
        }
    }
    let state = state(transport, node, &prospect.supervisor).await?;
    let offered = work.offered.or_else(|| prospect.offered.clone());
    Ok(Installed { ran: work.ran, failed, offered, state })
}

/// Refuses what makes no sense before anything is looked at.
fn judge(node: &Node, seen: &Survey, wish: &Wish) -> Result<(), InstallError> {
    let engine = node.engine;
    if engine == EngineKind::Nginx && wish.program.is_some() {
        return Err(InstallError::NotOneProgram);
    }
    match (wish.wanted, &seen.program) {
        (Wanted::Installed, Ok(_)) => {
            let version = seen.engine.as_ref().ok().map(|engine| engine.version.to_string());
            let version =
                version.unwrap_or_else(|| "of a version that it does not tell".to_owned());
            Err(InstallError::IsThere { engine, version })
        }
        (Wanted::Upgraded, Err(_)) => Err(InstallError::NotThere(engine)),
        (Wanted::Upgraded, Ok(program)) if wish.program.is_none() && seen.package == Ok(None) => {
            Err(InstallError::NoPackage { program: program.clone() })
        }
        (Wanted::Installed, Err(_)) | (Wanted::Upgraded, Ok(_)) => Ok(()),
    }
}

/// Returns what starts the engine; nothing where it is nobody's to start.
fn start(node: &Node, supervisor: &Supervisor, layout: &Layout) -> Vec<Command> {
    service_commands(node.engine, Action::Start, supervisor, layout).unwrap_or_default()
}

fn steps<T: Transport>(transport: &T) -> Steps<'_, T, Unwritten> {
    Steps { transport, journal: &Unwritten, stage: Stage::Queued }
}

/// Looks at what a plan needs to know.
struct Look<'a, T> {
    transport: &'a T,
    node: &'a Node,
    seen: &'a Survey,
}

impl<T: Transport> Look<'_, T> {
    fn layout(&self) -> Layout {
        let program = self.seen.program.as_ref().ok().cloned();
        let program = program.or_else(|| self.node.paths.program.clone());
        let program = program.unwrap_or_else(|| usual_layout(self.node).program);
        layout(self.node, self.seen.authorities.as_ref().ok(), Some(&program))
    }

    fn ports(&self) -> Ports {
        let portway_model::node::Ports { http, https, probe } = self.node.ports;
        Ports { addresses: Vec::new(), http, https, probe }
    }

    async fn said(&self, words: &[&str], deadline: Duration) -> Result<String, InstallError> {
        let command = command(words, Rights::Login, deadline);
        Ok(printed(&steps(self.transport).must(&command).await?))
    }

    async fn holds(&self, words: &[&str]) -> Result<bool, InstallError> {
        let command = command(words, Rights::Login, LOOK);
        Ok(steps(self.transport).run(&command).await?.is_success())
    }

    fn by_package(&self, wanted: Wanted) -> Result<InstallPlan, InstallError> {
        let system =
            self.seen.system.as_ref().map_err(|why| InstallError::NoSystem(why.clone()))?;
        package_plan(system, self.node.engine, wanted, &self.layout(), &self.ports())
            .map_err(|none| InstallError::NoPlan(none, self.node.name.to_string()))
    }

    /// Plans with a program, and asks it for its version.
    async fn by_program(
        &self,
        program: &Utf8Path,
        wanted: Option<Digest>,
        supervisor: &Supervisor,
        user: &str,
    ) -> Result<(InstallPlan, Option<String>), InstallError> {
        let unusable = |why: String| InstallError::Program { path: program.to_owned(), why };
        if !self.holds(&["test", "-f", program.as_str()]).await? {
            return Err(unusable("there is no such file on the node".to_owned()));
        }
        let sum = self.said(&["sha256sum", program.as_str()], DIGESTING).await?;
        let digest = sum.split_whitespace().next().and_then(|digits| digits.parse().ok());
        let digest: Digest = digest.ok_or_else(|| unusable(format!("`sha256sum` says `{sum}`")))?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            let path = program.to_owned();
            return Err(InstallError::OtherProgram { path, is: digest, wanted });
        }
        let layout = self.layout();
        let version = engine_at(self.transport, self.node.engine, &layout, program).await;
        let version = version.map_err(unusable)?;
        let place = ProgramPlace {
            engine: self.node.engine,
            from: program,
            digest,
            ports: &self.ports(),
            user,
            supervisor,
            is_there: self.seen.program.is_ok(),
            is_configured: self.seen.top_level == Ok(true),
            is_looked_after: self.is_looked_after(supervisor).await?,
            layout: &layout,
        };
        Ok((program_plan(&place), Some(version.to_string())))
    }

    async fn is_looked_after(&self, supervisor: &Supervisor) -> Result<bool, InstallError> {
        let name = portway_engine::service_name(self.node.engine);
        match supervisor {
            Supervisor::Systemd(systemctl) => {
                let unit = format!("{name}.service");
                self.holds(&[systemctl.as_str(), "cat", &unit]).await
            }
            Supervisor::OpenRc(_) => {
                self.holds(&["test", "-e", &format!("/etc/init.d/{name}")]).await
            }
            Supervisor::Nobody => Ok(true),
        }
    }

    /// Returns the commands that need root and that whoever logs in may not run so.
    async fn forbidden(&self, prospect: &Prospect) -> Result<Vec<Command>, InstallError> {
        if self.seen.user == Ok(0) {
            return Ok(Vec::new());
        }
        if matches!(&self.node.connection, Connection::Ssh(ssh) if !ssh.become_root) {
            return Ok(prospect.privileged().into_iter().cloned().collect());
        }
        let mut forbidden = Vec::new();
        for needed in prospect.privileged() {
            let mut asked = ["sudo", "-n", "-l", "--"].map(str::to_owned).to_vec();
            asked.extend(argv(needed)?.bounded(needed.deadline));
            let mut words = asked.into_iter();
            let question = Argv::new(words.next().unwrap_or_default(), words)?;
            let is_allowed = match self.transport.run(&question, &[], LOOK).await {
                Err(TransportError::NoProgram { .. }) => false,
                other => other?.is_success(),
            };
            if !is_allowed {
                forbidden.push(needed.clone());
            }
        }
        Ok(forbidden)
    }
}

impl Prospect {
    /// Returns the commands that are run as root, in their order.
    pub fn privileged(&self) -> Vec<&Command> {
        let of_steps = self.plan.steps.iter().filter_map(|step| match step {
            InstallStep::Run(command) => Some(command),
            InstallStep::Stage { .. } | InstallStep::Prove { .. } => None,
        });
        let refresh = self.plan.refresh.iter();
        let last = self.start.iter().chain(&self.plan.undo).chain(&self.plan.finish);
        let all = refresh.chain(of_steps).chain(last);
        all.filter(|command| command.rights == Rights::Superuser).collect()
    }
}

/// Why no further step is done.
enum Stopped {
    /// A step failed.
    Failed(String),
    /// The node cannot be spoken with.
    Lost(InstallError),
}

impl<E: Into<InstallError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Lost(error.into())
    }
}

struct Work<'a, T> {
    transport: &'a T,
    node: &'a Node,
    prospect: &'a Prospect,
    ran: Vec<Ran>,
    done: usize,
    offered: Option<String>,
}

impl<T: Transport> Work<'_, T> {
    async fn all(&mut self) -> Result<(), Stopped> {
        let plan = &self.prospect.plan;
        if let Some(refresh) = &plan.refresh {
            self.run(refresh).await?;
        }
        if let (Some(preview), Some(family)) = (&plan.preview, self.prospect.family) {
            let said = self.run(preview).await?;
            self.offered = offered(family, self.node.engine.as_str(), &said);
        }
        for step in &plan.steps {
            match step {
                InstallStep::Run(command) => drop(self.run(command).await?),
                InstallStep::Stage { path, text } => self.stage(path, text).await?,
                InstallStep::Prove { path, digest } => self.prove(path, *digest).await?,
            }
            self.done += 1;
        }
        self.start().await
    }

    /// Starts the engine where it does not run, and waits until it does.
    async fn start(&mut self) -> Result<(), Stopped> {
        let (node, supervisor) = (self.node, &self.prospect.supervisor);
        if self.prospect.start.is_empty() {
            return Ok(());
        }
        if !state(self.transport, node, supervisor).await?.runs {
            for command in &self.prospect.start {
                self.run(command).await?;
            }
        }
        let now = running(self.transport, node, supervisor).await?;
        if now.runs {
            return Ok(());
        }
        Err(Stopped::Failed(format!("{} does not run: {}", node.engine, now.words)))
    }

    async fn run(&mut self, command: &Command) -> Result<String, Stopped> {
        let output = steps(self.transport).run(command).await?;
        let words = argv(command)?.to_string();
        let said = printed(&output);
        let status = output.status.to_string();
        self.ran.push(Ran { command: words.clone(), status: status.clone(), output: said.clone() });
        if output.is_success() {
            return Ok(said);
        }
        let last = said.lines().last().unwrap_or_default();
        Err(Stopped::Failed(format!("`{words}` failed ({status}): {last}")))
    }

    async fn stage(&mut self, path: &Utf8Path, text: &str) -> Result<(), Stopped> {
        let folder = path.parent().unwrap_or(Utf8Path::new("/"));
        self.run(&command(&["mkdir", "-p", "-m", "0711", folder.as_str()], Rights::Login, LOOK))
            .await?;
        let upload = Upload::new(path, Mode::PUBLIC, text.as_bytes().to_vec());
        self.transport.put(&[upload?]).await?;
        let output = format!("{} bytes", text.len());
        self.ran.push(Ran { command: format!("write {path}"), status: "done".to_owned(), output });
        Ok(())
    }

    async fn prove(&mut self, path: &Utf8Path, digest: Digest) -> Result<(), Stopped> {
        let words = ["/usr/bin/sha256sum", path.as_str()];
        let said = self.run(&command(&words, Rights::Login, DIGESTING)).await?;
        if said.split_whitespace().next().and_then(|digits| digits.parse().ok()) == Some(digest) {
            return Ok(());
        }
        Err(Stopped::Failed(format!(
            "the SHA-256 of {path} is not {digest}: it was changed meanwhile"
        )))
    }
}

fn command(words: &[&str], rights: Rights, deadline: Duration) -> Command {
    Command { argv: words.iter().map(|word| (*word).to_owned()).collect(), rights, deadline }
}
