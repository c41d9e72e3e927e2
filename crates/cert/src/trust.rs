//! How a machine comes to trust a root, and how it ceases to.
//!
//! This is a plan only: it is computed from what the machine has, can be shown before anything
//! happens, and somebody else carries it out. Every step may be repeated without harm.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{InspectError, inspect};

/// A root that is to be trusted, or not any more.
#[derive(Clone, Debug)]
pub struct TrustedRoot {
    pem: String,
    nickname: String,
    file_stem: String,
}

/// What the machine has of what matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The system.
    pub system: System,
    /// The folders among [`anchor_folders`] that exist.
    pub folders: BTreeSet<Utf8PathBuf>,
    /// The programs among [`programs`] that are installed.
    pub programs: BTreeSet<String>,
    /// The NSS databases that exist, of those below [`nss_folders`].
    pub nss_databases: BTreeSet<Utf8PathBuf>,
}

/// The kinds of systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Linux and what keeps its anchors alike.
    Linux,
    /// macOS.
    MacOs,
}

/// One step of a plan, in the order of its carrying out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustStep {
    /// Write a file that everyone can read.
    Write {
        /// Where.
        path: Utf8PathBuf,
        /// What.
        content: String,
    },
    /// Remove a file if it is there.
    Remove {
        /// Which.
        path: Utf8PathBuf,
    },
    /// Run a program, no shell involved.
    Run {
        /// The program and its arguments.
        argv: Vec<String>,
        /// What a failure means.
        on_failure: OnFailure,
    },
    /// Tell the user what the machine cannot do by itself.
    Tell {
        /// The words.
        text: String,
    },
}

/// What the failure of a program means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The plan failed.
    Stop,
    /// There was nothing to do; go on.
    Ignore,
}

/// A place where systems keep their anchors.
struct Store {
    /// Its folder.
    folder: &'static str,
    /// The program that takes the folder over, with its arguments.
    update: &'static [&'static str],
    /// Where the program leaves a link to an anchor that is gone. It is out of the bundle then, and
    /// the link leads nowhere; it is removed for order's sake.
    links: Option<&'static str>,
}

/// In this order; a machine uses the first that it has whole.
const STORES: [Store; 4] = [
    // Debian, Ubuntu, Alpine.
    Store {
        folder: "/usr/local/share/ca-certificates",
        update: &["update-ca-certificates"],
        links: Some("/etc/ssl/certs"),
    },
    // RHEL, Fedora and relatives.
    Store {
        folder: "/etc/pki/ca-trust/source/anchors",
        update: &["update-ca-trust", "extract"],
        links: None,
    },
    // openSUSE.
    Store { folder: "/etc/pki/trust/anchors", update: &["update-ca-certificates"], links: None },
    // Arch.
    Store {
        folder: "/etc/ca-certificates/trust-source/anchors",
        update: &["trust", "extract-compat"],
        links: None,
    },
];

const CERTUTIL: &str = "certutil";

/// Returns the folders to look for.
pub fn anchor_folders() -> impl Iterator<Item = &'static Utf8Path> {
    STORES.iter().map(|store| Utf8Path::new(store.folder))
}

/// Returns the programs to look for.
pub fn programs() -> BTreeSet<&'static str> {
    STORES.iter().filter_map(|store| store.update.first().copied()).chain([CERTUTIL]).collect()
}

/// Returns the folders of a user that may be NSS databases (holding `cert9.db`), or have them as
/// subfolders: Chromium's, and the profiles of Firefox as package, snap and flatpak.
pub fn nss_folders(home: &Utf8Path) -> Vec<Utf8PathBuf> {
    let below = [
        ".pki/nssdb",
        ".mozilla/firefox",
        "snap/firefox/common/.mozilla/firefox",
        ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ];
    below.into_iter().map(|folder| home.join(folder)).collect()
}

impl TrustedRoot {
    /// Takes a root in PEM.
    pub fn new(pem: &str) -> Result<Self, InspectError> {
        let root = inspect(pem)?;
        let id: String = root.fingerprint.chars().take(16).collect();
        Ok(Self {
            pem: pem.to_owned(),
            nickname: format!("Portway local authority {id}"),
            file_stem: format!("portway-local-{id}"),
        })
    }

