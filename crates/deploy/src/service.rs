//! Starts, stops and reloads the engine of a node, and tells how it was before and is after.

use std::time::Duration;

use portway_engine::{
    Action, Command, Layout, NoWay, Rights, Supervisor, service_commands, state_command,
};
use portway_model::{EngineKind, Node, Stage};
use portway_transport::{Target, Transport, TransportError};
use tokio::time::{Instant, sleep};

use crate::{
    StepError, Unwritten,
    step::{Node as Steps, printed},
    survey::{layout, program_of},
    tools,
};

/// How long an engine may take, after its command has ended, to be as it should.
const SETTLING: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// So many looks in a row must see an engine run that was installed, this far apart.
const IN_A_ROW: u32 = 6;
const BETWEEN: Duration = Duration::from_millis(500);

/// What was done to an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acted {
    /// What looks after it.
    pub supervisor: Supervisor,
    /// How it was before.
    pub before: ServiceState,
    /// How it is now.
    pub after: ServiceState,
    /// The commands that were run, as one would type them, with what they printed.
    pub ran: Vec<Ran>,
    /// Whether every command succeeded, and the engine is as it should be.
    pub is_done: bool,
}

/// How an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// Whether it runs.
    pub runs: bool,
    /// The same in the words of what looks after it.
    pub words: String,
}

/// A command that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The command.
    pub command: String,
    /// How it ended.
    pub status: String,
    /// What it printed last.
    pub output: String,
}

/// Why nothing was done to an engine, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It cannot be done.
    #[error(transparent)]
    NoWay(#[from] NoWay),
    /// The engine is not there.
    #[error("there is no program `{0}` on the node")]
    NoProgram(&'static str),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl From<TransportError> for ServiceError {
    fn from(error: TransportError) -> Self {
        Self::Step(error.into())
    }
}

/// Does something to the engine of a node.
///
/// # Errors
/// When it cannot be done, or the node cannot be spoken with. A command that failed is no error: what
/// it said is told.
pub async fn act<T: Transport>(
    transport: &T,
    node: &Node,
    action: Action,
) -> Result<Acted, ServiceError> {
    let name = program_of(node.engine);
    let program = tools::program(transport, name).await?.ok_or(ServiceError::NoProgram(name))?;
    let layout = layout(node, None, Some(&program));
    let supervisor = tools::supervisor(transport).await?;
    let commands = service_commands(node.engine, action, &supervisor, &layout)?;
    let service = Service { transport, node, supervisor };
    let before = service.state().await?;
    let nobody = Unwritten;
    let steps = Steps { transport, journal: &nobody, stage: Stage::Queued };
    let (mut ran, mut has_failed) = (Vec::new(), false);
    for command in &commands {
        let output = steps.run(command).await?;
        ran.push(Ran {
            command: crate::step::argv(command)?.to_string(),
            status: output.status.to_string(),
            output: printed(&output),
        });
        if !output.is_success() {
            has_failed = true;
            break;
        }
    }
    let wanted = action.leaves_it_running();
    let after = if has_failed { service.state().await? } else { service.settled(wanted).await? };
    let is_done = !has_failed && after.runs == wanted;
    Ok(Acted { supervisor: service.supervisor, before, after, ran, is_done })
}

/// Tells how the engine of a node is.
pub(crate) async fn state<T: Transport>(
    transport: &T,
    node: &Node,
    supervisor: &Supervisor,
) -> Result<ServiceState, ServiceError> {
    Service { transport, node, supervisor: supervisor.clone() }.state().await
}

/// Waits until the engine of a node runs and goes on doing so, at most for a while, and tells how it is
/// then: one that ends at once is started again and again, and looked at between it seems to run.
pub(crate) async fn running<T: Transport>(
    transport: &T,
    node: &Node,
    supervisor: &Supervisor,
) -> Result<ServiceState, ServiceError> {
    let service = Service { transport, node, supervisor: supervisor.clone() };
    let end = Instant::now() + SETTLING;
    let mut in_a_row = 0;
    loop {
        let state = service.started().await?;
        in_a_row = if state.runs { in_a_row + 1 } else { 0 };
        if in_a_row >= IN_A_ROW || (Instant::now() > end && !state.runs) {
            return Ok(state);
        }
        sleep(BETWEEN).await;
    }
}

struct Service<'a, T> {
    transport: &'a T,
    node: &'a Node,
    supervisor: Supervisor,
}

impl<T: Transport> Service<'_, T> {
    async fn state(&self) -> Result<ServiceState, ServiceError> {
        let Some(command) = self.state_command() else { return self.by_its_port().await };
        let nobody = Unwritten;
        let steps = Steps { transport: self.transport, journal: &nobody, stage: Stage::Queued };
        let output = steps.run(&command).await?;
        let words = printed(&output);
        Ok(ServiceState { runs: output.is_success(), words })
    }

    fn state_command(&self) -> Option<Command> {
        state_command(self.node.engine, &self.supervisor)
    }

    /// Tells how an engine is that was started. One without sites may listen nowhere: where nobody looks
    /// after it, there is its process.
    async fn started(&self) -> Result<ServiceState, ServiceError> {
        let state = self.state().await?;
        if state.runs || self.state_command().is_some() {
            return Ok(state);
        }
        let name = program_of(self.node.engine);
        let argv = ["pgrep", "-x", name].map(str::to_owned).to_vec();
        let command = Command { argv, rights: Rights::Login, deadline: SETTLING };
        let nobody = Unwritten;
        let steps = Steps { transport: self.transport, journal: &nobody, stage: Stage::Queued };
        if steps.run(&command).await?.is_success() {
            return Ok(ServiceState { runs: true, words: format!("there is a process `{name}`") });
        }
        Ok(state)
    }

    /// Where nobody looks after an engine, it runs if something answers on its port.
    async fn by_its_port(&self) -> Result<ServiceState, ServiceError> {
        let port = self.node.ports.http;
        match self.transport.dial(&Target::loopback(port)).await {
            Ok(_) => Ok(ServiceState { runs: true, words: format!("port {port} answers") }),
            Err(TransportError::Refused { .. }) => {
                let words = format!("nothing answers on port {port}");
                Ok(ServiceState { runs: false, words })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the engine is as it should be, at most for a while.
    async fn settled(&self, runs: bool) -> Result<ServiceState, ServiceError> {
        let end = Instant::now() + SETTLING;
        loop {
            let state = if runs { self.started().await? } else { self.state().await? };
            if state.runs == runs || Instant::now() > end {
                return Ok(state);
            }
            sleep(PAUSE).await;
        }
    }
}

/// Returns where the files of a node lie whose engine may not be there yet.
pub(crate) fn usual_layout(node: &Node) -> Layout {
    let usual = match node.engine {
        EngineKind::Nginx => "/usr/sbin/nginx",
        EngineKind::Caddy => "/usr/bin/caddy",
        EngineKind::Traefik => "/usr/local/bin/traefik",
        EngineKind::Edge => "/usr/local/bin/portway",
    };
    layout(node, None, Some(&usual.into()))
}
