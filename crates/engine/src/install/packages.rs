//! An engine from the packages of its distribution.

use std::time::Duration;

use portway_model::EngineKind;

use super::{InstallPlan, InstallStep, NoPlan, Wanted, program::caddyfile};
use crate::{Command, Family, Layout, OsRelease, Ports, Rights, service_name};

/// How long packages may take to be fetched and unpacked.
const INSTALLING: Duration = Duration::from_secs(600);
/// How long lists of packages may take to be read.
const READING: Duration = Duration::from_secs(180);
const SERVICE: Duration = Duration::from_secs(90);

const APT_GET: &str = "/usr/bin/apt-get";
const DNF: &str = "/usr/bin/dnf";
const APK: &str = "/sbin/apk";

/// Plans how an engine comes to a system as a package, or to the newest version that the system has of
/// it. Where it is wanted anew, the welcome page of its package makes room for Portway's sites.
pub fn package_plan(
    os: &OsRelease,
    engine: EngineKind,
    wanted: Wanted,
    layout: &Layout,
    ports: &Ports,
) -> Result<InstallPlan, NoPlan> {
    let Some(family) = os.family() else {
        return Err(NoPlan::System(os.name.clone(), engine));
    };
    let package = match engine {
        EngineKind::Nginx | EngineKind::Caddy => engine.as_str(),
        EngineKind::Traefik | EngineKind::Edge => return Err(NoPlan::Package(engine)),
    };
    let mut steps = vec![InstallStep::Run(install(family, package, wanted))];
    if wanted == Wanted::Installed {
        steps.extend(make_room(family, engine, layout, ports));
    }
    steps.extend(begin(family, engine, wanted).map(InstallStep::Run));
    Ok(InstallPlan {
        by: format!("package `{package}`, by {family}"),
        refresh: refresh(family),
        preview: Some(preview(family, package, wanted)),
        steps,
        undo: Vec::new(),
        undo_from: 0,
        finish: Vec::new(),
        interrupts: interrupts(family, engine),
    })
}

fn refresh(family: Family) -> Option<Command> {
    match family {
        Family::Debian => Some(root(READING, &[APT_GET, "update", "-q"])),
        // It reads its lists when it needs them.
        Family::RedHat => None,
        Family::Alpine => Some(root(READING, &[APK, "update"])),
    }
}

fn install(family: Family, package: &str, wanted: Wanted) -> Command {
    match (family, wanted) {
        (Family::Debian, _) => {
            // Nobody answers questions, files that somebody changed stay as they are, and whoever else
            // installs something is waited for.
            let mut words = vec![
                "/usr/bin/env",
                "DEBIAN_FRONTEND=noninteractive",
                APT_GET,
                "install",
                "-q",
                "-y",
                "--no-install-recommends",
                "-o",
                "Dpkg::Options::=--force-confold",
                "-o",
                "DPkg::Lock::Timeout=120",
            ];
            words.extend((wanted == Wanted::Upgraded).then_some("--only-upgrade"));
            words.push(package);
            root(INSTALLING, &words)
        }
        (Family::RedHat, _) => root(INSTALLING, &[DNF, "-q", "-y", verb(wanted), package]),
        (Family::Alpine, Wanted::Installed) => root(INSTALLING, &[APK, "add", package]),
        (Family::Alpine, Wanted::Upgraded) => root(INSTALLING, &[APK, "add", "--upgrade", package]),
    }
}

/// The page that a package of nginx or Caddy brings would have the port to itself.
fn make_room(
    family: Family,
    engine: EngineKind,
    layout: &Layout,
    ports: &Ports,
) -> Vec<InstallStep> {
    let page = match (family, engine) {
        (Family::Debian, EngineKind::Nginx) => "/etc/nginx/sites-enabled/default",
        (Family::Alpine, EngineKind::Nginx) => "/etc/nginx/http.d/default.conf",
        (_, EngineKind::Caddy) => return caddyfile(layout, ports),
        (Family::RedHat, EngineKind::Nginx) | (_, EngineKind::Traefik | EngineKind::Edge) => {
            return Vec::new();
        }
    };
    vec![InstallStep::Run(root(SERVICE, &["/bin/rm", "-f", page]))]
}

