//! `ca show|list|renew|trust|untrust`: what is trusted is a plan that `portway-cert` makes; it is
//! shown and carried out here.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_cert::trust::{
    Machine, OnFailure, System, TrustStep, TrustedRoot, anchor_folders, nss_folders, programs,
};
use portway_wire::system::{RootState, RootView};
use tempfile::TempPath;

use crate::{
    exit::{Exit, Failure, Outcome},
    out::{Table, clean, time},
    session::Session,
};

/// `portway ca show`
pub(super) async fn show(session: &Session) -> Outcome {
    let pem = session.public_client().await?.local_root().await?;
    session.out.show(&serde_json::json!({ "pem": pem }), |_| pem.clone())?;
    Ok(Exit::Ok)
}

/// `portway ca list`
pub(super) async fn list(session: &Session) -> Outcome {
    let roots = session.public_client().await?.local_roots().await?.items;
    session.out.list(&roots, root_table, "no root yet")?;
    Ok(Exit::Ok)
}

/// `portway ca renew`
pub(super) async fn renew(session: &Session, step: RenewStep) -> Outcome {
    let client = session.client().await?;
    let (root, next) = match step {
        RenewStep::Prepare => (client.renew_root().await?, PREPARED),
        RenewStep::Activate => (client.activate_root().await?, ACTIVATED),
    };
    session.out.show(&root, |_| {
        let ends = time(root.not_after);
        format!(
            "root {}: {}\nsha-256 {}, until {ends}\n\n{next}",
            root.number,
            clean(&root.name),
            root.fingerprint
        )
    })?;
    Ok(Exit::Ok)
}

/// What `ca renew` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RenewStep {
    /// Makes the next root.
    Prepare,
    /// Lets it issue.
    Activate,
}

const PREPARED: &str = "\
It issues nothing yet, and the sites keep their certificates. Next:
  1. on every device that uses the sites: `portway ca trust`, or import the file from /api/v1/ca
     anew (it holds both roots);
  2. when all of them have it: `portway ca renew --activate`.
Where nobody does, it takes over 30 days before the root before it ends.
";

const ACTIVATED: &str = "\
It issues from here on, and every site gets a new certificate within minutes (`portway cert list`).
Devices that do not trust it yet warn of the sites: run `portway ca trust` there. The root before it
stays in the download until its end; programs that have it may keep it.
";

fn root_table(roots: &[RootView]) -> Table {
    let rows = roots.iter().map(|root| {
        let state = match root.state {
            RootState::Prepared => "prepared",
            RootState::Active => "active",
            RootState::Retired => "retired",
        };
        [
            root.number.to_string(),
            state.to_owned(),
            root.name.clone(),
            time(root.not_after),
            root.fingerprint.chars().take(16).collect(),
        ]
    });
    Table::new(["root", "state", "name", "ends", "sha-256"]).right("root").rows(rows)
}

/// `portway ca trust`
pub(super) async fn trust(session: &Session, dry_run: bool) -> Outcome {
    carry_out(session, dry_run, TrustedRoot::install).await
}

/// `portway ca untrust`
pub(super) async fn untrust(session: &Session, dry_run: bool) -> Outcome {
    carry_out(session, dry_run, TrustedRoot::remove).await
}

/// Carries a plan out for each root that is in use or will be.
async fn carry_out(
    session: &Session,
    dry_run: bool,
    plan: impl Fn(&TrustedRoot, &Machine, &Utf8Path) -> Vec<TrustStep>,
) -> Outcome {
    let roots = session.public_client().await?.local_roots().await?.items;
    let machine = look();
    let mut lines = Vec::new();
    for root in roots {
        let trusted = TrustedRoot::new(&root.pem)
            .map_err(|error| Failure::failed("the root cannot be read").because(&error))?;
        let copy = Copy::of(&root.pem)?;
        let steps = plan(&trusted, &machine, &copy.path);
        if dry_run {
            lines.extend(steps.iter().map(describe));
        } else {
            take(session, &steps, copy).await?;
        }
    }
    if dry_run {
        session.out.show(&lines, |_| lines.join("\n"))?;
    } else {
        session.out.note("done; programs that are running take it over when they are restarted")?;
    }
    Ok(Exit::Ok)
}

async fn take(session: &Session, steps: &[TrustStep], copy: Copy) -> Result<(), Failure> {
    for step in steps {
        if !matches!(step, TrustStep::Tell { .. }) {
            session.out.note(&describe(step))?;
        }
        perform(session, step).await?;
    }
    let names_it = |step: &TrustStep| matches!(step, TrustStep::Tell { text } if text.contains(copy.path.as_str()));
    if steps.iter().any(names_it) {
        copy.keep()?;
    }
    Ok(())
}

