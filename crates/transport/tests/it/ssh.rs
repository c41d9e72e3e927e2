//! The suite over SSH, and what a connection promises.

use std::time::Duration;

use futures_util::StreamExt as _;
use portway_testkit::sshd::SshdOptions;
use portway_transport::{Argv, Hop, Op, Ssh, SudoRefusal, Target, Transport as _, TransportError};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
};

use crate::{
    conformance::{
        PATIENCE, Place as _, assert_gone, conformance, list, noise, put, sh, shell, upload, words,
    },
    far::{Far, hasty, hop},
};

conformance!(crate::far::Far);

#[tokio::test]
async fn one_connection_serves_all_there_is_to_do() {
    let far = Far::run();

    for n in 0..10 {
        let name = format!("release-{n}");
        put(&far, &[upload(&far, &name, "x")]).await;
        list(&far).await;
        let link = far.dir().join("current");
        far.ssh.relink(&link, camino::Utf8Path::new(&name)).await.unwrap();
        far.ssh.dial(&Target::loopback(far.sshd.port())).await.unwrap();
    }

    assert_eq!(far.ssh.connections(), 1);
    assert_eq!(far.sshd.logins(), 1);
}

#[tokio::test]
async fn where_sudo_is_not_to_be_used_nothing_is_sent_that_needs_it() {
    let far = Far::run();
    let hop = Hop { user: "deploy".parse().unwrap(), ..hop(&far.sshd) };
    let ssh = Ssh::new(hop, Vec::new()).without_sudo();

    let refused = ssh.run(&words(["id", "-u"]).as_root(), b"", PATIENCE).await;

    let Err(error @ TransportError::Sudo { refusal: SudoRefusal::SwitchedOff, .. }) = refused
    else {
        panic!("{refused:?}")
    };
    assert!(error.remedy().contains("--sudo true"), "{}", error.remedy());
    assert_eq!(ssh.connections(), 0);
}

#[tokio::test]
async fn where_sudo_is_not_to_be_used_none_of_several_commands_is_sent_that_needs_it() {
    let far = Far::run();
    let hop = Hop { user: "deploy".parse().unwrap(), ..hop(&far.sshd) };
    let ssh = Ssh::new(hop, Vec::new()).without_sudo();
    let asks = |argv: Argv| Op::Run { argv, stdin: Vec::new(), deadline: PATIENCE };

    let refused = ssh.several(&[asks(words(["id", "-u"]).as_root()), asks(words(["id"]))]).await;

    let [Err(TransportError::Sudo { refusal: SudoRefusal::SwitchedOff, .. })] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(ssh.connections(), 0);
}

#[tokio::test]
async fn root_needs_no_sudo() {
    let far = Far::run();
    if far.sshd.user() != "root" {
        return;
    }
    let ssh = Ssh::new(hop(&far.sshd), Vec::new()).without_sudo();

    let output = ssh.run(&words(["id", "-u"]).as_root(), b"", PATIENCE).await.unwrap();

    assert_eq!(output.stdout_text(), "0\n");
}

#[tokio::test]
async fn many_who_come_at_once_share_one_connection() {
    let far = Far::run();

    let lines = (0..30).map(|_| sh(&far, "true"));
    futures_util::future::join_all(lines).await;

    assert_eq!(far.sshd.logins(), 1);
}

#[tokio::test]
async fn a_server_that_allows_fewer_sessions_is_asked_for_fewer() {
    let far = Far::with(SshdOptions::default().with("MaxSessions 2"));

    let line = shell("sleep 0.2; echo done");
    let runs = (0..12).map(|_| far.ssh.run(&line, b"", PATIENCE));
    let outputs = futures_util::future::join_all(runs).await;

    for output in outputs {
        assert_eq!(output.unwrap().stdout_text(), "done\n");
    }
}

#[tokio::test]
async fn readers_leave_places_for_whoever_acts() {
    let far = Far::run();
    let reading = shell("exec sleep 300").for_readers();
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let (ssh, reading) = (far.ssh.clone(), reading.clone());
            tokio::spawn(async move { ssh.run(&reading, b"", Duration::from_secs(60)).await })
        })
        .collect();
    let began = std::time::Instant::now();

    // Those that are left wait for a place, and do not wait for ever.
    let (mut late, mut readers) = (0, futures_util::stream::FuturesUnordered::from_iter(readers));
    while late < 16 {
        let ended = readers.next().await.unwrap().unwrap();
        assert!(matches!(ended, Err(TransportError::TimedOut { .. })), "{ended:?}");
        late += 1;
    }
    let acting = far.ssh.run(&words(["true"]), b"", PATIENCE).await.unwrap();

    assert!(acting.is_success());
    assert!(began.elapsed() < Duration::from_secs(50), "nobody waited for the readers to end");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_server_that_allows_no_sessions_says_so() {
    let far = Far::with(SshdOptions::default().with("MaxSessions 0"));

    let refused = far.ssh.connect().await;

    assert!(matches!(refused, Err(TransportError::NoSession { .. })), "{refused:?}");
}

