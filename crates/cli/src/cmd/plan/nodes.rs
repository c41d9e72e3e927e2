//! What a plan says of nodes, for people: node by node, and where the same comes to several, once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::{Finding, Severity};
use portway_wire::{
    plan::{EffectAction, NodeEffect, PlannedCertificate, PlannedNode},
    site::Plan,
};

use crate::out::{Paint, clean_line, unified};

/// So many lines of a difference are shown.
const LINES: usize = 24;

/// How much of long differences is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cmd) enum Lengths {
    /// Their beginning.
    #[default]
    Short,
    /// All of them.
    Whole,
}

/// Writes what comes to nodes; nothing where nothing does.
pub(super) fn describe(plan: &Plan, lengths: Lengths, paint: Paint) -> String {
    let mut text = String::new();
    let mut told: Vec<&str> = Vec::new();
    for (nodes, effects) in groups(&plan.effects) {
        let known: Vec<&PlannedNode> =
            plan.nodes.iter().filter(|node| nodes.contains(&node.name)).collect();
        text.push_str(&heading(nodes, &known, plan.made_at, paint));
        for effect in effects {
            text.push_str(&describe_effect(effect, lengths, paint));
        }
        for node in known {
            // A node of which several things are told in several groups is described once.
            if !told.contains(&node.name.as_str()) {
                text.push_str(&about(node, nodes.len(), lengths, paint));
                told.push(&node.name);
            }
        }
    }
    for node in plan.nodes.iter().filter(|node| !told.contains(&node.name.as_str())) {
        let names = [node.name.clone()];
        text.push_str(&heading(&names, &[node], plan.made_at, paint));
        text.push_str(&about(node, 1, lengths, paint));
    }
    text
}

/// Writes in which waves it comes to nodes; nothing where it comes to all of them at once.
pub(in crate::cmd) fn waves(plan: &Plan, paint: Paint) -> String {
    let Some(rollout) = &plan.rollout else { return String::new() };
    let waves = rollout.waves.iter().zip(1..);
    let waves = waves.map(|(nodes, at)| format!("{at}. {}", clean_line(&nodes.join(", "))));
    let waves = waves.collect::<Vec<_>>().join("; ");
    let usual = if rollout.usual { " (as always here; --at-once does not)" } else { "" };
    format!("{} {waves}{}\n", paint.bold("in waves:"), paint.dim(usual))
}

/// Returns a line for each site that an engine would refuse.
pub(in crate::cmd) fn refusals(plan: &Plan, paint: Paint) -> Vec<String> {
    let held = plan.effects.iter().filter(|effect| effect.action == EffectAction::Hold);
    let line = |effect: &NodeEffect| {
        let (sites, nodes) = (clean_line(&effect.sites.join(", ")), effect.nodes.join(", "));
        paint.warn(&format!("! {sites} would be held on {}", clean_line(&nodes)))
    };
    held.map(line).collect()
}

