//! Who may use a block: networks, and names with passwords from a file.

use indexmap::IndexMap;
use ipnet::IpNet;
use portway_model::site::spec::{AccessRulesSpec, AccessSpec, BasicAuthSpec, PasswordSpec};
use portway_sitefile::read_htpasswd;

use super::{Cx, scope::Scope};
use crate::{
    networks::{self, Lists},
    passwords::is_bcrypt,
    report::Id,
    sites::nobody,
};

/// Returns who may; nothing means everybody.
pub(super) fn of(scope: &Scope, cx: &mut Cx<'_>) -> Option<AccessSpec> {
    if scope.closed {
        return Some(nobody());
    }
    if scope.real_ip && !scope.rules.is_empty() {
        let why = "the address is told by a proxy before nginx; say of the node whom to trust, then who may";
        for id in &scope.rule_ids {
            cx.ledger.closes(*id, format!("{why}; nobody is let in"));
        }
        return Some(nobody());
    }
    let Some(lists) = networks::lists(&scope.rules) else {
        for id in &scope.rule_ids {
            cx.ledger.closes(*id, "these rules are too many networks; nobody is let in");
        }
        return Some(nobody());
    };
    let Lists { allow, deny } = lists;
    let allow = match (allow, &scope.only) {
        (Some(allow), Some(only)) => Some(networks::both(&allow, only)),
        (None, Some(only)) => Some(only.clone()),
        (allow, None) => allow,
    };
    let basic = match &scope.realm {
        Some((id, Some(realm))) => match basic(*id, realm, scope, cx) {
            Some(basic) => Some(basic),
            None => return Some(nobody()),
        },
        Some((_, None)) | None => None,
    };
    if let (Some(any), Some(_), true) = (scope.any, &basic, allow.is_some() || !deny.is_empty()) {
        let note =
            "both must hold here, the address and the password: fewer are let in than before";
        cx.ledger.approximated(any, note);
    }
    if allow.is_none() && deny.is_empty() && basic.is_none() {
        return None;
    }
    let texts = |nets: Vec<IpNet>| nets.into_iter().map(networks::text).collect::<Vec<String>>();
    let rules = AccessRulesSpec { allow: allow.map(texts), deny: texts(deny), basic };
    Some(AccessSpec::Rules(rules))
}

/// Returns the users of a password file. Nobody gets in where there are none that can be kept.
fn basic(id: Id, realm: &str, scope: &Scope, cx: &mut Cx<'_>) -> Option<BasicAuthSpec> {
    let Some((file_id, path)) = &scope.users else {
        cx.ledger.closes(id, "there is no file of passwords; nobody is let in");
        return None;
    };
    let path = cx.folder.join(path);
    let text = match cx.tree.read(&path) {
        Ok(text) => text,
        Err(error) => {
            let note = format!("{path}: {error}; nobody is let in");
            cx.ledger.closes(*file_id, note);
            return None;
        }
    };
    let (mut users, mut lost) = (IndexMap::new(), Vec::new());
    for (number, user) in read_htpasswd(&text) {
        match user {
            Ok((name, hash)) if is_bcrypt(&hash) => {
                users.entry(name).or_insert(PasswordSpec::Hash(hash));
            }
            Ok((name, _)) => lost.push(name),
            Err(_) => lost.push(format!("line {number}")),
        }
    }
    if users.is_empty() {
        let note =
            format!("{path} has no user with a bcrypt hash (`htpasswd -B`); nobody is let in");
        cx.ledger.closes(*file_id, note);
        return None;
    }
    if !lost.is_empty() {
        let note = format!("without a bcrypt hash, and so not taken over: {}", lost.join(", "));
        cx.ledger.approximated(*file_id, note);
    }
    let is_realm =
        !realm.is_empty() && !realm.chars().any(|c| c.is_control() || c == '"' || c == '\\');
    let realm = is_realm.then(|| realm.to_owned());
    Some(BasicAuthSpec { realm, users, htpasswd: None })
}