    /// Plans how the machine comes to trust the root. `copy` is a file with the root that the user
    /// of the plan can read, for what wants a file of its own.
    pub fn install(&self, machine: &Machine, copy: &Utf8Path) -> Vec<TrustStep> {
        let mut steps = match machine.system {
            System::Linux => self.install_on_linux(machine, copy),
            System::MacOs => vec![self.tell_macos("add-trusted-cert -d -r trustRoot -k", copy)],
        };
        for database in nss_databases(machine) {
            // Adding a certificate twice under one name is an error of certutil.
            steps.push(self.nss_remove(database));
            steps.push(self.nss_add(database, copy));
        }
        steps.extend(nss_hint(machine, "trust"));
        steps
    }

    /// Plans how the machine ceases to trust the root.
    pub fn remove(&self, machine: &Machine, copy: &Utf8Path) -> Vec<TrustStep> {
        let mut steps = match machine.system {
            System::Linux => self.remove_on_linux(machine),
            System::MacOs => vec![self.tell_macos("remove-trusted-cert -d", copy)],
        };
        steps.extend(nss_databases(machine).map(|database| self.nss_remove(database)));
        steps.extend(nss_hint(machine, "forget"));
        steps
    }

    fn install_on_linux(&self, machine: &Machine, copy: &Utf8Path) -> Vec<TrustStep> {
        match store(machine) {
            Some(store) => vec![
                TrustStep::Write { path: self.anchor(store), content: self.pem.clone() },
                update(store),
            ],
            None => vec![TrustStep::Tell {
                text: format!(
                    "no trust store of this system is known (install the package \
                     `ca-certificates`, then run this again); programs can be given {copy} by hand"
                ),
            }],
        }
    }

    fn remove_on_linux(&self, machine: &Machine) -> Vec<TrustStep> {
        let Some(store) = store(machine) else {
            return Vec::new();
        };
        let link = store.links.map(|folder| Utf8Path::new(folder).join(self.file_name("pem")));
        let paths = [self.anchor(store)].into_iter().chain(link);
        let removals = paths.map(|path| TrustStep::Remove { path });
        removals.chain([update(store)]).collect()
    }

    fn anchor(&self, store: &Store) -> Utf8PathBuf {
        Utf8Path::new(store.folder).join(self.file_name("crt"))
    }

    fn file_name(&self, extension: &str) -> String {
        format!("{}.{extension}", self.file_stem)
    }

    fn tell_macos(&self, verb: &str, copy: &Utf8Path) -> TrustStep {
        let keychain =
            if verb.ends_with("-k") { " /Library/Keychains/System.keychain" } else { "" };
        let text = format!(
            "macOS changes its trust only with your password; run: \
             sudo security {verb}{keychain} '{copy}' (it is shown as `{}`)",
            self.nickname
        );
        TrustStep::Tell { text }
    }

    /// `C,,`: an authority for servers, for nothing else.
    fn nss_add(&self, database: &Utf8Path, copy: &Utf8Path) -> TrustStep {
        let database = format!("sql:{database}");
        let argv = [
            CERTUTIL,
            "-A",
            "-d",
            &database,
            "-t",
            "C,,",
            "-n",
            &self.nickname,
            "-i",
            copy.as_str(),
        ];
        run(&argv, OnFailure::Stop)
    }

    fn nss_remove(&self, database: &Utf8Path) -> TrustStep {
        let database = format!("sql:{database}");
        run(&[CERTUTIL, "-D", "-d", &database, "-n", &self.nickname], OnFailure::Ignore)
    }
}

fn nss_databases(machine: &Machine) -> impl Iterator<Item = &Utf8Path> {
    let usable = machine.programs.contains(CERTUTIL);
    machine.nss_databases.iter().filter(move |_| usable).map(Utf8PathBuf::as_path)
}

fn store(machine: &Machine) -> Option<&'static Store> {
    STORES.iter().find(|store| {
        let has_program =
            store.update.first().is_some_and(|program| machine.programs.contains(*program));
        has_program && machine.folders.contains(Utf8Path::new(store.folder))
    })
}

fn update(store: &Store) -> TrustStep {
    run(store.update, OnFailure::Stop)
}

fn run(argv: &[&str], on_failure: OnFailure) -> TrustStep {
    TrustStep::Run { argv: argv.iter().map(|&word| word.to_owned()).collect(), on_failure }
}

