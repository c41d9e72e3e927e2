//! `plan`: what site files would change, in what is declared and on every node; or what nodes still
//! lack.

pub(super) mod kept;
pub(in crate::cmd) mod nodes;

use camino::Utf8Path;
use portway_model::Finding;
use portway_wire::{
    plan::{EffectAction, NodeEffect, PlanQuery},
    rollout::RolloutStrategy,
    site::Plan,
};

use self::kept::KeptPlan;
use super::apply;
use crate::{
    args::{self, FileArgs, SourceArgs},
    exit::{Exit, Failure, Outcome},
    files,
    findings::{self, Sources},
    out::Paint,
    session::Session,
};

/// How a plan is made and shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish<'a> {
    keep: Option<&'a Utf8Path>,
    query: PlanQuery,
    lengths: nodes::Lengths,
    rollout: Option<RolloutStrategy>,
}

impl Wish<'_> {
    /// Wishes for a plan of what comes to nodes so.
    pub(super) fn of(rollout: &args::RolloutArgs) -> Self {
        Self { rollout: rollout.strategy(), ..Self::default() }
    }
}

/// `portway plan`
pub(super) async fn plan(session: &Session, args: &args::Plan) -> Outcome {
    let wish = Wish {
        keep: args.keep.as_deref(),
        query: PlanQuery { refresh: args.refresh },
        lengths: if args.full { nodes::Lengths::Whole } else { nodes::Lengths::Short },
        rollout: args.rollout.strategy(),
    };
    if args.files.files.is_empty() {
        return pending(session, args, &wish).await;
    }
    of_files(session, &args.files, &args.source, wish).await
}

/// Shows what applying site files would change.
pub(super) async fn of_files(
    session: &Session,
    args: &FileArgs,
    source: &SourceArgs,
    wish: Wish<'_>,
) -> Outcome {
    let out = &session.out;
    let (sources, loaded) = files::read_sound(out, args)?;
    let client = session.client().await?;
    let mut wanted = apply::wanted(args, source, &loaded, None)?;
    wanted.rollout = wish.rollout;
    let plan = apply::ask(session, &client, &wanted, &sources, wish.query).await?;
    out.show(&plan, |paint| describe(&plan, wish.lengths, paint))?;
    findings::show(out, &apply::all_findings(&loaded, &plan), &sources)?;
    if plan.findings.iter().any(Finding::is_error) {
        return Ok(Exit::Findings);
    }
    if let Some(path) = wish.keep {
        KeptPlan::new(args, source, &wanted, plan).write(path)?;
        out.note(&format!("kept in {path}; `portway apply --plan {path}` carries it out"))?;
    }
    Ok(Exit::Ok)
}

/// Shows what nodes still lack of what is declared.
async fn pending(session: &Session, args: &args::Plan, wish: &Wish<'_>) -> Outcome {
    let SourceArgs { source, prune, owner } = &args.source;
    let is_of_files = args.files.env.is_some() || !args.files.set.is_empty();
    let is_of_sites = source.is_some() || *prune || owner.is_some() || wish.rollout.is_some();
    if is_of_files || is_of_sites {
        return Err(Failure::usage("a site file is missing")
            .help("name it with --file; without one, `portway plan` shows what nodes still lack"));
    }
    let out = &session.out;
    let client = session.client().await?;
    let asked = out.progress("the manager compares").during(client.pending(wish.query));
    let plan = asked.await?;
    out.show(&plan, |paint| {
        let text = nodes::describe(&plan, wish.lengths, paint);
        if text.is_empty() { "every node has what is declared".to_owned() } else { text }
    })?;
    findings::show(out, &plan.findings, &Sources::default())?;
    Ok(Exit::Ok)
}

/// An edge is given what is declared: where nothing else gets anything, that says it all.
pub(super) fn describe(plan: &Plan, lengths: nodes::Lengths, paint: Paint) -> String {
    let says_all =
        |effect: &NodeEffect| effect.engine == "edge" && effect.action != EffectAction::Keep;
    let is_said = plan.effects.iter().all(says_all);
    let nodes = if is_said { String::new() } else { nodes::describe(plan, lengths, paint) };
    let waves = nodes::waves(plan, paint);
    format!("{nodes}{waves}{}", apply::describe(plan, paint))
}
