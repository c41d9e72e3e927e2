//! Who may read what Portway puts on a node, with a real nginx whose workers are not root.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    process::{Command, Stdio},
};

use camino::Utf8PathBuf;
use portway_deploy::{ByOthers, Deployment, Ended, Standing, StepError, deploy, look};
use portway_transport::Local;

use crate::bed::{Bed, Notes, Tiny, owner};

/// Users and groups that nobody is.
const STRANGER: u32 = 54_321;

fn folders(bed: &Bed) -> [Utf8PathBuf; 2] {
    [bed.facts.layout.objects(), bed.facts.layout.releases()]
}

fn mode(path: &Utf8PathBuf) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

/// Only root can become somebody else, and nginx has workers of another user only where root started it.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Reads a file as somebody else.
fn can_read(path: &Utf8PathBuf, user: u32, group: u32) -> bool {
    let mut cat = Command::new("cat");
    let cat = cat.arg(path).uid(user).gid(group).stdout(Stdio::null()).stderr(Stdio::null());
    cat.status().unwrap().success()
}

/// Lets everybody come as far as the folder of the node.
fn open_the_way(bed: &Bed) {
    fs::set_permissions(bed.root(), Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn the_engine_reads_what_lies_there_and_no_other_user_does() {
    let bed = Bed::start().await;
    open_the_way(&bed);
    assert!(matches!(bed.deploy("one", 1).await, Ended::Live { .. }));

    let entry = bed.release("one").path(&bed.facts.layout);
    let object = fs::read_dir(bed.facts.layout.objects()).unwrap().next().unwrap().unwrap().path();
    let object = Utf8PathBuf::try_from(object).unwrap();
    for folder in folders(&bed) {
        assert_eq!(mode(&folder) & 0o007, 0, "{folder}");
    }
    if !is_root() {
        return;
    }
    let workers = fs::metadata(bed.facts.layout.objects()).unwrap().gid();
    assert_ne!(workers, 0, "it is the group of the workers");
    for file in [&entry, &object] {
        assert!(can_read(file, STRANGER, workers), "{file}");
        assert!(!can_read(file, STRANGER, STRANGER), "{file}");
    }
}

#[tokio::test]
async fn what_earlier_versions_left_open_is_closed() {
    let bed = Bed::start().await;
    bed.deploy("one", 1).await;
    for folder in folders(&bed) {
        fs::set_permissions(folder, Permissions::from_mode(0o711)).unwrap();
    }
    let (local, owner, release) = (Local::new(), owner(2), bed.release("one"));
    let it = Deployment {
        transport: &local,
        engine: &Tiny,
        facts: &bed.facts,
        release: &release,
        owner: &owner,
        by_others: ByOthers::Respect,
        proofs: &[],
    };
    assert_eq!(look(&it).await.unwrap().standing(&release), Standing::Behind);

    assert!(matches!(deploy(&it, &Notes::default()).await, Ended::Live { .. }));

    assert_eq!(look(&it).await.unwrap().standing(&release), Standing::Serves);
    for folder in folders(&bed) {
        assert_eq!(mode(&folder) & 0o007, 0, "{folder}");
    }
}

/// Who that is, root may decide.
#[tokio::test]
async fn folders_that_are_closed_to_others_are_left_as_they_are() {
    let bed = Bed::start().await;
    for folder in folders(&bed) {
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
    }

    assert!(matches!(bed.deploy("one", 1).await, Ended::Live { .. }));

    for folder in folders(&bed) {
        assert_eq!(mode(&folder), 0o750, "{folder}");
    }
}

#[tokio::test]
async fn nothing_is_sent_where_the_engine_runs_in_another_group_than_it_is_told_to() {
    if !is_root() {
        return;
    }
    let bed = Bed::start().await;
    let top_level = &bed.facts.layout.top_level;
    let text = fs::read_to_string(top_level).unwrap();
    fs::write(top_level, format!("user nobody tty;\n{text}")).unwrap();

    let ended = bed.deploy("one", 1).await;

    let Ended::Failed(error @ StepError::Open { .. }) = ended else { panic!("{ended:?}") };
    let told = error.to_string();
    assert!(told.contains("group tty") && told.contains("install -d -m 0710"), "{told}");
    assert_eq!(fs::read_dir(bed.facts.layout.objects()).unwrap().count(), 0);
}
