//! `node drift`: what somebody changed on a node; `node adopt`: takes it over, after it was shown.

use portway_wire::drift::{
    AdoptNode, Adopted, Adoption, Drifted, DriftedFile, NodeDrift, NotAdopted,
};

use crate::{
    args::NodeAdopt,
    cmd::plan,
    exit::{Exit, Failure, Outcome},
    findings::{self, Sources},
    input,
    out::{Paint, clean, unified},
    session::Session,
};

/// `portway node drift`
pub(in crate::cmd) async fn drift(session: &Session, node: &str) -> Outcome {
    let drift = session.client().await?.node_drift(node).await?;
    session.out.show(&drift, |paint| describe(&drift, paint))?;
    Ok(if drift.files.is_empty() { Exit::Ok } else { Exit::Held })
}

/// `portway node adopt`
pub(in crate::cmd) async fn adopt(session: &Session, args: NodeAdopt) -> Outcome {
    let client = session.client().await?;
    let adoption = client.plan_adoption(&args.node).await?;
    let is_whole = adoption.left.is_empty() || args.overwrite_rest;
    if args.dry_run || adoption.sites.is_empty() || !is_whole {
        session.out.show(&adoption, |paint| describe_adoption(&adoption, paint))?;
        if let Some(plan) = &adoption.plan {
            findings::show(&session.out, &plan.findings, &Sources::default())?;
        }
        if args.dry_run || adoption.drift.files.is_empty() {
            return Ok(if is_whole { Exit::Ok } else { Exit::Held });
        }
        let text = if adoption.sites.is_empty() {
            "nothing of it can be taken over; nothing was done"
        } else {
            "not all of it can be taken over; nothing was done"
        };
        return Err(Failure::new(Exit::Held, text)
            .help("put it right as is said above; --overwrite-rest takes over what can be, and overwrites the rest"));
    }
    if !args.yes {
        if !input::is_interactive() {
            return Err(Failure::usage("there is no terminal to ask at")
                .help("--dry-run shows what would be done, --yes does it"));
        }
        session.out.note(&describe_adoption(&adoption, session.out.paint_err))?;
        if !input::confirm("Do it?")? {
            return Err(Failure::new(Exit::Interrupted, "nothing was done"));
        }
    }
    let adopt = AdoptNode {
        seen: adoption.drift.seen,
        overwrite_rest: args.overwrite_rest,
        message: args.message,
    };
    let adopted = client.adopt_node(&args.node, &adopt).await?;
    session.out.note(&told(&adopted))?;
    super::brought(session, &adopted.node)
}

fn told(adopted: &Adopted) -> String {
    let sites = adopted.sites.iter().map(|site| match site.revision {
        Some(revision) => format!("{}: revision {revision}", clean(&site.site)),
        None => format!("{}: not changed", clean(&site.site)),
    });
    sites.collect::<Vec<_>>().join("\n")
}

fn describe(drift: &NodeDrift, paint: Paint) -> String {
    let node = clean(&drift.node);
    let mut text: String = drift.files.iter().map(|file| describe_file(file, paint)).collect();
    if drift.files.is_empty() {
        text = format!("{node} has what Portway put there\n");
    }
    for path in &drift.beside {
        let line = format!("{} is not Portway's; the engine reads it too", clean(path));
        text.push_str(&paint.dim(&line));
        text.push('\n');
    }
    text
}

fn describe_file(file: &DriftedFile, paint: Paint) -> String {
    let what = match file.what {
        Drifted::Changed => paint.warn("~ changed"),
        Drifted::Gone => paint.bad("- gone"),
        Drifted::Unknown => paint.warn("? unknown"),
    };
    let of_site = |site: &String| format!(" ({})", clean(site));
    let site = file.site.as_ref().filter(|site| **site != file.path).map(of_site);
    let note = file.note.as_ref().map(|note| format!("    {}\n", clean(note)));
    let diff = file.diff.as_ref().map(|diff| unified(diff, paint));
    format!(
        "{what} {}{}\n{}{}",
        clean(&file.path),
        site.unwrap_or_default(),
        note.unwrap_or_default(),
        diff.unwrap_or_default()
    )
}

fn describe_adoption(adoption: &Adoption, paint: Paint) -> String {
    let mut text = describe(&adoption.drift, paint);
    if let Some(plan_of_sites) = &adoption.plan {
        text.push('\n');
        text.push_str(&plan::describe(plan_of_sites, plan::nodes::Lengths::Short, paint));
        text.push('\n');
    }
    for left in &adoption.left {
        text.push_str(&describe_left(left, paint));
    }
    text
}

fn describe_left(left: &NotAdopted, paint: Paint) -> String {
    let line = left.line.map(|line| format!(":{line}")).unwrap_or_default();
    let what = left.text.as_ref().map(|text| format!("\n    {}", clean(text))).unwrap_or_default();
    let head = paint.bad(&format!("! {}{line}", clean(&left.path)));
    format!("{head}{what}\n    {}\n    {}\n", clean(&left.why), paint.dim(&clean(&left.remedy)))
}
