//! An upstream: its targets, how one is chosen, how they are watched.

use std::borrow::Cow;

use portway_model::{
    FieldPath,
    site::{
        Balance, BodyMatch, Ejection, HashKey, HeaderEdits, Health, HostHeader, HttpProbe, Probe,
        StatusRange, Sticky, Target, Upstream, WeightedTarget,
    },
};
use portway_policy::Digest;

use super::{
    headers::is_plain,
    site::Lines,
    syntax::{Directive, Word},
    text::Unwritable,
    transport,
};
use crate::{go_pattern::GoPattern, path::has_whole_escapes};

/// What Caddy itself tells targets.
const OWN: [&str; 3] = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"];

/// For how many seconds a backup stands in where the site does not say how long failures count.
const BACKUP_FOR: u64 = 10;

/// Writes an upstream.
pub(super) fn write(
    lines: &mut Lines<'_>,
    upstream: &Upstream,
    edits: &HeaderEdits,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    lines.from(at);
    lines.open(&[Word::ours("reverse_proxy")])?;
    let targets = in_order(upstream).into_iter().map(|target| address(&target.to));
    lines.put(Directive::new(std::iter::once(Word::ours("to")).chain(targets)))?;
    balance(lines, upstream, at)?;
    retries(lines, upstream, at)?;
    if let Some(health) = &upstream.health
        && why_no_health(health).is_none()
    {
        write_health(lines, health, &at.key("health"))?;
    }
    write_ejection(lines, upstream, &at.key("eject"))?;
    if let Some(most) = most_per_target(upstream) {
        lines.from(&at.key("max_in_flight_per_target"));
        lines.put(number("unhealthy_request_count", most.into()))?;
    }
    if upstream.buffer.0 > 0 && buffers_by_choice(upstream) && lines.facts.is_at_least(2, 7, 0) {
        lines.from(&at.key("buffer"));
        lines.put(number("request_buffers", upstream.buffer.0))?;
    }
    lines.from(&at.key("host"));
    let host = match &upstream.host {
        HostHeader::Preserve => Word::ours("{http.request.hostport}"),
        HostHeader::Target => Word::ours("{http.reverse_proxy.upstream.hostport}"),
        HostHeader::Set(host) => Word::text(host)?,
    };
    lines.put(Directive::new([Word::ours("header_up"), Word::ours("Host"), host]))?;
    own_headers(lines, edits)?;
    transport::write(lines, upstream, at)?;
    lines.close();
    Ok(())
}

/// Writes the changes of headers that Caddy itself sets when it forwards, after all others.
fn own_headers(lines: &mut Lines<'_>, edits: &HeaderEdits) -> Result<(), Unwritable> {
    let HeaderEdits { remove, set, add } = edits;
    let is_own = |name: &str| OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
    let removed = remove.iter().map(|name| (format!("-{name}"), name, None));
    let set = set.iter().map(|(name, value)| (name.clone(), name, Some(value)));
    let added = add.iter().map(|(name, value)| (format!("+{name}"), name, Some(value)));
    for (change, name, value) in removed.chain(set).chain(added) {
        if is_own(name) {
            let value = value.map(|value| Word::text(value)).transpose()?;
            let words = [Word::ours("header_up"), Word::from(change)].into_iter();
            lines.put(Directive::new(words.chain(value)))?;
        }
    }
    Ok(())
}

/// Returns the targets, backups last.
fn in_order(upstream: &Upstream) -> Vec<&WeightedTarget> {
    let (backups, others): (Vec<_>, Vec<_>) =
        upstream.targets.iter().partition(|target| target.backup);
    others.into_iter().chain(backups).collect()
}

fn address(target: &Target) -> Word {
    match target {
        Target::Tcp(address) => Word::from(address.to_string()),
        // What could not be written plainly was refused before (`support`).
        Target::Unix(path) => Word::from(format!("unix/{path}")),
    }
}

fn number(option: &'static str, number: u64) -> Directive {
    Directive::new([Word::ours(option), Word::from(number.to_string())])
}

fn seconds(option: &'static str, seconds: u64) -> Directive {
    Directive::new([Word::ours(option), Word::from(format!("{seconds}s"))])
}

