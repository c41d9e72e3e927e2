//! nginx, Caddy and Traefik come to a node: planned, allowed, done, and proven by a look at it.

use std::sync::Arc;

use portway_deploy::{
    ByOthers, InstallError, Installed, Prospect, Ran, StepError, Wish, carry_out, preflight,
    prospect,
};
use portway_engine::{Command, InstallStep, Rights, Wanted};
use portway_model::{
    EngineKind, FieldPath, Finding, FindingCode, Findings, Node, ResourceKind, node::Connection,
};
use portway_store::NodeRow;
use portway_wire::node::{InstallNode, NodeInstall, NodeInstallStep, NodeProgram};

use super::hands::unreached;
use crate::{Control, ControlError};

impl Control {
    /// Tells how an engine would come to a node.
    pub(super) async fn plan_engine(
        &self,
        row: &NodeRow,
        node: &Node,
        how: &InstallNode,
    ) -> Result<NodeInstall, ControlError> {
        let prospect = self.prospect(row, node, how).await?;
        Ok(report(node, &prospect))
    }

    pub(super) async fn prospect(
        &self,
        row: &NodeRow,
        node: &Node,
        how: &InstallNode,
    ) -> Result<Prospect, ControlError> {
        let wish = wish(node, how)?;
        let seen = match self.inner.fleet.seen_lately(row.id, self.now()) {
            Some(seen) => seen,
            None => Arc::new(self.look_at(row, node).await.map_err(unreached)?),
        };
        let reach = self.reach(row, node).await.map_err(unreached)?;
        prospect(&*reach, node, &seen, &wish).await.map_err(told)
    }
}

impl Control {
    /// Does what was planned, where nothing is in the way, and looks at the node anew.
    pub(super) async fn install_engine(
        &self,
        row: &NodeRow,
        node: &Node,
        how: &InstallNode,
    ) -> Result<NodeInstall, ControlError> {
        // This manager's other errands on the node wait, and it waits for them.
        let turn = self.inner.fleet.workers.turn(row.id).await;
        let prospect = self.prospect(row, node, how).await?;
        let mut report = report(node, &prospect);
        if report.findings.iter().any(Finding::is_error) {
            return Ok(report);
        }
        let reach = self.reach(row, node).await.map_err(unreached)?;
        let done = carry_out(&*reach, node, &prospect).await.map_err(told)?;
        self.inner.fleet.look_at_node(row.id);
        self.prove(row, node, done, &mut report).await?;
        if report.done {
            self.look_after(row, ByOthers::Respect).await;
        }
        drop(turn);
        self.poke_nodes();
        Ok(report)
    }
}

impl Control {
    /// Looks at the node anew, and tells what came of it.
    async fn prove(
        &self,
        row: &NodeRow,
        node: &Node,
        done: Installed,
        report: &mut NodeInstall,
    ) -> Result<(), ControlError> {
        let seen = self.look_at(row, node).await.map_err(unreached)?;
        let mut findings = Findings::about(ResourceKind::Node, node.name.as_str());
        let at = FieldPath::root().key("engine");
        let failed = done.failed.or_else(|| {
            let why = seen.engine.as_ref().err()?;
            Some(format!("{} is still not found: {why}", node.engine))
        });
        report.done = failed.is_none();
        if let Some(why) = failed {
            let remedy = match report.program {
                Some(_) => "see what its steps printed; what was replaced is put back",
                None => {
                    "see what its steps printed; what the package manager has begun stays, and the same command goes on with it"
                }
            };
            findings.error(FindingCode::NodeUnfit, &at, why).remedy(remedy);
        }
        report.findings = findings.into_vec();
        report.findings.extend(preflight(node, &seen).into_iter().map(after));
        report.version = done.offered.or(report.version.take());
        report.installed = seen.engine.as_ref().ok().map(|engine| engine.version.to_string());
        report.state = done.state.words;
        report.steps = done.ran.into_iter().map(step_done).collect();
        Ok(())
    }
}

/// What keeps a node from being deployed to is no fault of an installation that went well.
fn after(mut finding: Finding) -> Finding {
    if finding.is_error() {
        finding.severity = portway_model::Severity::Warning;
    }
    finding
}

fn wish(node: &Node, how: &InstallNode) -> Result<Wish, ControlError> {
    let bad = |text: String| ControlError::BadRequest(text);
    let program = match &how.program {
        Some(path) if !path.starts_with('/') || path.contains('\0') => {
            return Err(bad(format!("`{path}` is no absolute path of a file on {}", node.name)));
        }
        other => other.clone().map(Into::into),
    };
    let digest = how.sha256.as_deref().map(str::parse).transpose();
    let digest = digest.map_err(|_| bad("`sha256` has 64 hexadecimal digits".to_owned()))?;
    if digest.is_some() && program.is_none() {
        return Err(bad("`sha256` is that of `program`, which is missing".to_owned()));
    }
    let wanted = if how.upgrade { Wanted::Upgraded } else { Wanted::Installed };
    Ok(Wish { wanted, program, digest })
}