#[tokio::test]
async fn ports_and_sockets_of_the_node_are_dialled() {
    let far = Far::run();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unix = UnixListener::bind(far.dir().join("socket")).unwrap();
    let port = Target::loopback(tcp.local_addr().unwrap().port());
    let bytes = noise(3_000_000);

    let mut near = far.ssh.dial(&port).await.unwrap();
    let mut echoing = tcp.accept().await.unwrap().0;
    let echo = async {
        let (mut read, mut write) = echoing.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (mut read, mut write) = tokio::io::split(&mut near);
    let send = async {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let ((), (), length) = tokio::join!(echo, send, async { read.read_to_end(&mut back).await });
    assert_eq!(length.unwrap(), bytes.len());
    assert!(back == bytes, "what came back is not what was sent");

    let mut near = far.ssh.dial(&Target::Unix(far.dir().join("socket"))).await.unwrap();
    let mut other = unix.accept().await.unwrap().0;
    other.write_all(b"pong").await.unwrap();
    let mut four = [0; 4];
    near.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"pong");
}

#[tokio::test]
async fn each_side_of_a_stream_ends_by_itself() {
    let far = Far::run();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut near = far.ssh.dial(&Target::loopback(tcp.local_addr().unwrap().port())).await.unwrap();
    let mut other = tcp.accept().await.unwrap().0;

    other.write_all(b"all").await.unwrap();
    other.shutdown().await.unwrap();
    let mut heard = Vec::new();
    near.read_to_end(&mut heard).await.unwrap();
    let bytes = noise(3_000_000);
    let mut received = vec![0; bytes.len()];
    let (sent, read) = tokio::join!(near.write_all(&bytes), other.read_exact(&mut received));
    drop(near);
    let after = tokio::time::timeout(PATIENCE, other.read_u8()).await;

    assert_eq!(heard, b"all");
    assert!(sent.is_ok() && read.is_ok() && received == bytes, "{sent:?} {read:?}");
    assert!(after.is_ok_and(|end| end.is_err()), "the far side learns that nobody is left");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_nobody_else() {
    let far = Far::run();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = Target::loopback(tcp.local_addr().unwrap().port());
    let mut idle = far.ssh.dial(&port).await.unwrap();
    let mut flood = tcp.accept().await.unwrap().0;
    let flooding = tokio::spawn(async move {
        // It ends in an error when the stream is given up.
        while flood.write_all(&[7; 1 << 10]).await.is_ok() {}
    });

    for _ in 0..20 {
        assert_eq!(sh(&far, "echo on").await, "on\n");
    }
    flooding.await.unwrap();

    let read = idle.read_to_end(&mut Vec::new()).await;
    assert!(read.is_err(), "the reader learns that it missed something: {read:?}");
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_refuses() {
    let far = Far::run();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = Target::loopback(listener.local_addr().unwrap().port());
    drop(listener);

    let refused = far.ssh.dial(&free).await;

    assert!(matches!(refused, Err(TransportError::Refused { .. })));
}

#[tokio::test]
async fn a_server_that_forwards_nothing_says_so() {
    let far = Far::with(SshdOptions::default().with("AllowTcpForwarding no"));

    let refused = far.ssh.dial(&Target::loopback(far.sshd.port())).await;

    let Err(error @ TransportError::ForwardingForbidden { .. }) = refused.map(drop) else {
        panic!("it was forwarded")
    };
    assert!(error.remedy().contains("AllowTcpForwarding"));
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_connection_to_others() {
    let far = Far::run();
    let pid = far.dir().join("pid");
    let long = shell(&format!("echo $$ >{pid}; exec sleep 3"));
    far.ssh.connect().await.unwrap();

    let waiting = far.ssh.run(&long, b"", Duration::from_secs(2));
    let gave_up = tokio::time::timeout(Duration::from_millis(500), waiting).await;

    assert!(gave_up.is_err());
    assert_eq!(sh(&far, "echo on").await, "on\n");
    assert_gone(&far, &pid).await;
    assert_eq!(far.sshd.logins(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_is_made_again() {
    let far = Far::run();
    sh(&far, "true").await;

    far.ssh.close().await;
    sh(&far, "true").await;

    assert_eq!(far.ssh.connections(), 2);
}

#[tokio::test]
async fn a_node_that_is_down_costs_nobody_time() {
    let mut far = Far::run();
    let slow = portway_transport::Timing { backoff: Duration::from_secs(60), ..hasty() };
    let ssh = Ssh::with_timing(hop(&far.sshd), Vec::new(), slow);
    far.sshd.kill().unwrap();
    let argv = Argv::new("true", [""; 0]).unwrap();

    let first = ssh.run(&argv, b"", PATIENCE).await;
    assert!(matches!(first, Err(TransportError::Unreachable { .. })), "{first:?}");
    far.sshd.start().unwrap();
    let second = ssh.run(&argv, b"", PATIENCE).await;
    assert!(matches!(second, Err(TransportError::Unreachable { .. })), "it is not asked again yet");
    ssh.forget_failure();
    let third = ssh.run(&argv, b"", PATIENCE).await;
    assert!(third.unwrap().is_success());
}
