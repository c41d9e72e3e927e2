//! Targets that somebody changed, added or took away by hand.

use portway_model::site::spec::{TargetSettingsSpec, TargetSpec, ToSpec};

use super::{
    edit::{Editing, Place, to_of},
    tree::{Difference, Item},
};

/// What stands in a line of a target and follows from settings of the whole upstream. Portway writes
/// it anew; where somebody wrote something else, the proof tells.
const OF_UPSTREAM: [&str; 3] = ["max_fails", "fail_timeout", "max_conns"];

/// Writes the targets of an upstream as they stand there now.
pub(super) fn take(
    editing: &mut Editing<'_>,
    difference: &Difference<'_>,
    place: Place,
) -> Result<(), String> {
    let (before, after) = difference.beside;
    let servers = |items: &'static str, of: &[Item]| -> Vec<String> {
        of.iter().filter(|item| item.name() == items).map(|item| item.arg(0).to_owned()).collect()
    };
    let known = servers("server", before);
    let mut original = editing.original.clone();
    let original = to_of(&mut original, place).ok_or("the site has no such upstream")?;
    let written: Vec<String> = original.targets().into_iter().map(str::to_owned).collect();
    if known.len() != written.len() {
        return Err("the site's targets are not those of this upstream".to_owned());
    }
    let scheme =
        written.first().and_then(|first| first.split_once("://")).map(|(scheme, _)| scheme);
    let text = |address: &str| match known.iter().position(|other| other == address) {
        Some(at) => written.get(at).cloned().unwrap_or_default(),
        None => match scheme {
            Some(scheme) if !address.starts_with("unix:") => format!("{scheme}://{address}"),
            Some(_) | None => address.to_owned(),
        },
    };
    let mut targets = Vec::new();
    for item in after.iter().filter(|item| item.name() == "server") {
        targets.push(target(item, text(item.arg(0)))?);
    }
    if targets.is_empty() {
        return Err("an upstream has at least one target".to_owned());
    }
    let to = to_of(&mut editing.spec, place).ok_or("the site has no such upstream")?;
    match (to, targets.as_slice()) {
        (ToSpec::Upstream(upstream), _) => upstream.targets = targets,
        (to, [TargetSpec::To(one)]) => *to = ToSpec::One(one.clone()),
        (to, _) => *to = ToSpec::Many(targets),
    }
    Ok(())
}

fn target(item: &Item, to: String) -> Result<TargetSpec, String> {
    let (mut weight, mut backup) = (None, None);
    for word in item.args().get(1..).unwrap_or_default() {
        match word.split_once('=') {
            Some(("weight", share)) => {
                weight = Some(share.parse().map_err(|_| "its weight is no number")?);
            }
            Some((name, _)) if OF_UPSTREAM.contains(&name) => {}
            None if word == "backup" => backup = Some(true),
            _ => return Err(format!("no target of a site is `{word}`; take it out instead")),
        }
    }
    if weight.is_none() && backup.is_none() {
        return Ok(TargetSpec::To(to));
    }
    Ok(TargetSpec::Settings(TargetSettingsSpec { to, weight, backup }))
}
