//! Who may use a route: the address first, then name and password.

use portway_model::{
    FieldPath,
    site::{Access, BasicAuth, Password, Route},
};

use super::{
    conditions::greater_than,
    limits,
    names::Draft,
    syntax::{Directive, line},
    value::literal,
};
use crate::{Extension, Secrecy};

/// Tells whether a route has rules that nginx looks at only after it would have answered by itself.
pub(super) fn asks(route: &Route) -> bool {
    route.filters.access.is_some() || limits::are_any(route)
}

/// Returns the rules of a route, and how large its bodies may be.
pub(super) fn of(draft: &mut Draft<'_>, index: usize, route: &Route) -> Vec<Directive> {
    let at = FieldPath::root().key("routes").index(index);
    let mut block = body_size(draft, index, route.filters.max_body.0, &at.key("max_body"));
    block.extend(limits::of(draft, route, &at));
    if let Some(access) = &route.filters.access {
        let Access { allow, deny, basic } = access;
        let at = at.key("access");
        block.extend(networks(allow.as_deref(), deny, &at));
        if let Some(basic) = basic {
            block.extend(password(draft, basic, &at.key("basic")));
        }
    }
    block
}

/// A named location is not asked how large the body that a request announces may be, and 0 would mean
/// that nothing is too large.
fn body_size(draft: &mut Draft<'_>, index: usize, most: u64, at: &FieldPath) -> Vec<Directive> {
    let too_large = [(greater_than(most), "1".to_owned())];
    let suffix = format!("r{index}_large");
    let variable = draft.map(&suffix, "$http_content_length", too_large, "0", at);
    vec![
        line!("if", "(", variable, ")").with(vec![line!("return", "413")]).from_field(at),
        line!("client_max_body_size", most.max(1)).from_field(at),
    ]
}

/// The first rule that fits counts, so what is denied comes first.
fn networks(
    allow: Option<&[ipnet::IpNet]>,
    deny: &[ipnet::IpNet],
    at: &FieldPath,
) -> Vec<Directive> {
    let mut block: Vec<Directive> = deny
        .iter()
        .enumerate()
        .map(|(place, network)| line!("deny", network).from_field(&at.key("deny").index(place)))
        .collect();
    let Some(allow) = allow else {
        block.push(line!("allow", "all").from_field(at));
        return block;
    };
    for (place, network) in allow.iter().enumerate() {
        block.push(line!("allow", network).from_field(&at.key("allow").index(place)));
    }
    block.push(line!("deny", "all").from_field(&at.key("allow")));
    block
}

fn password(draft: &mut Draft<'_>, basic: &BasicAuth, at: &FieldPath) -> Vec<Directive> {
    let BasicAuth { realm, users } = basic;
    let mut file = String::new();
    for (name, password) in users {
        // Whoever has no hash is closed out.
        if let Password::Hash(hash) = password {
            file.extend([name, ":", hash, "\n"]);
        }
    }
    let path = draft.keep(Extension::Htpasswd, Secrecy::Workers, file.into_bytes());
    vec![
        line!("auth_basic", shown(realm)).from_field(&at.key("realm")),
        line!("auth_basic_user_file", path).from_field(&at.key("users")),
    ]
}

/// The realm as browsers can show it. The word `off` would open the route to everyone.
fn shown(realm: &str) -> String {
    let ascii: String =
        realm.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
    if ascii == "off" { "off ".to_owned() } else { literal(&ascii) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_realm_turns_the_password_off() {
        assert_ne!(shown("off"), "off");
        assert_eq!(shown("naïve $x"), "na?ve ${portway_dollar}x");
    }
}
