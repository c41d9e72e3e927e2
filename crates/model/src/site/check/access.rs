//! Who may use a site: networks, and names with passwords.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{Checked, Faulty, each, settings::unknown_word};
use crate::{
    FieldPath, FindingCode, Findings, Name, RemedyAction,
    site::{
        Access, BasicAuth, Password,
        spec::{AccessRulesSpec, AccessSpec, BasicAuthSpec, PasswordSpec, PasswordValueSpec},
    },
};

/// bcrypt reads no further (the 73rd byte makes no difference), so longer passwords would promise
/// more than they hold.
const LONGEST_PASSWORD: usize = 72;

/// Below 4 bcrypt does not work; above 16 each check takes seconds of a core.
const BCRYPT_COST: std::ops::RangeInclusive<u32> = 4..=16;

const HASH_REMEDY: &str =
    "make one with `htpasswd -nB NAME`, or write `{password: …}`, which is hashed at once";

/// Reads who may; nothing means everyone.
pub(super) fn read(
    spec: Option<&AccessSpec>,
    site: &Name,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Access>> {
    match spec {
        None => Ok(None),
        Some(AccessSpec::Word(word)) if word == "public" => Ok(None),
        Some(AccessSpec::Word(word)) => {
            let text = format!("`{word}` does not say who may");
            unknown_word(word, &["public"], text, path, findings);
            Err(Faulty)
        }
        Some(AccessSpec::Rules(rules)) => read_rules(rules, site, path, findings).map(Some),
    }
}

fn read_rules(
    rules: &AccessRulesSpec,
    site: &Name,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Access> {
    if rules.allow.is_none() && rules.deny.is_empty() && rules.basic.is_none() {
        findings
            .error(FindingCode::MissingField, path, "`access` does not say who may")
            .remedy("give `allow`, `deny` or `basic`, or write `access: public`");
        return Err(Faulty);
    }
    let allow = rules
        .allow
        .as_deref()
        .map(|list| each(list, &path.key("allow"), |text, path| network(text, path, findings)))
        .transpose();
    let deny = each(&rules.deny, &path.key("deny"), |text, path| network(text, path, findings));
    let basic = rules
        .basic
        .as_ref()
        .map(|basic| read_basic(basic, site, &path.key("basic"), findings))
        .transpose();
    let access = Access { allow: allow?, deny: deny?, basic: basic? };
    if access.allow.as_ref().is_some_and(Vec::is_empty) {
        findings
            .warning(FindingCode::Advice, &path.key("allow"), "an empty `allow` lets nobody in")
            .remedy("name the addresses that may, or remove `allow`");
    }
    Ok(access)
}

/// Reads an address or a network.
pub(super) fn network(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        refuse_network(text, path, findings);
        return Err(Faulty);
    };
    if network.addr() == network.network() {
        return Ok(network);
    }
    let whole = network.trunc();
    findings
        .error(
            FindingCode::InvalidNetwork,
            path,
            format!("`{text}` is an address within a network, not a network"),
        )
        .remedy_action(
            format!("write `{whole}` for the network, or `{}` for the address", network.addr()),
            RemedyAction::ReplaceValue(whole.to_string()),
        );
    Err(Faulty)
}

fn refuse_network(text: &str, path: &FieldPath, findings: &mut Findings) {
    let finding = findings.error(
        FindingCode::InvalidNetwork,
        path,
        format!("`{text}` is not an address or network"),
    );
    match text {
        "all" | "any" | "*" => finding.remedy("write `0.0.0.0/0` and `::/0` for all addresses"),
        "localhost" => finding.remedy("write `127.0.0.1` and `::1`"),
        _ => finding.remedy("write for example `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`"),
    }
}

fn read_basic(
    spec: &BasicAuthSpec,
    site: &Name,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<BasicAuth> {
    let realm = realm(spec.realm.as_deref(), site, &path.key("realm"), findings);
    let users_path = path.key("users");
    if spec.htpasswd.is_some() {
        findings
            .error(
                FindingCode::InvalidValue,
                &path.key("htpasswd"),
                "`htpasswd` names a file, and only `portway apply` reads files",
            )
            .remedy("write the lines of the file under `users`, or apply a site file");
    } else if spec.users.is_empty() {
        findings
            .error(FindingCode::MissingField, &users_path, "nobody can log in: there are no users")
            .remedy("add `users: {NAME: {password: …}}`");
    }
    let mut users = BTreeMap::new();
    let mut sound = !spec.users.is_empty();
    for (name, password) in &spec.users {
        let path = users_path.key(name);
        let named = user_name(name, &path, findings);
        match (named, read_password(password, &path, findings)) {
            (Ok(()), Ok(password)) => {
                users.insert(name.clone(), password);
            }
            (Ok(()) | Err(Faulty), Ok(_) | Err(Faulty)) => sound = false,
        }
    }
    let realm = realm?;
    if sound { Ok(BasicAuth { realm, users }) } else { Err(Faulty) }
}

fn realm(
    text: Option<&str>,
    site: &Name,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<String> {
    let Some(text) = text else {
        return Ok(site.to_string());
    };
    if !text.is_empty() && !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
        return Ok(text.to_owned());
    }
    findings
        .error(
            FindingCode::InvalidValue,
            path,
            "a realm is a text without quotes, backslashes and control characters",
        )
        .remedy("write a short plain text, for example `staff only`");
    Err(Faulty)
}

/// A colon ends the name in what browsers send, and control characters are not allowed there
/// (RFC 7617 §2).
fn user_name(name: &str, path: &FieldPath, findings: &mut Findings) -> Checked<()> {
    if !name.is_empty() && !name.chars().any(|c| c.is_control() || c == ':') {
        return Ok(());
    }
    findings
        .error(
            FindingCode::InvalidName,
            path,
            "the name of a user has no colon and no control characters, and is not empty",
        )
        .remedy("choose another name");
    Err(Faulty)
}

fn read_password(
    spec: &PasswordSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Password> {
    let value = match spec {
        PasswordSpec::Hash(hash) => {
            return check_hash(hash, path, findings).map(|()| Password::Hash(hash.clone()));
        }
        PasswordSpec::Value(value) => value,
    };
    let PasswordValueSpec { password, secret } = value;
    match (password, secret) {
        (Some(password), None) => {
            check_password(password, &path.key("password"), findings)?;
            Ok(Password::Plain(password.clone()))
        }
        (None, Some(secret)) if !secret.is_empty() => Ok(Password::Secret(secret.clone())),
        (None, Some(_)) => {
            findings
                .error(FindingCode::UnknownSecret, &path.key("secret"), "the secret has no name")
                .remedy("write the name that `portway export` gave it");
            Err(Faulty)
        }
        (None, None) => {
            findings
                .error(FindingCode::MissingField, path, "the user has no password")
                .remedy("write a bcrypt hash, or `{password: …}`");
            Err(Faulty)
        }
        (Some(_), Some(_)) => {
            findings
                .error(FindingCode::Conflict, path, "`password` and `secret` exclude each other")
                .remedy("remove one of them");
            Err(Faulty)
        }
    }
}

fn check_password(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<()> {
    let problem = if text.is_empty() {
        "the password is empty"
    } else if text.len() > LONGEST_PASSWORD {
        "the password has more than 72 bytes, which is where bcrypt stops reading"
    } else if text.chars().any(char::is_control) {
        "the password has a control character, which browsers cannot send"
    } else {
        return Ok(());
    };
    findings
        .error(FindingCode::InvalidValue, path, problem)
        .remedy("choose another password of 1 to 72 bytes");
    Err(Faulty)
}

/// Checks the form of a bcrypt hash. The hash itself is never repeated in a finding.
fn check_hash(hash: &str, path: &FieldPath, findings: &mut Findings) -> Checked<()> {
    let problem = match Hash::of(hash) {
        Hash::Bcrypt => return Ok(()),
        Hash::BcryptCost => "the cost of a bcrypt hash lies between 4 and 16",
        Hash::BcryptForm => "the bcrypt hash is not whole: it has 60 characters",
        Hash::Md5 => "MD5 hashes (`$apr1$`, `$1$`) are broken and not read by all engines",
        Hash::Sha1 => "SHA-1 hashes (`{SHA}`) are broken and not read by all engines",
        Hash::Crypt => "SHA-crypt hashes (`$5$`, `$6$`) are not read by all engines",
        Hash::Unknown => "this is not a bcrypt hash",
    };
    findings.error(FindingCode::InvalidHash, path, problem).remedy(HASH_REMEDY);
    Err(Faulty)
}

/// What a password hash looks like.
enum Hash {
    Bcrypt,
    BcryptCost,
    BcryptForm,
    Md5,
    Sha1,
    Crypt,
    Unknown,
}

impl Hash {
    fn of(text: &str) -> Self {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if starts(&["$apr1$", "$1$"]) {
            return Self::Md5;
        }
        if starts(&["{SHA}", "{SSHA}"]) {
            return Self::Sha1;
        }
        if starts(&["$5$", "$6$"]) {
            return Self::Crypt;
        }
        let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix));
        rest.map_or(Self::Unknown, Self::of_bcrypt)
    }

    fn of_bcrypt(rest: &str) -> Self {
        let Some((cost, body)) = rest.split_once('$') else {
            return Self::BcryptForm;
        };
        let is_body = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/');
        if cost.len() != 2 || body.len() != 53 || !body.bytes().all(is_body) {
            return Self::BcryptForm;
        }
        match cost.parse() {
            Ok(cost) if BCRYPT_COST.contains(&cost) => Self::Bcrypt,
            Ok(_) => Self::BcryptCost,
            Err(_) => Self::BcryptForm,
        }
    }
}