/// Returns how many requests a target gets at once; one target's share is the whole.
pub(super) fn most_per_target(upstream: &Upstream) -> Option<u32> {
    let whole = upstream.max_in_flight.filter(|_| upstream.targets.len() == 1);
    let both = [upstream.max_in_flight_per_target, whole];
    both.into_iter().flatten().min()
}

/// Tells whether the size up to which bodies are read first was chosen.
pub(super) fn buffers_by_choice(upstream: &Upstream) -> bool {
    upstream.buffer != portway_model::site::defaults::buffer(upstream.protocol)
}

fn balance(lines: &mut Lines<'_>, upstream: &Upstream, at: &FieldPath) -> Result<(), Unwritable> {
    // Names that Caddy would read otherwise are left out (`support`).
    if let Some(sticky) = upstream.sticky.as_ref().filter(|sticky| is_plain(&sticky.cookie)) {
        return write_sticky(lines, sticky, &at.key("sticky"));
    }
    if upstream.targets.len() < 2 {
        return Ok(());
    }
    lines.from(&at.key("balance"));
    if upstream.targets.iter().any(|target| target.backup) {
        return lines.put(Directive::new(["lb_policy", "first"]));
    }
    let words: Vec<Word> = match &upstream.balance {
        Balance::RoundRobin if has_weights(upstream) => {
            let weights = upstream.targets.iter().map(|target| target.weight.to_string());
            std::iter::once("weighted_round_robin".to_owned())
                .chain(weights)
                .map(Word::from)
                .collect()
        }
        Balance::LeastRequests => vec!["least_conn".into()],
        Balance::TwoChoices => vec!["random_choose".into(), "2".into()],
        Balance::Hash(HashKey::Client) => vec!["ip_hash".into()],
        Balance::Hash(HashKey::Header(name)) if is_plain(name) => {
            vec!["header".into(), Word::from(name.clone())]
        }
        Balance::RoundRobin | Balance::Hash(HashKey::Header(_) | HashKey::Cookie(_)) => {
            vec!["round_robin".into()]
        }
    };
    lines.put(Directive::new(std::iter::once(Word::ours("lb_policy")).chain(words)))
}

/// Tells whether the targets have different weights.
pub(super) fn has_weights(upstream: &Upstream) -> bool {
    let first = upstream.targets.first().map_or(1, |target| target.weight);
    upstream.targets.iter().any(|target| target.weight != first)
}

/// The cookie is signed with a key that follows from the site's id, which only the installation knows.
fn write_sticky(lines: &mut Lines<'_>, sticky: &Sticky, at: &FieldPath) -> Result<(), Unwritable> {
    let key = Digest::of(format!("caddy sticky {}", lines.site_id()).as_bytes()).to_string();
    lines.from(at);
    let words = ["lb_policy", "cookie"].map(Word::ours);
    let words = words.into_iter().chain([Word::from(sticky.cookie.clone()), Word::from(key)]);
    let is_new = lines.facts.is_at_least(2, 9, 0);
    let age = sticky.ttl.filter(|_| is_new).map(|ttl| seconds("max_age", ttl.0));
    lines.put(Directive::new(words).with_any(age.into_iter().collect()))
}

fn retries(lines: &mut Lines<'_>, upstream: &Upstream, at: &FieldPath) -> Result<(), Unwritable> {
    if upstream.retries.attempts == 0 {
        return Ok(());
    }
    lines.from(&at.key("retries"));
    lines.put(number("lb_retries", upstream.retries.attempts.into()))?;
    lines.put(Directive::new(["lb_try_interval", "10ms"]))
}

