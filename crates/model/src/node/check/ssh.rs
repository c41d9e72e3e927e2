//! How a node is reached over SSH.

use super::{Checked, Faulty, each};
use crate::{
    FieldPath, FindingCode, Findings, HostPort, RemedyAction, did_you_mean,
    node::{
        HostKeyPin, HostKeyPinError, Login, NodeSecret, Ssh, SshHop, SshUser,
        spec::{LoginSecretSpec, LoginSpec, NodeSecretSpec, SshHopSpec, SshSpec},
    },
};

/// The port of SSH where none is written.
const PORT: u16 = 22;
/// As many servers as may lie before a node; more is a mistake, and each costs a login.
const MOST_JUMPS: usize = 4;
/// No key or password is longer; an RSA key of 16,384 bits has 13,000 characters.
const LONGEST_SECRET: usize = 20_000;
const LOGINS: &str = "write `manager`, `agent`, `{key: …}` or `{password: …}`";

pub(super) fn read(spec: &SshSpec, path: &FieldPath, findings: &mut Findings) -> Checked<Ssh> {
    let settings = match spec {
        SshSpec::Address(address) => {
            let to = hop(&Written { address, login: None, host_keys: &[] }, path, path, findings)?;
            return Ok(Ssh { become_root: !to.user.is_root(), to, jump: Vec::new() });
        }
        SshSpec::Settings(settings) => settings,
    };
    let written = Written {
        address: &settings.address,
        login: settings.login.as_ref(),
        host_keys: &settings.host_keys,
    };
    let to = hop(&written, path, &path.key("address"), findings);
    let jump_path = path.key("jump");
    if settings.jump.len() > MOST_JUMPS {
        findings
            .error(
                FindingCode::InvalidValue,
                &jump_path,
                format!("at most {MOST_JUMPS} servers can lie before a node"),
            )
            .remedy("name only those that must be passed through");
    }
    let jump = each(&settings.jump, &jump_path, |server, path| match server {
        SshHopSpec::Address(address) => {
            hop(&Written { address, login: None, host_keys: &[] }, path, path, findings)
        }
        SshHopSpec::Settings(server) => {
            let written = Written {
                address: &server.address,
                login: server.login.as_ref(),
                host_keys: &server.host_keys,
            };
            hop(&written, path, &path.key("address"), findings)
        }
    });
    let to = to?;
    Ok(Ssh { become_root: settings.sudo.unwrap_or(!to.user.is_root()), to, jump: jump? })
}

/// An SSH server as it was written.
struct Written<'a> {
    address: &'a str,
    login: Option<&'a LoginSpec>,
    host_keys: &'a [String],
}

fn hop(
    written: &Written<'_>,
    path: &FieldPath,
    address_path: &FieldPath,
    findings: &mut Findings,
) -> Checked<SshHop> {
    let place = place(written.address, address_path, findings);
    let login = login(written.login, &path.key("login"), findings);
    let keys_path = path.key("host_keys");
    let host_keys = each(written.host_keys, &keys_path, |text, path| {
        text.parse::<HostKeyPin>().map_err(|error: HostKeyPinError| {
            findings
                .error(FindingCode::InvalidValue, path, error.to_string())
                .remedy("take it from `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there");
            Faulty
        })
    });
    if written.host_keys.is_empty() {
        findings
            .warning(
                FindingCode::Advice,
                &keys_path,
                "the host's key is not known yet; nothing is sent to it until it is confirmed",
            )
            .remedy("compare the fingerprint that is shown with the host's own, then confirm it");
    }
    let (user, address) = place?;
    Ok(SshHop { address, user, login: login?, host_keys: host_keys? })
}