/// The root in a file of its own, for what wants one. It is gone at the end, unless it is kept.
struct Copy {
    file: TempPath,
    path: Utf8PathBuf,
}

impl Copy {
    fn of(pem: &str) -> Result<Self, Failure> {
        let mut file = tempfile::Builder::new().prefix("portway-ca-").suffix(".crt").tempfile()?;
        file.write_all(pem.as_bytes())?;
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
        let file = file.into_temp_path();
        let path = Utf8PathBuf::from_path_buf(file.to_path_buf())
            .map_err(|_| Failure::failed("the folder for temporary files has no readable name"))?;
        Ok(Self { file, path })
    }

    /// Leaves the file for who has been told to use it by hand.
    fn keep(self) -> Result<(), Failure> {
        self.file.keep().map(drop).map_err(|error| Failure::from(error.error))
    }
}

/// Looks at what this machine has.
fn look() -> Machine {
    let system = if cfg!(target_os = "macos") { System::MacOs } else { System::Linux };
    let exists = |folder: &Utf8Path| folder.is_dir().then(|| folder.to_owned());
    let path = std::env::var("PATH").unwrap_or_default();
    let installed =
        |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    Machine {
        system,
        folders: anchor_folders().filter_map(exists).collect(),
        programs: programs()
            .into_iter()
            .filter(|name| installed(name))
            .map(str::to_owned)
            .collect(),
        nss_databases: std::env::var("HOME")
            .map(|home| databases(Utf8Path::new(&home)))
            .unwrap_or_default(),
    }
}

/// Returns the NSS databases of a user: folders that hold `cert9.db`, or whose subfolders do.
fn databases(home: &Utf8Path) -> BTreeSet<Utf8PathBuf> {
    let holds = |folder: &Utf8Path| folder.join("cert9.db").is_file();
    let mut found = BTreeSet::new();
    for folder in nss_folders(home) {
        let below = folder.read_dir_utf8().into_iter().flatten().flatten();
        let profiles = below.map(|entry| entry.path().to_owned());
        found.extend(profiles.chain([folder.clone()]).filter(|folder| holds(folder)));
    }
    found
}

fn describe(step: &TrustStep) -> String {
    match step {
        TrustStep::Write { path, .. } => format!("write {path}"),
        TrustStep::Remove { path } => format!("remove {path}"),
        TrustStep::Run { argv, .. } => format!("run {}", argv.join(" ")),
        TrustStep::Tell { text } => text.clone(),
    }
}

async fn perform(session: &Session, step: &TrustStep) -> Result<(), Failure> {
    match step {
        TrustStep::Write { path, content } => {
            fs::write(path, content).map_err(|error| refused(step, &error))?;
            let readable = fs::Permissions::from_mode(0o644);
            fs::set_permissions(path, readable).map_err(|error| refused(step, &error))
        }
        TrustStep::Remove { path } => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(step, &error)),
            Ok(()) | Err(_) => Ok(()),
        },
        TrustStep::Run { argv, on_failure } => run(step, argv, *on_failure).await,
        TrustStep::Tell { text } => session.out.error(text),
    }
}

async fn run(step: &TrustStep, argv: &[String], on_failure: OnFailure) -> Result<(), Failure> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| refused(step, &error))?;
    match (output.status.success(), on_failure) {
        (true, _) | (false, OnFailure::Ignore) => Ok(()),
        (false, OnFailure::Stop) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::failed(format!("`{}` failed: {}", argv.join(" "), said.trim())))
        }
    }
}

fn refused(step: &TrustStep, error: &io::Error) -> Failure {
    let failure = Failure::failed(format!("cannot {}", describe(step))).because(error);
    if error.kind() == io::ErrorKind::PermissionDenied {
        return failure.help("run it as root: sudo portway ca trust");
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_databases_of_browsers_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(folder.path()).unwrap();
        let shared = home.join(".pki/nssdb");
        let profile = home.join(".mozilla/firefox/abc.default");
        let empty = home.join(".mozilla/firefox/empty");
        for folder in [&shared, &profile, &empty] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(shared.join("cert9.db"), "").unwrap();
        fs::write(profile.join("cert9.db"), "").unwrap();
        assert_eq!(databases(home), BTreeSet::from([shared, profile]));
    }

    #[test]
    fn the_copy_of_the_root_can_be_read_by_everyone_and_leaves_nothing_behind() {
        let copy = Copy::of("pem").unwrap();
        let path = copy.path.clone();
        assert_eq!(fs::read_to_string(&path).unwrap(), "pem");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        drop(copy);
        assert!(!path.exists());
    }

    #[test]
    fn a_copy_that_is_used_by_hand_stays() {
        let copy = Copy::of("pem").unwrap();
        let path = copy.path.clone();
        copy.keep().unwrap();
        fs::remove_file(path).unwrap();
    }
}
