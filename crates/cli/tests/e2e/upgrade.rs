//! Another program in the place of the edge that runs: by command, by signal, by a new manager; and
//! whatever is killed meanwhile.

use std::{path::Path, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{
    manager::{Manager, runs, signal},
    origin::{Origin, Speaks},
};
use portway_wire::{
    client::{Client, ClientConfig, Endpoint, IfMatch},
    deploy::WaitQuery,
    site::EditSite,
};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;

use crate::{
    load::{Load, PLAIN, SECURE},
    support::{PROGRAM, eventually, file, manager, ok},
    web::Web,
};

const UPGRADES: usize = 20;
const CHANGES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_upgrades_and_a_hundred_changes_lose_nothing() {
    let manager = manager().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    publish(&manager, &origin).await;
    let web = Web::of(&manager).await;
    let other = copy_of_the_program(&manager, "other");

    let load = Load::begin(&web, manager.http_port()).await;
    let client = local(&manager);
    let changing = tokio::spawn(change(client, origin.address().unwrap().to_string()));
    let mut edges = vec![manager.edge_pid().await.unwrap()];
    for number in 0..UPGRADES {
        let program = if number.is_multiple_of(2) { other.as_str() } else { PROGRAM };
        let upgraded = with(&manager, program, &["edge", "--upgrade"]).await;
        assert!(upgraded.status.success(), "{upgraded:?}");
        let edge =
            eventually("the new edge to tell its process", async || manager.edge_pid().await.ok())
                .await;
        assert_eq!(running(edge), Utf8Path::new(program).canonicalize_utf8().unwrap());
        assert!(!edges.contains(&edge), "another process serves");
        edges.push(edge);
        load.go_on(1).await;
    }
    changing.await.unwrap();
    load.go_on(1).await;
    let requests = load.end().await;

    assert!(requests > 2000, "{requests} requests were made");
    let last = edges.pop().unwrap();
    eventually("the predecessors to end", async || {
        edges.iter().all(|edge| !runs(*edge)).then_some(())
    })
    .await;
    assert_eq!(manager.edge_pid().await.unwrap(), last);
    let answer = web.get(SECURE, "/big/10").send().await;
    assert_eq!(answer.header("x-version"), CHANGES.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_cannot_succeed_leaves_the_edge_and_says_why() {
    let manager = manager().await;
    site(&manager, "app.localhost", "one").await;
    let web = Web::of(&manager).await;
    let edge = manager.edge_pid().await.unwrap();

    // The port of the API is taken.
    let data = manager.data();
    let port = format!("--http-port={}", manager.api().port());
    let state = format!("--state={data}/edge/state");
    let words = ["edge", "--upgrade", &state, &port, "--https-port=0", "--bind=127.0.0.1"];
    let failed = manager.run(&words).await.unwrap();

    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.err.contains("the one that ran serves on"), "{}", failed.err);
    assert!(failed.err.contains("another program listens there"), "{}", failed.err);
    assert_eq!(manager.edge_pid().await.unwrap(), edge);
    assert_eq!(web.get("app.localhost", "/").send().await.text(), "one");
    site(&manager, "next.localhost", "two").await;
    assert_eq!(web.get("next.localhost", "/").http2().send().await.text(), "two");
    eventually("the status to tell of it", async || {
        let told = manager.run(&["status"]).await.unwrap();
        told.out.contains("another program listens there").then_some(())
    })
    .await;

    let upgraded = ok(&manager, &["edge", "--upgrade"]).await;
    assert!(upgraded.out.contains("serves in the place of"), "{}", upgraded.out);
    assert_ne!(manager.edge_pid().await.unwrap(), edge);
    assert_eq!(web.get("next.localhost", "/").send().await.text(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_upgrades_to_what_lies_under_the_name_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("portway");
    std::fs::copy(PROGRAM, &program).unwrap();
    let manager = Manager::start(&program).await.unwrap();
    site(&manager, "app.localhost", "one").await;
    let web = Web::of(&manager).await;
    let edge = manager.edge_pid().await.unwrap();

    replace(&program, |new| std::fs::write(new, "#!/bin/sh\nexit 3\n").unwrap());
    signal(edge, Signal::HUP).unwrap();
    signal(edge, Signal::USR2).unwrap();
    let log = manager.data().join("edge/edge.log");
    eventually("the edge to say that it serves on", async || {
        let said = std::fs::read_to_string(&log).unwrap();
        (said.contains("this one serves on") && said.contains("nothing to reload")).then_some(())
    })
    .await;
    assert_eq!(manager.edge_pid().await.unwrap(), edge);

    replace(&program, |new| assert!(std::fs::copy(PROGRAM, new).unwrap() > 0));
    signal(edge, Signal::USR2).unwrap();
    let next = eventually("another edge", async || {
        manager.edge_pid().await.ok().filter(|next| *next != edge)
    })
    .await;
    assert_eq!(running(next).as_std_path(), program.canonicalize().unwrap());
    assert_eq!(web.get("app.localhost", "/").http2().send().await.text(), "one");
    eventually("the first edge to end", async || (!runs(edge)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_of_another_program_or_with_other_settings_upgrades_the_edge() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("portway");
    std::fs::copy(PROGRAM, &program).unwrap();
    let mut manager = Manager::start(&program).await.unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    publish(&manager, &origin).await;
    let web = Web::of(&manager).await;
    let edge = manager.edge_pid().await.unwrap();
    let load = Load::begin(&web, manager.http_port()).await;

    manager.stop().await.unwrap();
    replace(&program, |new| assert!(std::fs::copy(PROGRAM, new).unwrap() > 0));
    manager.serve().await.unwrap();
    let next = eventually("another edge", async || {
        manager.edge_pid().await.ok().filter(|next| *next != edge)
    })
    .await;
    load.go_on(1).await;
    manager.stop().await.unwrap();
    let mut manager = manager.with("--workers=3");
    manager.serve().await.unwrap();
    load.go_on(1).await;
    assert_eq!(manager.edge_pid().await.unwrap(), next, "other workers are no reason");
    manager.stop().await.unwrap();
    let mut manager = manager.with("--bind=127.0.0.2");
    manager.serve().await.unwrap();
    let moved = eventually("an edge that listens on another address as well", async || {
        let edge = manager.edge().await.ok()?;
        edge["listeners"].to_string().contains("127.0.0.2").then(|| edge["pid"].clone())
    })
    .await;
    load.go_on(1).await;
    load.end().await;
    assert_ne!(moved, next);
    // Nothing is restarted behind the back of the one that took over.
    signal(manager.edge_pid().await.unwrap(), Signal::KILL).unwrap();
    eventually("an edge once more", async || {
        manager.edge_pid().await.ok().filter(|edge| *edge != moved)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_is_killed_when_an_edge_serves_and_no_second_one() {
    let manager = manager().await;
    site(&manager, "app.localhost", "one").await;
    let web = Web::of(&manager).await;
    for number in 0..8 {
        let before = manager.edge_pid().await.unwrap();
        let mut successor = upgrade_by_hand(&manager).await;
        // From before its first word until it serves.
        tokio::time::sleep(Duration::from_millis(number * 18)).await;
        let victim = if number.is_multiple_of(2) { before } else { successor.id().unwrap() };
        signal(victim, Signal::KILL).unwrap();
        let serving = eventually("an edge that answers", async || {
            let answer = web.get("app.localhost", "/").try_send().await.ok()?;
            assert_eq!(answer.text(), "one");
            manager.edge_pid().await.ok()
        })
        .await;
        assert_ne!(serving, victim);
        eventually("the other one to end", async || {
            let edges = edges(&manager);
            (edges == [manager.edge_pid().await.ok()?]).then_some(())
        })
        .await;
        // One that serves runs on.
        drop(successor.try_wait());
        let text = format!("v{number}");
        site(&manager, "changed.localhost", &text).await;
        assert_eq!(web.get("changed.localhost", "/").send().await.text(), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_ends_what_it_began_and_told_twice_it_ends_at_once() {
    let mut manager = manager().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    publish(&manager, &origin).await;
    let web = Web::of(&manager).await;
    manager.stop().await.unwrap();
    for (first, second) in [(Signal::TERM, None), (Signal::QUIT, Some(Signal::TERM))] {
        let ports = [
            format!("--http-port={}", manager.http_port()),
            format!("--https-port={}", manager.https_port()),
        ];
        let edge = manager.edge_pid().await;
        let mut own = None;
        let edge = match edge {
            Ok(edge) => edge,
            Err(_) => {
                let words = ["edge", "--bind=127.0.0.1", &ports[0], &ports[1]];
                own = Some(manager.command(&words).kill_on_drop(true).spawn().unwrap());
                eventually("the edge", async || manager.edge_pid().await.ok()).await
            }
        };
        let hangs = web.clone();
        let path = if second.is_some() { "/hang" } else { "/big/50000000" };
        let asked = tokio::spawn(async move { hangs.get(SECURE, path).try_send().await });
        let seen = || origin.seen().iter().any(|seen| seen.target == path).then_some(());
        eventually("the request to arrive", async || seen()).await;
        signal(edge, first).unwrap();
        if let Some(second) = second {
            eventually("the edge to close its doors", async || {
                std::net::TcpStream::connect(("127.0.0.1", manager.http_port())).err()
            })
            .await;
            signal(edge, second).unwrap();
            assert!(asked.await.unwrap().is_err());
        } else {
            let answer = asked.await.unwrap().unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 50_000_000));
        }
        if let Some(mut own) = own {
            own.wait().await.unwrap();
        }
        eventually("the edge to end", async || (!runs(edge)).then_some(())).await;
    }
}

async fn publish(manager: &Manager, origin: &Origin) {
    let to = origin.address().unwrap();
    let sites = format!(
        "sites:\n  plain: {{ hosts: [{PLAIN}], https: false, to: \"{to}\" }}\n  \
         secure: {{ hosts: [{SECURE}], to: \"{to}\" }}\n"
    );
    let sites = file(manager, "load.yaml", &sites);
    ok(manager, &["apply", "-f", &sites]).await;
}

fn local(manager: &Manager) -> Client {
    let socket = manager.data().join("portway.sock").into_std_path_buf();
    Client::new(ClientConfig::new(Endpoint::Unix(socket))).unwrap()
}

/// Changes the site over TLS a hundred times, each time waiting until the edge has it.
async fn change(client: Client, to: String) {
    for number in 1..=CHANGES {
        let spec = json!({
            "hosts": [SECURE],
            "to": to,
            "headers": { "response": { "set": { "X-Version": number.to_string() } } },
        });
        let edit = EditSite { spec, message: None, rollout: None };
        let changed = client.edit_site("secure", &edit, IfMatch::Any).await.unwrap();
        let query = WaitQuery { timeout: Some(30) };
        let progress = client.progress(changed.revision.unwrap(), &query).await.unwrap();
        assert!(progress.done, "change {number}: {progress:?}");
    }
}

fn copy_of_the_program(manager: &Manager, folder: &str) -> Utf8PathBuf {
    let path = manager.folder().join(folder).join("portway");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::copy(PROGRAM, &path).unwrap();
    path
}

/// Puts another file under the name of a program that runs, as an installation does.
fn replace(program: &Path, write: impl FnOnce(&Path)) {
    use std::os::unix::fs::PermissionsExt as _;
    let new = program.with_extension("new");
    write(&new);
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, program).unwrap();
}

/// Returns the file that a process runs.
fn running(pid: u32) -> Utf8PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap().try_into().unwrap()
}

fn at(manager: &Manager, program: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", manager.folder().join("home"))
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .arg(format!("--data={}", manager.data()))
        .args(words)
        .stdin(std::process::Stdio::null());
    command
}

async fn with(manager: &Manager, program: &str, words: &[&str]) -> std::process::Output {
    at(manager, program, words).output().await.unwrap()
}

/// Starts a successor as `portway edge --upgrade` does.
async fn upgrade_by_hand(manager: &Manager) -> tokio::process::Child {
    let status = manager.edge().await.unwrap();
    let words = status["invocation"]["arguments"].as_array().unwrap().clone();
    let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
    let log = std::fs::File::create(manager.folder().join("successor.log")).unwrap();
    let mut command = at(manager, PROGRAM, &words);
    command.arg("--succeed").stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Returns the processes that are edges of a manager.
fn edges(manager: &Manager) -> Vec<u32> {
    let mark = format!("--data={}", manager.data());
    let is_edge = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.contains(&mark.as_bytes()) && words.contains(&b"edge".as_slice())
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(is_edge)
        .collect()
}

/// Makes a site that answers with a text.
async fn site(manager: &Manager, host: &str, text: &str) {
    let name = host.split('.').next().unwrap();
    let spec = format!("sites: {{ {name}: {{ hosts: [{host}], respond: {{ body: {text} }} }} }}\n");
    let file = file(manager, &format!("{name}.yaml"), &spec);
    ok(manager, &["apply", "-f", &file]).await;
}