fn write_health(lines: &mut Lines<'_>, health: &Health, at: &FieldPath) -> Result<(), Unwritable> {
    let Health { probe, interval, timeout, rise, fall, port } = health;
    // Other probes are left out (`support`).
    let Probe::Http(HttpProbe { path, statuses, body, host, over_tls: _ }) = probe else {
        return Ok(());
    };
    lines.from(at);
    lines.put(Directive::new([Word::ours("health_uri"), Word::text(path)?]))?;
    if let Some(port) = port {
        lines.put(number("health_port", (*port).into()))?;
    }
    lines.put(seconds("health_interval", interval.0))?;
    lines.put(seconds("health_timeout", timeout.0))?;
    if let Some(status) = health_status(statuses) {
        lines.put(Directive::new([Word::ours("health_status"), Word::from(status)]))?;
    }
    if let Some(body) = body {
        let pattern = match body {
            BodyMatch::Contains(text) => Some(GoPattern::containing(text)),
            BodyMatch::Regex(regex) => GoPattern::like(regex).ok(),
        };
        let pattern = pattern.map(|pattern| Word::from(pattern.to_string()));
        lines.put(Directive::new(std::iter::once(Word::ours("health_body")).chain(pattern)))?;
    }
    if let Some(host) = host {
        let host = Directive::new([Word::ours("Host"), Word::text(host)?]);
        lines.put(Directive::new(["health_headers"]).with(vec![host]))?;
    }
    if lines.facts.is_at_least(2, 8, 0) {
        lines.put(number("health_passes", (*rise).into()))?;
        lines.put(number("health_fails", (*fall).into()))?;
    }
    Ok(())
}

/// Returns the status that Caddy waits for; nothing where it is what it always waits for.
fn health_status(statuses: &[StatusRange]) -> Option<String> {
    let mut written = statuses.iter().map(ToString::to_string);
    match (written.next(), written.next()) {
        (Some(one), None) if one == "200-399" => None,
        (Some(one), None) => class(&one).or(Some(one)),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// Tells why Caddy cannot ask targets so, where it cannot; then it does not ask them.
pub(super) fn why_no_health(health: &Health) -> Option<Cow<'static, str>> {
    let Probe::Http(HttpProbe { path, statuses, body, host: _, over_tls }) = &health.probe else {
        return Some("Caddy asks targets by requests only".into());
    };
    let is_char = |c: char| c.is_ascii_graphic() && !"{}`\"\\".contains(c);
    if !can_wait_for(statuses) {
        return Some("Caddy waits for one status, a hundred of them, or 200-399".into());
    }
    if over_tls.is_some() {
        return Some("Caddy asks as it sends requests; `scheme` cannot be set".into());
    }
    if !path.chars().all(is_char) || !has_whole_escapes(path) {
        return Some("the path cannot be written".into());
    }
    match body {
        Some(BodyMatch::Regex(regex)) => {
            GoPattern::like(regex).err().map(|error| error.to_string().into())
        }
        Some(BodyMatch::Contains(_)) | None => None,
    }
}

/// Tells whether Caddy can wait for these statuses: one, a hundred, or the usual ones.
fn can_wait_for(statuses: &[StatusRange]) -> bool {
    match statuses {
        [one] => {
            let one = one.to_string();
            one == "200-399" || !one.contains('-') || class(&one).is_some()
        }
        _ => false,
    }
}

/// Returns a hundred of statuses as Caddy writes it.
fn class(range: &str) -> Option<String> {
    let (from, to) = range.split_once('-')?;
    let hundred = from.strip_suffix("00")?;
    (to == format!("{hundred}99")).then(|| format!("{hundred}xx"))
}

/// Where there are backups, Caddy tries the first target again and again until it is out, so one failure
/// takes it out.
fn write_ejection(
    lines: &mut Lines<'_>,
    upstream: &Upstream,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let has_backup = upstream.targets.iter().any(|target| target.backup);
    lines.from(at);
    let Some(Ejection { failures, within: _, lasts, statuses }) = &upstream.eject else {
        if has_backup {
            lines.put(number("max_fails", 1))?;
            lines.put(seconds("fail_duration", BACKUP_FOR))?;
        }
        return Ok(());
    };
    let failures = if has_backup { &1 } else { failures };
    lines.put(number("max_fails", (*failures).into()))?;
    lines.put(seconds("fail_duration", lasts.0))?;
    if statuses.is_empty() {
        return Ok(());
    }
    let mut bad = Vec::new();
    for range in statuses {
        match class(&range.to_string()) {
            Some(class) => bad.push(class),
            None => bad.extend((100..600).filter(|s| range.contains(*s)).map(|s| s.to_string())),
        }
    }
    let bad = bad.into_iter().map(Word::from);
    lines.put(Directive::new(std::iter::once(Word::ours("unhealthy_status")).chain(bad)))
}