fn report(node: &Node, prospect: &Prospect) -> NodeInstall {
    let plan = &prospect.plan;
    let program = plan.steps.iter().zip(plan.steps.iter().skip(1)).find_map(|pair| match pair {
        (InstallStep::Run(copy), InstallStep::Prove { digest, .. }) => {
            let path = copy.argv.iter().rev().nth(1)?.clone();
            Some(NodeProgram { path, digest: digest.to_string(), size: None })
        }
        _ => None,
    });
    let interrupts = if prospect.state.runs { plan.interrupts } else { "nothing: it does not run" };
    NodeInstall {
        engine: node.engine.to_string(),
        by: plan.by.clone(),
        version: prospect.offered.clone(),
        installed: prospect.installed.map(|version| version.to_string()),
        state: prospect.state.words.clone(),
        interrupts: interrupts.to_owned(),
        steps: planned(prospect),
        program,
        said: prospect.said.clone(),
        done: false,
        findings: findings(node, prospect),
    }
}

fn planned(prospect: &Prospect) -> Vec<NodeInstallStep> {
    let plan = &prospect.plan;
    let refresh = plan.refresh.iter().map(|command| step(command, None));
    let steps = plan.steps.iter().map(|planned| match planned {
        InstallStep::Run(command) => step(command, None),
        InstallStep::Stage { .. } | InstallStep::Prove { .. } => {
            NodeInstallStep { action: planned.told(), ..NodeInstallStep::default() }
        }
    });
    let start = prospect.start.iter().map(|command| step(command, Some("unless it runs by then")));
    let finish = plan.finish.iter().map(|command| step(command, Some("when all went well")));
    let undo = plan.undo.iter().map(|command| step(command, Some("when something failed")));
    refresh.chain(steps).chain(start).chain(finish).chain(undo).collect()
}

fn step(command: &Command, only: Option<&str>) -> NodeInstallStep {
    NodeInstallStep {
        action: command.argv.join(" "),
        as_root: command.rights == Rights::Superuser,
        deadline_seconds: Some(command.deadline.as_secs()),
        only: only.map(str::to_owned),
        ..NodeInstallStep::default()
    }
}

fn step_done(ran: Ran) -> NodeInstallStep {
    let bare = ran.command.strip_prefix("sudo -n -- ");
    NodeInstallStep {
        action: bare.unwrap_or(&ran.command).to_owned(),
        as_root: bare.is_some(),
        status: Some(ran.status),
        output: ran.output,
        ..NodeInstallStep::default()
    }
}

fn findings(node: &Node, prospect: &Prospect) -> Vec<Finding> {
    let mut findings = Findings::about(ResourceKind::Node, node.name.as_str());
    let engine = FieldPath::root().key("engine");
    if prospect.plan.preview.is_some() && prospect.offered.is_none() {
        let text =
            format!("the packages that the node knows of have no {} that would come", node.engine);
        let remedy = "they are read anew before anything is installed; where there is none even then, nothing is done, and `--program FILE` may be the way";
        findings.warning(FindingCode::NodeUnfit, &engine, text).remedy(remedy);
    }
    if node.engine == EngineKind::Nginx
        && prospect.plan.by.ends_with("apk")
        && node.paths.include.is_none()
    {
        let text = "nginx of Alpine reads sites in /etc/nginx/http.d".to_owned();
        let remedy =
            format!("`portway node set {} --include /etc/nginx/http.d/portway.conf`", node.name);
        findings
            .warning(FindingCode::NodeUnfit, &FieldPath::root().key("paths").key("include"), text)
            .remedy(remedy);
    }
    if prospect.start.is_empty() {
        let text = format!("nothing that Portway knows looks after services on {}", node.name);
        let remedy = format!("have whatever does start {}", node.engine);
        findings.warning(FindingCode::NodeUnfit, &engine, text).remedy(remedy);
    }
    if let Some(first) = prospect.forbidden.first() {
        let text = format!(
            "{} may not run {} commands as root that are needed, `{}` among them",
            prospect.user,
            prospect.forbidden.len(),
            first.argv.join(" ")
        );
        let remedy = match &node.connection {
            Connection::Ssh(_) => format!(
                "`portway node sudoers {} --install` prints the rules of sudo for this one installation (whoever may have a program of their own run as root is root); or log in as root; or do the steps by hand",
                node.name
            ),
            Connection::Local(_) => "do the steps by hand as root".to_owned(),
        };
        findings.error(FindingCode::NodeUnfit, &FieldPath::root().key("ssh"), text).remedy(remedy);
    }
    findings.into_vec()
}

fn told(error: InstallError) -> ControlError {
    if let InstallError::Step(StepError::Transport(error)) = error {
        return unreached(error);
    }
    ControlError::Conflict(error.to_string())
}
