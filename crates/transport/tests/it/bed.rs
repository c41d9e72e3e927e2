//! A machine of its own, with a user who is not root, a real sudo and passwords.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::HostPort;
use portway_secrets::Redacted;
use portway_testkit::bed::{Bed, USER};
use portway_transport::{
    Credential, Hop, Mode, Ssh, SudoRefusal, Target, Timing, Transport as _, TransportError, Upload,
};
use tokio::io::AsyncReadExt as _;

use crate::{
    conformance::{PATIENCE, Place, conformance, sh, words},
    far::{hasty, key},
};

/// A machine, and a user's way to it.
struct Machine {
    bed: Bed,
    ssh: Ssh,
    dir: Utf8PathBuf,
}

conformance!(super::Machine);

impl Place for Machine {
    type Transport = Ssh;

    async fn begin(test: &str) -> Option<Self> {
        let test = test.strip_prefix("it::").unwrap_or(test);
        let bed = Bed::up(&format!("portway-transport::it {test}"), 1).unwrap()?;
        bed.enter().unwrap();
        let ssh = Ssh::new(hop(&bed), Vec::new());
        let machine = Self { bed, ssh, dir: Utf8PathBuf::from("/home/deploy/work") };
        sh(&machine, "mkdir /home/deploy/work").await;
        Some(machine)
    }

    fn transport(&self) -> &Ssh {
        &self.ssh
    }

    fn dir(&self) -> &Utf8Path {
        &self.dir
    }
}

