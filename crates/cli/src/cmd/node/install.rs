//! `node install`: says what it will do, asks, and has the manager do it.

use portway_wire::node::NodeInstall;

use crate::{
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    input,
    out::{Paint, clean},
    session::Session,
};

/// `portway node install`
pub(in crate::cmd) async fn install(
    session: &Session,
    node: &str,
    yes: bool,
    dry_run: bool,
) -> Outcome {
    let client = session.client().await?;
    let plan = client.plan_install(node).await?;
    if dry_run || plan.findings.iter().any(portway_model::Finding::is_error) {
        return finish(session, &plan);
    }
    if !yes {
        if !input::is_interactive() {
            return Err(Failure::usage("there is no terminal to ask at")
                .help("--dry-run shows what would be done, --yes does it"));
        }
        session.out.note(&describe(&plan, session.out.paint_err))?;
        if !input::confirm("Do it?")? {
            return Err(Failure::new(Exit::Interrupted, "nothing was done"));
        }
    }
    let done = client.install_node(node).await?;
    finish(session, &done)
}

fn finish(session: &Session, report: &NodeInstall) -> Outcome {
    session.out.show(report, |paint| describe(report, paint))?;
    findings::show(&session.out, &report.findings, &Sources::default())?;
    let is_fit = !report.findings.iter().any(portway_model::Finding::is_error);
    Ok(if is_fit { Exit::Ok } else { Exit::Findings })
}

fn describe(report: &NodeInstall, paint: Paint) -> String {
    let NodeInstall { version, size, path, command, running, done, output, .. } = report;
    let running = running.as_ref().map_or("none answers".to_owned(), |version| clean(version));
    let size = size.div_ceil(1 << 20);
    let (sent, run) = if *done { ("sent", "ran") } else { ("sends", "runs") };
    let mut lines = vec![
        ("edge", running),
        (sent, format!("version {}, {size} MiB, to {}", clean(version), clean(path))),
        (run, format!("as root: {}", clean(command))),
    ];
    lines.extend(output.iter().flat_map(|text| text.lines()).map(|line| ("", clean(line))));
    let line =
        |(name, value): (&str, String)| format!("{} {value}\n", paint.dim(&format!("{name:<9}")));
    lines.into_iter().map(line).collect()
}