/// Debian's packages start what they bring and renew what runs; others leave that to whoever installs
/// them.
fn begin(family: Family, engine: EngineKind, wanted: Wanted) -> Option<Command> {
    let name = service_name(engine);
    match (family, wanted) {
        (Family::Debian, _) => None,
        (Family::RedHat, Wanted::Installed) => {
            let unit = format!("{name}.service");
            Some(root(SERVICE, &["/usr/bin/systemctl", "enable", &unit]))
        }
        (Family::RedHat, Wanted::Upgraded) => {
            let unit = format!("{name}.service");
            Some(root(SERVICE, &["/usr/bin/systemctl", "try-restart", &unit]))
        }
        (Family::Alpine, Wanted::Installed) => {
            Some(root(SERVICE, &["/sbin/rc-update", "add", name, "default"]))
        }
        (Family::Alpine, Wanted::Upgraded) => {
            Some(root(SERVICE, &["/sbin/rc-service", "--ifstarted", name, "restart"]))
        }
    }
}

const fn interrupts(family: Family, engine: EngineKind) -> &'static str {
    match (family, engine) {
        (Family::Debian, EngineKind::Nginx) => {
            "the package puts the new nginx in the place of the one that runs without closing its ports; where that fails, it restarts it, and connections break"
        }
        (Family::Debian | Family::RedHat | Family::Alpine, _) => {
            "it is restarted: its connections break, and its sites are gone for a moment"
        }
    }
}

fn preview(family: Family, package: &str, wanted: Wanted) -> Command {
    let words: &[&str] = match (family, wanted) {
        (Family::Debian, Wanted::Installed) => {
            &[APT_GET, "-s", "-q", "--no-install-recommends", "install", package]
        }
        (Family::Debian, Wanted::Upgraded) => {
            &[APT_GET, "-s", "-q", "--no-install-recommends", "--only-upgrade", "install", package]
        }
        (Family::RedHat, _) => &[DNF, "-q", "list", package],
        (Family::Alpine, _) => &[APK, "policy", package],
    };
    Command { rights: Rights::Login, ..root(READING, words) }
}

/// Returns the version of a package that would come, from what its manager says beforehand.
pub fn offered(family: Family, package: &str, said: &str) -> Option<String> {
    match family {
        Family::Debian => {
            let line = |line: &str| {
                let rest = line.strip_prefix("Inst ")?.strip_prefix(package)?.strip_prefix(' ')?;
                let version = rest.split_once('(')?.1.split_whitespace().next()?;
                Some(version.to_owned())
            };
            let newest = |line: &str| {
                let rest =
                    line.strip_prefix(package)?.strip_prefix(" is already the newest version (")?;
                Some(rest.split(')').next()?.to_owned())
            };
            said.lines().find_map(|text| line(text).or_else(|| newest(text)))
        }
        Family::RedHat => {
            let line = |line: &str| {
                let mut words = line.split_whitespace();
                let (name, version) = (words.next()?, words.next()?);
                (name.split('.').next()? == package).then(|| version.to_owned())
            };
            // What is installed stands first, what is available after it.
            said.lines().filter_map(line).next_back()
        }
        Family::Alpine => {
            let is_version = |line: &&str| line.starts_with("  ") && line.trim_end().ends_with(':');
            let line = said.lines().find(is_version)?;
            Some(line.trim().trim_end_matches(':').to_owned())
        }
    }
}

const fn verb(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Installed => "install",
        Wanted::Upgraded => "upgrade",
    }
}

fn root(deadline: Duration, words: &[&str]) -> Command {
    let argv = words.iter().map(|word| (*word).to_owned()).collect();
    Command { argv, rights: Rights::Superuser, deadline }
}