#[tokio::test]
async fn what_only_root_may_do_needs_exactly_its_own_rule() {
    let Some(machine) = begin("what_only_root_may_do_needs_exactly_its_own_rule").await else {
        return;
    };
    let allowed = words(["/usr/bin/id", "-u"]).as_root();
    let other = words(["/usr/bin/id", "-g"]).as_root();
    let deadline = Duration::from_secs(30);

    let without = machine.ssh.run(&allowed, b"", deadline).await;
    allow(&machine, "timeout -k 5 30 /usr/bin/id -u");
    let with = machine.ssh.run(&allowed, b"", deadline).await.unwrap();
    let beyond = machine.ssh.run(&other, b"", deadline).await;
    let longer = machine.ssh.run(&allowed, b"", Duration::from_secs(31)).await;

    assert_eq!(with.stdout_text(), "0\n");
    let untried = machine.ssh.clone().without_sudo();
    let switched_off = untried.run(&allowed, b"", deadline).await;
    assert!(
        matches!(switched_off, Err(TransportError::Sudo { refusal: SudoRefusal::SwitchedOff, .. })),
        "{switched_off:?}"
    );
    for refused in [without, beyond, longer] {
        let Err(error @ TransportError::Sudo { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.remedy().contains("NOPASSWD: timeout -k 5 3"), "{}", error.remedy());
    }
}

#[tokio::test]
async fn a_machine_without_sudo_is_told_apart() {
    let Some(machine) = begin("a_machine_without_sudo_is_told_apart").await else { return };
    machine.bed.sh(1, "rm /usr/bin/sudo").unwrap();

    let refused = machine.ssh.run(&words(["id"]).as_root(), b"", PATIENCE).await;

    let Err(TransportError::Sudo { refusal, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal, SudoRefusal::Missing);
}

#[tokio::test]
async fn a_command_of_root_ends_by_its_deadline_too() {
    let Some(machine) = begin("a_command_of_root_ends_by_its_deadline_too").await else { return };
    allow(&machine, "timeout -k 5 1 /usr/bin/sleep 300");
    let sleep = words(["/usr/bin/sleep", "300"]).as_root();

    let ended = machine.ssh.run(&sleep, b"", Duration::from_secs(1)).await;

    assert!(matches!(ended, Err(TransportError::TimedOut { .. })), "{ended:?}");
    machine.bed.sh(1, "while pgrep -fx '/usr/bin/sleep 300'; do sleep 0.1; done").unwrap();
}

#[tokio::test]
async fn what_the_user_may_not_touch_is_named() {
    let Some(machine) = begin("what_the_user_may_not_touch_is_named").await else { return };
    let ssh = &machine.ssh;
    machine.bed.sh(1, "mkdir -m 700 /etc/closed; echo x >/etc/closed/file").unwrap();
    let closed = Utf8Path::new("/etc/closed/file");
    let file = |path: &str| Upload::new(path, Mode::PUBLIC, "x").unwrap();

    let failures = [
        ssh.put(&[file("/etc/portway.conf")]).await.map(drop),
        ssh.put(&[file("/etc/closed/file")]).await.map(drop),
        ssh.get(closed).await.map(drop),
        ssh.list(Utf8Path::new("/etc/closed")).await.map(drop),
        ssh.remove(&[Utf8PathBuf::from("/etc/passwd")]).await,
        ssh.relink(Utf8Path::new("/etc/link"), closed).await,
    ];

    for failed in failures {
        let Err(TransportError::Permission { user, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(user, USER);
    }
}

#[tokio::test]
async fn a_file_system_that_takes_no_changes_is_named() {
    let name = "a_file_system_that_takes_no_changes_is_named";
    let Some(machine) = begin(name).await else { return };
    machine.bed.sh(1, "mount -t tmpfs -o ro,mode=777 tmpfs /mnt").unwrap();
    let file = Upload::new("/mnt/file", Mode::PUBLIC, "x").unwrap();

    let failed = machine.ssh.put(&[file]).await;

    assert!(matches!(failed, Err(TransportError::ReadOnly { .. })), "{failed:?}");
}

#[tokio::test]
async fn a_password_logs_in_also_where_it_is_asked_for_in_a_dialogue() {
    let name = "a_password_logs_in_also_where_it_is_asked_for_in_a_dialogue";
    let Some(machine) = begin(name).await else { return };
    machine.bed.sh(1, "echo 'deploy:open sesame' | chpasswd").unwrap();
    let connect = async |password: &str| {
        let credentials = vec![Credential::Password(Redacted::new(password.to_owned()))];
        Ssh::new(Hop { credentials, ..hop(&machine.bed) }, Vec::new()).connect().await
    };

    for (plain, dialogue) in [("yes", "no"), ("no", "yes"), ("yes", "yes")] {
        let lines = format!(
            "sed -i '/Authentication/d' /etc/ssh/sshd_config; printf 'PasswordAuthentication {plain}\\n\
             KbdInteractiveAuthentication {dialogue}\\n' >>/etc/ssh/sshd_config"
        );
        machine.bed.sh(1, &lines).unwrap();
        machine.bed.kill_sshd(1).unwrap();
        machine.bed.start_sshd(1).unwrap();

        connect("open sesame").await.unwrap();
        let wrong = connect("open barley").await;

        assert!(matches!(wrong, Err(TransportError::LoginRefused { .. })), "{plain} {wrong:?}");
    }
}

#[tokio::test]
async fn a_user_with_a_foreign_login_shell_is_refused() {
    let name = "a_user_with_a_foreign_login_shell_is_refused";
    let Some(machine) = begin(name).await else { return };
    for shell in ["/usr/bin/fish", "/usr/sbin/nologin"] {
        machine.bed.sh(1, &format!("usermod -s {shell} deploy")).unwrap();

        let refused = Ssh::new(hop(&machine.bed), Vec::new()).connect().await;

        let Err(error @ TransportError::OddLoginShell { .. }) = refused else {
            panic!("{refused:?}")
        };
        assert!(error.remedy().contains("usermod -s /bin/sh deploy"));
    }
}

#[tokio::test]
async fn a_cable_that_is_out_is_noticed_and_one_that_is_in_again_is_used() {
    let name = "a_cable_that_is_out_is_noticed_and_one_that_is_in_again_is_used";
    let Some(machine) = begin(name).await else { return };
    let timing = Timing { connect: Duration::from_secs(1), ..hasty() };
    let ssh = Ssh::with_timing(hop(&machine.bed), Vec::new(), timing);
    let machine = Machine { ssh, ..machine };
    sh(&machine, "true").await;
    machine.bed.cut(1).unwrap();
    let began = Instant::now();

    let lost = machine.ssh.run(&words(["true"]), b"", PATIENCE).await;
    let unreachable = machine.ssh.run(&words(["true"]), b"", PATIENCE).await;

    assert!(lost.as_ref().is_err_and(TransportError::is_passing), "{lost:?}");
    assert!(matches!(unreachable, Err(TransportError::Unreachable { .. })), "{unreachable:?}");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    machine.bed.heal(1).unwrap();
    while machine.ssh.connect().await.is_err() {
        assert!(began.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    assert_eq!(sh(&machine, "echo back").await, "back\n");
}

#[tokio::test]
async fn ten_machines_are_reached_over_ten_connections_however_much_is_done() {
    let name = "ten_machines_are_reached_over_ten_connections_however_much_is_done";
    let name = format!("portway-transport::it bed::{name}");
    let Some(bed) = Bed::up(&name, 10).unwrap() else { return };
    bed.enter().unwrap();
    let nodes = (1..=10).map(|n| Ssh::new(hop_to(&bed, n), Vec::new())).collect::<Vec<_>>();

    for release in 0..10 {
        let deploying = nodes.iter().map(|node| async move {
            let path = format!("/home/deploy/{release}.conf");
            node.put(&[Upload::new(path.as_str(), Mode::PUBLIC, "x").unwrap()]).await.unwrap();
            let link = Utf8Path::new("/home/deploy/current.conf");
            node.relink(link, Utf8Path::new(&path)).await.unwrap();
            let mut banner = [0; 4];
            let mut stream = node.dial(&Target::loopback(22)).await.unwrap();
            stream.read_exact(&mut banner).await.unwrap();
            assert_eq!(&banner, b"SSH-");
        });
        futures_util::future::join_all(deploying).await;
    }

    assert_eq!(nodes.iter().map(Ssh::connections).sum::<u64>(), 10);
}

async fn begin(test: &str) -> Option<Machine> {
    Machine::begin(&format!("bed::{test}")).await
}

/// Lets the user run one command as root, by exactly these words.
fn allow(machine: &Machine, command: &str) {
    let rule = format!("{USER} ALL=(root) NOPASSWD: /usr/bin/{command}");
    let line =
        format!("echo '{rule}' >/etc/sudoers.d/portway && visudo -cqf /etc/sudoers.d/portway");
    machine.bed.sh(1, &line).unwrap();
}

fn hop(bed: &Bed) -> Hop {
    hop_to(bed, 1)
}

fn hop_to(bed: &Bed, machine: u16) -> Hop {
    Hop {
        address: HostPort { host: bed.address(machine).unwrap(), port: 22 },
        user: USER.parse().unwrap(),
        pins: vec![bed.fingerprint(machine).unwrap().parse().unwrap()],
        credentials: vec![Credential::Key(key(&bed.key()))],
    }
}