/// Puts together what comes to the same nodes, in the order of the plan.
fn groups(effects: &[NodeEffect]) -> Vec<(&[String], Vec<&NodeEffect>)> {
    let mut groups: Vec<(&[String], Vec<&NodeEffect>)> = Vec::new();
    let mut places: BTreeMap<&[String], usize> = BTreeMap::new();
    for effect in effects {
        let nodes = effect.nodes.as_slice();
        let at = *places.entry(nodes).or_insert_with(|| {
            groups.push((nodes, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, group)) = groups.get_mut(at) {
            group.push(effect);
        }
    }
    groups
}

fn heading(
    names: &[String],
    known: &[&PlannedNode],
    now: Option<Timestamp>,
    paint: Paint,
) -> String {
    let engine = known.first().map_or("", |node| node.engine.as_str());
    let version = known.first().and_then(|node| node.engine_version.as_deref());
    let what = match version {
        Some(version) => format!("{engine} {version}"),
        None => engine.to_owned(),
    };
    let oldest = known.iter().map(|node| node.read_at).min().flatten();
    let fresh = match (oldest, now) {
        _ if engine == "edge" => String::new(),
        (Some(at), now) => format!(", read {}", ago(at, now.unwrap_or(at))),
        (None, _) => ", never read".to_owned(),
    };
    let head = paint.bold(&format!("on {}", clean_line(&names.join(", "))));
    format!("{head} {}\n", paint.dim(&format!("({what}{fresh})")))
}

fn describe_effect(effect: &NodeEffect, lengths: Lengths, paint: Paint) -> String {
    let sites = clean_line(&effect.sites.join(", "));
    let head = match effect.action {
        EffectAction::Add => paint.good(&format!("+ add {sites}")),
        EffectAction::Change => paint.warn(&format!("~ change {sites}")),
        EffectAction::Remove => paint.bad(&format!("- remove {sites}")),
        EffectAction::Unchanged => paint.dim(&format!("= {sites} stays as it is there")),
        EffectAction::Hold => paint.bad(&format!("! hold {sites}")),
        EffectAction::Unknown => paint.warn(&format!("? {sites}")),
        EffectAction::Keep => paint.warn(&format!("= {sites} is kept as it is there")),
    };
    let mut text = format!("  {head}\n");
    for finding in &effect.findings {
        text.push_str(&describe_finding(finding, paint));
    }
    for probe in &effect.probes {
        push(&mut text, 4, &paint.dim(&clean_line(&format!("proven by: {probe}"))));
    }
    if let Some(note) = &effect.note {
        push(&mut text, 4, &paint.dim(&clean_line(note)));
    }
    let is_whole = match effect.action {
        EffectAction::Change => true,
        EffectAction::Add
        | EffectAction::Remove
        | EffectAction::Unchanged
        | EffectAction::Hold
        | EffectAction::Unknown
        | EffectAction::Keep => lengths == Lengths::Whole,
    };
    if is_whole {
        for file in &effect.files {
            push(&mut text, 4, &paint.place(&clean_line(&file.file)));
            text.push_str(&difference(&file.diff, lengths, paint));
        }
    } else {
        text.push_str(&counted(effect, paint));
    }
    for certificate in &effect.certificates {
        text.push_str(&describe_certificate(certificate, paint));
    }
    for file in &effect.hidden {
        let line = format!("{} file {}", sign(file.comes), clean_line(&file.file));
        push(&mut text, 4, &painted(file.comes, &line, paint));
    }
    if effect.shortened && effect.engine != "edge" {
        push(&mut text, 4, &paint.dim("what is written there is left out"));
    }
    text
}

fn describe_finding(finding: &Finding, paint: Paint) -> String {
    let line = clean_line(&finding.text);
    let painted = match finding.severity {
        Severity::Error => paint.bad(&line),
        Severity::Warning => paint.warn(&line),
        Severity::Info => paint.dim(&line),
    };
    let mut text = format!("    {painted}\n");
    if let Some(remedy) = &finding.remedy {
        push(&mut text, 6, &clean_line(&remedy.text));
    }
    text
}

fn describe_certificate(certificate: &PlannedCertificate, paint: Paint) -> String {
    let names = clean_line(&certificate.names.join(", "));
    let digest = match &certificate.digest {
        Some(digest) => clean_line(digest),
        None => "yet to be issued".to_owned(),
    };
    let line = format!("{} certificate {names} ({digest})", sign(certificate.comes));
    format!("    {}\n", painted(certificate.comes, &line, paint))
}

/// Says how many lines come and go where they are not shown.
fn counted(effect: &NodeEffect, paint: Paint) -> String {
    let lines = |sign: char| {
        let all = effect.files.iter().flat_map(|file| file.diff.lines());
        all.filter(|line| line.starts_with(sign)).count()
    };
    let (come, go) = (lines('+'), lines('-'));
    let words = match (come, go) {
        (0, 0) => return String::new(),
        (come, 0) => format!("{come} lines come; --full shows them"),
        (0, go) => format!("{go} lines go; --full shows them"),
        (come, go) => format!("{come} lines come, {go} go; --full shows them"),
    };
    format!("    {}\n", paint.dim(&words))
}

fn difference(diff: &str, lengths: Lengths, paint: Paint) -> String {
    let all = diff.lines().count();
    if lengths == Lengths::Whole || all <= LINES + 4 {
        return unified(diff, paint);
    }
    let shown: Vec<&str> = diff.lines().take(LINES).collect();
    let rest = format!("… {} more lines; --full shows them", all - LINES);
    format!("{}    {}\n", unified(&shown.join("\n"), paint), paint.dim(&rest))
}

/// What is to be known of one node.
fn about(node: &PlannedNode, of: usize, lengths: Lengths, paint: Paint) -> String {
    let whose = if of > 1 { format!("{}: ", clean_line(&node.name)) } else { String::new() };
    let mut text = String::new();
    if let Some(problem) = &node.problem {
        let line = format!("{whose}not as it should be: {}", clean_line(problem));
        push(&mut text, 2, &paint.bad(&line));
    }
    if node.draining {
        push(&mut text, 2, &paint.dim(&format!("{whose}draining: no rollout begins with it")));
    }
    for what in &node.foreign {
        push(&mut text, 2, &paint.warn(&format!("{whose}{}", clean_line(what))));
    }
    if let Some(common) = &node.common {
        push(&mut text, 2, &paint.warn(&format!("~ {whose}the node's own part")));
        text.push_str(&difference(common, lengths, paint));
    }
    text
}

/// Adds a line, so far to the right.
fn push(text: &mut String, indent: usize, words: &str) {
    text.extend(std::iter::repeat_n(' ', indent));
    text.push_str(words);
    text.push('\n');
}

fn sign(comes: bool) -> char {
    if comes { '+' } else { '-' }
}

fn painted(comes: bool, line: &str, paint: Paint) -> String {
    if comes { paint.good(line) } else { paint.bad(line) }
}

/// Says how long ago something was, as people say it.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s} ago")
}

#[cfg(test)]
mod tests {
    use portway_model::{FieldPath, FindingCode, Findings, ResourceKind};
    use portway_wire::plan::{FileDiff, HiddenFile};

    use super::*;

    fn numbered(lines: usize) -> String {
        (0..lines).fold(String::new(), |text, n| text + "+line " + &n.to_string() + "\n")
    }

    fn effect(site: &str, nodes: &[&str], action: EffectAction) -> NodeEffect {
        NodeEffect {
            sites: vec![site.to_owned()],
            nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
            engine: "nginx".to_owned(),
            action,
            files: Vec::new(),
            hidden: Vec::new(),
            certificates: Vec::new(),
            findings: Vec::new(),
            probes: Vec::new(),
            note: None,
            shortened: false,
        }
    }

    fn node(name: &str, read_at: Option<&str>) -> PlannedNode {
        PlannedNode {
            name: name.to_owned(),
            engine: "nginx".to_owned(),
            engine_version: Some("1.22.1".to_owned()),
            read_at: read_at.map(|at| at.parse().unwrap()),
            ..PlannedNode::default()
        }
    }

    fn plan() -> Plan {
        let mut change = effect("shop", &["web-1", "web-2"], EffectAction::Change);
        change.files = vec![FileDiff {
            file: "1.conf".to_owned(),
            diff: "@@ -3 +3 @@\n-    listen 80;\n+    listen 8080;\n".to_owned(),
        }];
        change.hidden = vec![HiddenFile { file: "new.htpasswd".to_owned(), comes: true }];
        change.certificates = vec![PlannedCertificate {
            names: vec!["shop.example".to_owned()],
            comes: true,
            digest: None,
        }];
        let mut add = effect("blog", &["web-1", "web-2"], EffectAction::Add);
        let lines = numbered(30);
        add.files = vec![FileDiff { file: "1.conf".to_owned(), diff: lines }];
        let mut hold = effect("chat", &["web-3"], EffectAction::Hold);
        let mut findings = Findings::about(ResourceKind::Site, "chat");
        findings
            .error(FindingCode::Unsupported, &FieldPath::root(), "nginx cannot carry out `limits`")
            .remedy("assign this site to an edge");
        hold.findings = findings.into_vec();
        let mut second = node("web-2", Some("2026-11-22T00:00:00Z"));
        second.foreign = vec!["/etc/nginx/conf.d/old.conf is not Portway's".to_owned()];
        second.draining = true;
        let mut third = node("web-3", None);
        third.problem = Some("it is switched off".to_owned());
        Plan {
            effects: vec![change, hold, add],
            nodes: vec![node("web-1", Some("2026-11-22T00:03:00Z")), second, third],
            made_at: Some("2026-11-22T00:04:30Z".parse().unwrap()),
            ..Plan::default()
        }
    }

    #[test]
    fn a_plan_is_told_node_by_node_and_in_short() {
        let text = describe(&plan(), Lengths::Short, Paint::new(false));
        insta::assert_snapshot!(text, @r"
        on web-1, web-2 (nginx 1.22.1, read 4 minutes ago)
          ~ change shop
            1.conf
            @@ -3 +3 @@
            -    listen 80;
            +    listen 8080;
            + certificate shop.example (yet to be issued)
            + file new.htpasswd
          + add blog
            30 lines come; --full shows them
          web-2: draining: no rollout begins with it
          web-2: /etc/nginx/conf.d/old.conf is not Portway's
        on web-3 (nginx 1.22.1, never read)
          ! hold chat
            nginx cannot carry out `limits`
              assign this site to an edge
          not as it should be: it is switched off
        ");
        assert!(describe(&plan(), Lengths::Short, Paint::new(true)).contains("\u{1b}[32m+ add"));
    }

    #[test]
    fn everything_is_shown_to_whoever_asks_for_it() {
        let text = describe(&plan(), Lengths::Whole, Paint::new(false));
        assert!(text.contains("+line 29"), "{text}");
        let long = numbered(60);
        let short = difference(&long, Lengths::Short, Paint::new(false));
        assert!(short.ends_with("… 36 more lines; --full shows them\n"), "{short}");
    }

    #[test]
    fn waves_are_told_and_what_a_pinned_node_keeps() {
        let mut keep = effect("shop", &["web-4"], EffectAction::Keep);
        keep.note = Some("pinned at revision 3".to_owned());
        let waves = vec![vec!["web-1".to_owned()], vec!["web-2".to_owned(), "local".to_owned()]];
        let strategy = portway_wire::rollout::RolloutStrategy::default();
        let rollout = Some(portway_wire::rollout::PlannedRollout { strategy, waves, usual: true });
        let plan = Plan { effects: vec![keep], rollout, ..Plan::default() };

        let text = describe(&plan, Lengths::Short, Paint::new(false));
        assert!(
            text.ends_with("  = shop is kept as it is there\n    pinned at revision 3\n"),
            "{text}"
        );
        let told = super::waves(&plan, Paint::new(false));
        assert_eq!(
            told,
            "in waves: 1. web-1; 2. web-2, local (as always here; --at-once does not)\n"
        );
    }

    #[test]
    fn what_a_node_says_cannot_command_the_terminal() {
        let mut plan = plan();
        plan.nodes[1].foreign = vec!["/etc/\u{1b}]0;x\u{7}".to_owned()];
        plan.nodes[2].problem = Some("\u{1b}[2J".to_owned());
        let text = describe(&plan, Lengths::Whole, Paint::new(false));
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn what_would_be_held_is_said_before_anything_is_written() {
        assert_eq!(refusals(&plan(), Paint::new(false)), ["! chat would be held on web-3"]);
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        let at: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let after = |seconds: i64| ago(at, at + jiff::SignedDuration::from_secs(seconds));
        assert_eq!(after(-3), "0 seconds ago");
        assert_eq!(after(1), "1 second ago");
        assert_eq!(after(3_599), "59 minutes ago");
        assert_eq!(after(86_400), "1 day ago");
    }
}
