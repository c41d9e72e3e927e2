//! Who may: the address first, then name and password.

use ipnet::IpNet;
use portway_model::{
    FieldPath,
    site::{Access, BasicAuth, Password, Route},
};

use super::{
    prelude::respond,
    site::Lines,
    syntax::{Directive, Word},
    text::Unwritable,
};

const FORBIDDEN: (&str, &str) = ("403 Forbidden", "403");

/// Writes who may use a route.
pub(super) fn write(
    lines: &mut Lines<'_>,
    route: &Route,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let Some(Access { allow, deny, basic }) = &route.filters.access else { return Ok(()) };
    if !deny.is_empty() {
        lines.from(&at.key("deny"));
        lines.put(addresses(&["@portway_denied"], deny))?;
        lines.put(respond("@portway_denied", FORBIDDEN))?;
    }
    if let Some(allow) = allow {
        lines.from(&at.key("allow"));
        if allow.is_empty() {
            lines.put(respond("*", FORBIDDEN))?;
        } else {
            lines.put(addresses(&["@portway_stranger", "not"], allow))?;
            lines.put(respond("@portway_stranger", FORBIDDEN))?;
        }
    }
    match basic {
        Some(basic) => write_basic(lines, basic, &at.key("basic")),
        None => Ok(()),
    }
}

fn addresses(words: &[&'static str], networks: &[IpNet]) -> Directive {
    let words = words.iter().copied().chain(["remote_ip"]).map(Word::ours);
    Directive::new(words.chain(networks.iter().map(|network| Word::ours(network.to_string()))))
}

/// Where nobody is known, nobody gets in: Caddy refuses a list without users.
fn write_basic(lines: &mut Lines<'_>, basic: &BasicAuth, at: &FieldPath) -> Result<(), Unwritable> {
    lines.from(at);
    let mut users = Vec::new();
    for (name, password) in &basic.users {
        let hash = match password {
            Password::Hash(hash) => hash,
            // A policy holds hashes only; whoever has none cannot get in.
            Password::Plain(_) | Password::Secret(_) => continue,
        };
        users.push(Directive::new([Word::text(name)?, Word::text(hash)?]));
    }
    if users.is_empty() {
        return lines.put(respond("*", ("401 Unauthorized", "401")));
    }
    let directive = if lines.facts.is_at_least(2, 8, 0) { "basic_auth" } else { "basicauth" };
    let words = [directive, "bcrypt"].map(Word::ours);
    let realm = Word::ours(basic.realm.clone());
    lines.put(Directive::new(words.into_iter().chain([realm])).with(users))
}
