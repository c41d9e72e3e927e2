//! `node install`: says what it will do, asks, and has the manager do exactly that.

use portway_wire::node::{InstallNode, NodeInstall, NodeInstallStep};

use crate::{
    args::NodeInstallArgs,
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    input,
    out::{Paint, clean, or_dash},
    session::Session,
};

/// `portway node install`
pub(in crate::cmd) async fn install(session: &Session, args: NodeInstallArgs) -> Outcome {
    let NodeInstallArgs { node, upgrade, program, sha256, yes, dry_run } = args;
    let client = session.client().await?;
    let how = InstallNode { upgrade, program, sha256 };
    let plan = client.plan_install(&node, &how).await?;
    if dry_run || plan.findings.iter().any(portway_model::Finding::is_error) {
        return finish(session, &plan);
    }
    if !yes {
        if !input::is_interactive() {
            return Err(Failure::usage("there is no terminal to ask at")
                .help("--dry-run shows what would be done, --yes does it"));
        }
        session.out.note(&describe(&plan, session.out.paint_err))?;
        findings::show(&session.out, &plan.findings, &Sources::default())?;
        if !input::confirm("Do it?")? {
            return Err(Failure::new(Exit::Interrupted, "nothing was done"));
        }
    }
    let done = client.install_node(&node, &as_shown(how, &plan)).await?;
    finish(session, &done)
}

/// The program on the node must still be the one that was shown.
fn as_shown(how: InstallNode, plan: &NodeInstall) -> InstallNode {
    let shown = plan.program.as_ref().map(|program| program.digest.clone());
    let sha256 = how.program.is_some().then_some(shown).flatten().or(how.sha256);
    InstallNode { sha256, ..how }
}

fn finish(session: &Session, report: &NodeInstall) -> Outcome {
    session.out.show(report, |paint| describe(report, paint))?;
    findings::show(&session.out, &report.findings, &Sources::default())?;
    let is_fit = !report.findings.iter().any(portway_model::Finding::is_error);
    Ok(if is_fit { Exit::Ok } else { Exit::Findings })
}

fn describe(report: &NodeInstall, paint: Paint) -> String {
    let comes = if report.done { "came" } else { "comes" };
    let version = or_dash(report.version.as_ref());
    let mut lines = vec![
        (report.engine.as_str(), or_dash(report.installed.as_ref())),
        ("state", report.state.clone()),
        (comes, format!("{version}: {}", report.by)),
    ];
    if let Some(program) = &report.program {
        let size = program.size.map(|size| format!(", {} MiB", size.div_ceil(1 << 20)));
        lines.push(("program", format!("{}{}", program.path, size.unwrap_or_default())));
    }
    if !report.done {
        lines.push(("breaks off", report.interrupts.clone()));
    }
    let line = |(name, value): (&str, String)| {
        format!("{} {}\n", paint.dim(&format!("{name:<10}")), clean(&value))
    };
    let head: String = lines.into_iter().map(line).collect();
    let steps: String = report.steps.iter().map(|step| describe_step(step, paint)).collect();
    head + &steps
}

/// One line for a step, and what it printed below it.
fn describe_step(step: &NodeInstallStep, paint: Paint) -> String {
    let mark = if step.as_root { "#" } else { "$" };
    let mut text = format!("{mark} {}", clean(&step.action));
    if let Some(status) = &step.status {
        text.push_str(": ");
        text.push_str(&clean(status));
    }
    let deadline = step.deadline_seconds.map(|seconds| format!("at most {seconds} s"));
    let notes: Vec<_> = deadline.into_iter().chain(step.only.clone()).collect();
    if !notes.is_empty() {
        text.push_str(&paint.dim(&format!("  ({})", clean(&notes.join("; ")))));
    }
    text.push('\n');
    for line in step.output.lines() {
        text.push_str("  ");
        text.push_str(&clean(line));
        text.push('\n');
    }
    text
}
