//! Whether an engine runs on a node.

use portway_engine::{Action, Layout, Rights, service_commands, state_command};
use portway_model::{EngineKind, Node};
use portway_transport::{Status, Target, Transport};

use super::{Eye, LOOK, Seen, command, words};
use crate::{step::printed, tools};

/// How many letters of a program's name the kernel keeps for its process.
const KEPT_OF_NAME: usize = 15;

/// An engine that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What says so.
    pub said: String,
    /// Whether it can be started from here.
    pub can_be_started: bool,
}

/// Tells what says that a node's engine does not run; nothing where anything says that it does.
pub(super) async fn see<T: Transport>(
    eye: &Eye<'_, T>,
    node: &Node,
    layout: &Layout,
) -> Seen<Option<Stopped>> {
    if node.engine == EngineKind::Edge {
        // It answers over its control socket, or does not.
        return Ok(None);
    }
    let name: String =
        layout.program.file_name().unwrap_or_default().chars().take(KEPT_OF_NAME).collect();
    let asked = command(&["pgrep", "-x", &name], Rights::Login, LOOK);
    let found = eye.steps.run(&asked).await.map_err(words)?;
    if found.is_success() {
        return Ok(None);
    }
    // 1 is pgrep's own word for none. Programs that start others have other names.
    let has_none = found.status == Status::Exited(1);
    let supervisor =
        tools::supervisor(eye.steps.transport).await.map_err(|error| error.to_string())?;
    let mut said = format!("there is no process `{name}`");
    if let Some(command) = state_command(node.engine, &supervisor) {
        let output = eye.steps.run(&command).await.map_err(words)?;
        if output.is_success() {
            return Ok(None);
        }
        said = format!("{said}, and {supervisor} says `{}`", printed(&output));
    }
    if eye.steps.transport.dial(&Target::loopback(node.ports.http)).await.is_ok() {
        return Ok(None);
    }
    if !has_none {
        return Err("`pgrep` is not on the node".to_owned());
    }
    let can_be_started = service_commands(node.engine, Action::Start, &supervisor, layout).is_ok();
    Ok(Some(Stopped { said, can_be_started }))
}