fn nss_hint(machine: &Machine, verb: &str) -> Option<TrustStep> {
    let missing = !machine.nss_databases.is_empty() && !machine.programs.contains(CERTUTIL);
    missing.then(|| TrustStep::Tell {
        text: format!(
            "browsers on this machine keep authorities of their own; to make them {verb} the root \
             too, install certutil (package `libnss3-tools` or `nss-tools`) and run this again"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    const COPY: &str = "/var/lib/portway/ca.crt";

    fn root() -> TrustedRoot {
        let authority = Authority::create("host", "2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
        TrustedRoot::new(authority.root_pem()).unwrap()
    }

    fn linux(folders: &[&str], programs: &[&str], databases: &[&str]) -> Machine {
        Machine {
            system: System::Linux,
            folders: folders.iter().map(Utf8PathBuf::from).collect(),
            programs: programs.iter().map(|&name| name.to_owned()).collect(),
            nss_databases: databases.iter().map(Utf8PathBuf::from).collect(),
        }
    }

    fn commands(steps: &[TrustStep]) -> Vec<String> {
        let command = |step: &TrustStep| match step {
            TrustStep::Write { path, .. } => format!("write {path}"),
            TrustStep::Remove { path } => format!("remove {path}"),
            TrustStep::Run { argv, .. } => argv.join(" "),
            TrustStep::Tell { .. } => "tell".to_owned(),
        };
        steps.iter().map(command).collect()
    }

    #[test]
    fn each_system_has_its_folder_and_program() {
        let root = root();
        for (folder, program, update) in [
            ("/usr/local/share/ca-certificates", "update-ca-certificates", ""),
            ("/etc/pki/ca-trust/source/anchors", "update-ca-trust", " extract"),
            ("/etc/pki/trust/anchors", "update-ca-certificates", ""),
            ("/etc/ca-certificates/trust-source/anchors", "trust", " extract-compat"),
        ] {
            let machine = linux(&[folder], &[program], &[]);
            let file = format!("{folder}/{}.crt", root.file_stem);
            let update = format!("{program}{update}");
            let install = root.install(&machine, COPY.into());
            assert_eq!(commands(&install), [format!("write {file}"), update.clone()]);
            let remove = commands(&root.remove(&machine, COPY.into()));
            assert_eq!(remove.first(), Some(&format!("remove {file}")));
            assert_eq!(remove.last(), Some(&update));
        }
    }

    #[test]
    fn the_link_that_debian_leaves_is_removed_too() {
        let machine =
            linux(&["/usr/local/share/ca-certificates"], &["update-ca-certificates"], &[]);
        let root = root();
        let remove = commands(&root.remove(&machine, COPY.into()));
        assert_eq!(remove[1], format!("remove /etc/ssl/certs/{}.pem", root.file_stem));
    }

    #[test]
    fn a_folder_without_its_program_is_not_used() {
        let machine = linux(&["/usr/local/share/ca-certificates"], &["update-ca-trust"], &[]);
        let [TrustStep::Tell { text }] = &root().install(&machine, COPY.into())[..] else {
            panic!("one hint");
        };
        assert!(text.contains("ca-certificates") && text.contains(COPY), "{text}");
    }

    #[test]
    fn browsers_are_told_through_certutil() {
        let (folder, program) = ("/usr/local/share/ca-certificates", "update-ca-certificates");
        let machine = linux(&[folder], &[program, "certutil"], &["/home/ada/.pki/nssdb"]);
        let root = root();
        let name = &root.nickname;
        let add = format!(
            "certutil -A -d sql:/home/ada/.pki/nssdb -t C,, -n {name} -i /var/lib/portway/ca.crt"
        );
        let delete = format!("certutil -D -d sql:/home/ada/.pki/nssdb -n {name}");
        let install = root.install(&machine, COPY.into());
        assert_eq!(commands(&install)[2..], [delete.clone(), add]);
        let remove = root.remove(&machine, COPY.into());
        assert_eq!(commands(&remove)[3..], [delete]);
    }

    #[test]
    fn browsers_without_certutil_are_a_hint() {
        let machine = linux(&[], &[], &["/home/ada/.pki/nssdb"]);
        assert_eq!(commands(&root().install(&machine, COPY.into())), ["tell", "tell"]);
    }

    #[test]
    fn macos_is_left_to_its_user() {
        let machine = Machine { system: System::MacOs, ..linux(&[], &[], &[]) };
        let [TrustStep::Tell { text }] = &root().install(&machine, COPY.into())[..] else {
            panic!("one hint");
        };
        let command = format!(
            "sudo security add-trusted-cert -d -r trustRoot -k \
             /Library/Keychains/System.keychain '{COPY}'"
        );
        assert!(text.contains(&command), "{text}");
    }

    #[test]
    fn different_roots_have_different_files_and_names() {
        let [one, other] = [root(), root()];
        assert_ne!(one.file_stem, other.file_stem);
        assert_ne!(one.nickname, other.nickname);
    }
}