/// Reads `user@host:port`; a name may have `@`, a host has none.
fn place(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<(SshUser, HostPort)> {
    const REMEDY: &str = "write it like `deploy@web.example.org` or `root@192.0.2.7:2222`";
    if text.is_empty() {
        findings.error(FindingCode::MissingField, path, "no address is given").remedy(REMEDY);
        return Err(Faulty);
    }
    let Some((user, host)) = text.rsplit_once('@') else {
        findings
            .error(
                FindingCode::MissingField,
                path,
                format!("`{text}` does not say as whom to log in"),
            )
            .remedy_action(
                format!("write `root@{text}`, or another user"),
                RemedyAction::ReplaceValue(format!("root@{text}")),
            );
        return Err(Faulty);
    };
    let user = user.parse::<SshUser>().map_err(|error| {
        findings.error(FindingCode::InvalidName, path, error.to_string()).remedy(REMEDY);
        Faulty
    });
    let address = address(host).map_err(|error| {
        findings.error(FindingCode::InvalidHost, path, error).remedy(REMEDY);
        Faulty
    });
    Ok((user?, address?))
}

/// Reads a host with or without a port.
fn address(text: &str) -> Result<HostPort, String> {
    let bare_ip = text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    if let Ok(ip) = bare_ip {
        return Ok(HostPort { host: ip.to_string(), port: PORT });
    }
    let has_port = text.rsplit_once(':').is_some();
    let written = if has_port { text.to_owned() } else { format!("{text}:{PORT}") };
    written.parse().map_err(|error: crate::HostError| error.to_string())
}

fn login(spec: Option<&LoginSpec>, path: &FieldPath, findings: &mut Findings) -> Checked<Login> {
    match spec {
        None => Ok(Login::Manager),
        Some(LoginSpec::Word(word)) => match word.as_str() {
            "manager" => Ok(Login::Manager),
            "agent" => Ok(Login::Agent),
            other => {
                let finding = findings.error(
                    FindingCode::InvalidValue,
                    path,
                    format!("`{other}` is no way to log in"),
                );
                match did_you_mean(other, ["manager", "agent"]) {
                    Some(meant) => finding.remedy_action(
                        format!("did you mean `{meant}`?"),
                        RemedyAction::ReplaceValue(meant.to_owned()),
                    ),
                    None => finding.remedy(LOGINS),
                }
                Err(Faulty)
            }
        },
        Some(LoginSpec::Secret(spec)) => login_secret(spec, path, findings),
    }
}

fn login_secret(
    spec: &LoginSecretSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Login> {
    let LoginSecretSpec { key, passphrase, password } = spec;
    let mut read = |name: &str, secret: &Option<NodeSecretSpec>| {
        secret.as_ref().map(|secret| self::secret(secret, &path.key(name), findings)).transpose()
    };
    let key = read("key", key);
    let passphrase = read("passphrase", passphrase);
    let password = read("password", password);
    match (key?, passphrase?, password?) {
        (Some(key), passphrase, None) => {
            judge_key(&key, &path.key("key"), findings)?;
            Ok(Login::Key { key, passphrase })
        }
        (None, None, Some(password)) => Ok(Login::Password(password)),
        (None, Some(_), _) => {
            findings
                .error(
                    FindingCode::Conflict,
                    &path.key("passphrase"),
                    "a passphrase opens a key, and there is none",
                )
                .remedy("give `key`, or write `password`");
            Err(Faulty)
        }
        (Some(_), _, Some(_)) => {
            findings
                .error(FindingCode::Conflict, path, "`key` and `password` exclude each other")
                .remedy("remove one of them");
            Err(Faulty)
        }
        (None, None, None) => {
            findings
                .error(FindingCode::MissingField, path, "there is nothing to log in with")
                .remedy("give `key` or `password`, or write `manager` or `agent`");
            Err(Faulty)
        }
    }
}

/// The key itself is never repeated in a finding.
fn judge_key(key: &NodeSecret, path: &FieldPath, findings: &mut Findings) -> Checked<()> {
    let NodeSecret::Plain(text) = key else { return Ok(()) };
    let text = text.trim();
    if text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Ok(());
    }
    let problem = if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
        "this is a public key; a private one logs in"
    } else {
        "this is not a private key"
    };
    findings
        .error(FindingCode::InvalidValue, path, problem)
        .remedy("give the whole text of a file like `~/.ssh/id_ed25519`");
    Err(Faulty)
}

fn secret(spec: &NodeSecretSpec, path: &FieldPath, findings: &mut Findings) -> Checked<NodeSecret> {
    let problem = match spec {
        NodeSecretSpec::Kept(kept) if kept.secret.is_empty() => "the secret has no name",
        NodeSecretSpec::Kept(kept) => return Ok(NodeSecret::Kept(kept.secret.clone())),
        NodeSecretSpec::Plain(text) if text.is_empty() => "it is empty",
        NodeSecretSpec::Plain(text) if text.len() > LONGEST_SECRET => "it is too long",
        NodeSecretSpec::Plain(text) if text.contains('\0') => "it has a NUL in it",
        NodeSecretSpec::Plain(text) => return Ok(NodeSecret::Plain(text.clone())),
    };
    findings
        .error(FindingCode::InvalidValue, path, problem)
        .remedy("write it as it is, or the reference that Portway gave it");
    Err(Faulty)
}
