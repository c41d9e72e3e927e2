//! Nodes that freeze, die, or have no room.

use std::time::{Duration, Instant};

use portway_testkit::{skip::skip, sshd::SshdOptions};
use portway_transport::{Mode, Ssh, Transport as _, TransportError, Upload};

use crate::{
    conformance::{PATIENCE, Place, assert_gone, noise, put, run, sh, shell, upload},
    far::{Far, hasty, hop},
};

/// How long it may take until a node that does not answer is given up, with short times.
const SOON: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_node_that_freezes_is_noticed_within_seconds() {
    let far = hurried(Far::run());
    sh(&far, "true").await;
    far.sshd.freeze().unwrap();
    let began = Instant::now();

    let lost = far.ssh.run(&shell("echo on"), b"", PATIENCE).await.unwrap_err();

    // It may be found out while a connection is made again.
    assert!(lost.is_passing(), "{lost:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    far.sshd.thaw().unwrap();
    far.ssh.forget_failure();
    assert_eq!(sh(&far, "echo on").await, "on\n");
}

#[tokio::test]
async fn a_node_that_freezes_while_it_is_sent_much_is_noticed_too() {
    let far = hurried(Far::run());
    let large = Upload::new(far.dir().join("large"), Mode::PUBLIC, noise(60_000_000)).unwrap();
    let files = [large];
    let putting = far.ssh.put(&files);
    let freezing = async {
        staged(&far).await;
        far.sshd.freeze().unwrap();
        Instant::now()
    };

    let (lost, frozen) = tokio::join!(putting, freezing);

    assert!(matches!(lost, Err(TransportError::Lost { .. })), "{lost:?}");
    assert!(frozen.elapsed() < SOON, "{:?}", frozen.elapsed());
    far.sshd.thaw().unwrap();
    far.ssh.forget_failure();
    assert_nothing_is_left(&far).await;
}

#[tokio::test]
async fn a_server_that_is_frozen_from_the_start_is_given_up() {
    let far = hurried(Far::run());
    far.sshd.freeze().unwrap();

    let late = far.ssh.connect().await;

    assert!(matches!(late, Err(TransportError::TimedOut { .. })), "{late:?}");
    far.sshd.thaw().unwrap();
}

#[tokio::test]
async fn a_link_that_is_cut_while_files_are_sent_leaves_nothing_behind() {
    let far = Far::run();
    let large = Upload::new(far.dir().join("large"), Mode::PUBLIC, noise(60_000_000)).unwrap();
    let files = [large, upload(&far, "small", "x")];
    let putting = far.ssh.put(&files);
    let cutting = async {
        staged(&far).await;
        far.sshd.kill_sessions().unwrap();
    };

    let (lost, ()) = tokio::join!(putting, cutting);

    assert!(matches!(lost, Err(TransportError::Lost { .. })), "{lost:?}");
    assert_nothing_is_left(&far).await;
}

#[tokio::test]
async fn a_link_that_is_cut_leaves_no_command_without_its_deadline() {
    let far = Far::run();
    let pid = far.dir().join("pid");
    let line = shell(&format!("echo $$ >{pid}; exec sleep 600"));
    let running = far.ssh.run(&line, b"", Duration::from_secs(3));
    let cutting = async {
        while !std::fs::read_to_string(&pid).is_ok_and(|pid| !pid.is_empty()) {
            tokio::task::yield_now().await;
        }
        far.sshd.kill_sessions().unwrap();
    };

    let (lost, ()) = tokio::join!(running, cutting);

    assert!(lost.is_err(), "{lost:?}");
    assert_gone(&far, &pid).await;
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let mut far = Far::run();
    sh(&far, "true").await;

    far.sshd.kill().unwrap();
    far.sshd.start().unwrap();

    assert_eq!(sh(&far, "echo back").await, "back\n");
    assert_eq!(far.ssh.connections(), 2);
}

#[tokio::test]
async fn a_disk_that_is_full_leaves_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        let test = "portway-transport::it faults::a_disk_that_is_full_leaves_nothing_behind";
        return skip(test, "only root can mount a small disk").unwrap();
    }
    let far = Far::with(SshdOptions::default().with_small_disk("2m"));
    let small = Small { dir: far.sshd.folder().join("small"), far };
    let large = |n: u32| {
        Upload::new(small.dir().join(format!("{n}")), Mode::PUBLIC, noise(700_000)).unwrap()
    };
    put(&small, &[large(1)]).await;

    let full = small.transport().put(&[large(2), large(3), large(1)]).await;

    let Err(TransportError::DiskFull { path }) = full else { panic!("{full:?}") };
    assert_eq!(path, small.dir().as_str());
    assert_eq!(sh(&small, &format!("ls -A {}", small.dir())).await, "1\n");
    put(&small, &[large(2)]).await;
}

/// A node with a small disk.
struct Small {
    far: Far,
    dir: camino::Utf8PathBuf,
}

impl Place for Small {
    type Transport = Ssh;

    async fn begin(_test: &str) -> Option<Self> {
        None
    }

    fn transport(&self) -> &Ssh {
        &self.far.ssh
    }

    fn dir(&self) -> &camino::Utf8Path {
        &self.dir
    }
}

fn hurried(far: Far) -> Far {
    let ssh = Ssh::with_timing(hop(&far.sshd), Vec::new(), hasty());
    Far { ssh, ..far }
}

/// Waits until some of a file has arrived.
async fn staged(far: &Far) {
    let has_begun = || {
        let found = std::fs::read_dir(far.dir()).unwrap().filter_map(Result::ok);
        found.into_iter().any(|found| found.path().join("files/large").exists())
    };
    while !has_begun() {
        tokio::task::yield_now().await;
    }
}

/// What was on its way is removed by those who brought it, who may take a moment.
async fn assert_nothing_is_left(far: &Far) {
    let line = format!("while [ -n \"$(ls -A {})\" ]; do sleep 0.1; done", far.dir());
    assert!(run(far, &shell(&line), b"").await.is_success());
}
