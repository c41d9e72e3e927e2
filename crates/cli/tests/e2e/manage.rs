//! Managing the machines behind nodes: commands, services and rights, through the program, on a
//! machine with a user who is not root and a real sudo.

use portway_testkit::{
    bed::{Bed, USER},
    manager::Manager,
    nginx::Nginx,
    origin::{Origin, Speaks},
    sshd::Sshd,
};
use serde_json::{Value, json};

use crate::support::{PROGRAM, ends, eventually, file, json, manager, ok};

/// Gives the machine nginx as a package leaves it, with a page of its own, and the folders that a
/// login which is not root needs: nginx reads as group `www-data`, to which keys and passwords are open.
const PREPARED: &str = "rm -f /etc/nginx/sites-enabled/* /etc/nginx/conf.d/* &&
    printf 'server { listen 80; server_name own; return 204; }' >/etc/nginx/conf.d/own.conf &&
    usermod -aG www-data deploy &&
    install -d -m 711 -o deploy /var/lib/portway && install -d -o deploy /var/log/portway &&
    chown deploy /etc/nginx /etc/nginx/conf.d";

/// nginx as its package leaves it, with a page of its own, and nothing for a login to write.
const AS_PACKAGED: &str = "rm -f /etc/nginx/sites-enabled/* /etc/nginx/conf.d/* &&
    printf 'server { listen 80; server_name own; return 204; }' >/etc/nginx/conf.d/own.conf && nginx";

/// Adds the machine as `web-1`, with the manager's key in the place of the bed's.
async fn add(bed: &Bed, manager: &Manager, prepared: &str) {
    bed.sh(1, prepared).unwrap();
    let key = ok(manager, &["node", "key"]).await.out;
    let allow = format!("echo '{}' >>/home/deploy/.ssh/authorized_keys", key.trim());
    bed.sh(1, &allow).unwrap();
    let address = format!("{USER}@{}", bed.address(1).unwrap());
    let pin = bed.fingerprint(1).unwrap();
    let words = ["node", "add", "web-1", "--engine", "nginx", "--ssh", &address];
    ok(manager, &[&words[..], &["--host-key", &pin]].concat()).await;
}

fn write_rules(bed: &Bed, text: &str) {
    let line = format!(
        "cat >/etc/sudoers.d/portway <<'END'\n{text}END\nchmod 440 /etc/sudoers.d/portway && \
         visudo -cqf /etc/sudoers.d/portway"
    );
    bed.sh(1, &line).unwrap();
}

// The test itself stays on the thread that has entered the bed, with every process that it starts.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_rules_are_enough_for_all_that_is_done_and_for_nothing_else() {
    let test = "portway-cli::e2e manage::the_printed_rules_are_enough_for_all_that_is_done_and_for_nothing_else";
    let Some(bed) = Bed::up(test, 1).unwrap() else { return };
    bed.enter().unwrap();
    let manager = manager().await;
    add(&bed, &manager, PREPARED).await;

    let without = ends(&manager, &["node", "check", "web-1"], 3).await;
    assert!(without.err.contains("portway node sudoers web-1"), "{}", without.err);
    let rules = json(&manager, &["node", "sudoers", "web-1"]).await;
    assert_eq!((&rules["user"], &rules["path"]), (&json!(USER), &json!("/etc/sudoers.d/portway")));
    write_rules(&bed, rules["text"].as_str().unwrap());
    let stopped = ends(&manager, &["node", "check", "web-1"], 3).await;
    assert!(stopped.err.contains("nginx does not run on the node"), "{}", stopped.err);
    assert!(stopped.err.contains("1 error"), "and nothing else: {}", stopped.err);

    let started = json(&manager, &["node", "start", "web-1"]).await;
    let with = json(&manager, &["node", "check", "web-1"]).await;
    assert_eq!(with["ready"], json!(true), "{with}");
    let states = |told: &Value| (told["before"]["runs"].clone(), told["after"]["runs"].clone());
    assert_eq!(states(&started), (json!(false), json!(true)), "{started}");
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    ok(&manager, &["site", "add", "app.example", "--to", &to, "--node", "web-1", "--no-https"])
        .await;
    let shown = json(&manager, &["node", "show", "web-1"]).await;
    assert_eq!(shown["state"], json!("ready"), "it was deployed to with these rules: {shown}");
    let reloaded = json(&manager, &["node", "reload", "web-1"]).await;
    assert_eq!(states(&reloaded), (json!(true), json!(true)), "{reloaded}");
    let restarted = json(&manager, &["node", "restart", "web-1"]).await;
    assert_eq!(states(&restarted), (json!(true), json!(true)), "{restarted}");

    let unasked = ends(&manager, &["node", "stop", "web-1"], 2).await;
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    let stopped = ok(&manager, &["node", "stop", "web-1", "--yes"]).await;
    assert!(stopped.out.contains("nothing answers on port 80"), "{}", stopped.out);
    let audit = json(&manager, &["audit", "--action", "node.stop"]).await;
    assert_eq!(
        (&audit[0]["resource"], &audit[0]["outcome"]),
        (&json!("node web-1"), &json!("done"))
    );

    let beyond = ["node", "exec", "web-1", "--", "sudo", "-n", "id", "-u"];
    let refused = ends(&manager, &beyond, 1).await;
    assert!(refused.err.contains("sudo"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_check_says_is_all_that_a_login_needs_and_it_owns_nothing_of_nginx() {
    const ROOT: &str = "as root on the node: `";
    let test = "portway-cli::e2e manage::what_the_check_says_is_all_that_a_login_needs";
    let Some(bed) = Bed::up(test, 1).unwrap() else { return };
    bed.enter().unwrap();
    let manager = manager().await;
    add(&bed, &manager, AS_PACKAGED).await;
    let rules = json(&manager, &["node", "sudoers", "web-1"]).await;
    write_rules(&bed, rules["text"].as_str().unwrap());

    let found = ends(&manager, &["node", "check", "web-1", "--output", "json"], 3).await;
    let found: Value = serde_json::from_str(&found.out).unwrap();
    for finding in found["findings"].as_array().unwrap() {
        let remedy = finding["remedy"]["text"].as_str().unwrap_or_default();
        let Some((_, command)) = remedy.split_once(ROOT) else { continue };
        bed.sh(1, command.split_once('`').unwrap().0).unwrap();
    }
    ok(&manager, &["node", "check", "web-1"]).await;
    bed.sh(1, "nginx -t -q").unwrap();

    let site = json!({
        "hosts": ["app.example"], "respond": {"body": "here"}, "https": false, "nodes": ["web-1"],
    });
    let sites = file(&manager, "app.yaml", &json!({"sites": {"app": site}}).to_string());
    ok(&manager, &["apply", "-f", &sites]).await;
    let asked = "curl -s -o /dev/null -w '%{http_code}' -H 'Host: app.example' http://127.0.0.1/";
    assert_eq!(bed.sh(1, asked).unwrap(), "200");
    let owned = "find /etc/nginx -user deploy -o -perm -o+w -not -type l | wc -l";
    assert_eq!(bed.sh(1, owned).unwrap().trim(), "0");

    ok(&manager, &["node", "remove", "web-1", "--clean", "--even-if-named"]).await;
    eventually("nothing but what root made is left", async || {
        let left = bed.sh(1, "find /var/lib/portway -type f -o -type l").unwrap();
        (left.trim() == "/var/lib/portway/current.conf").then_some(())
    })
    .await;
    bed.sh(1, "nginx -t -q && ! test -s /var/lib/portway/current.conf").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_its_words_and_gives_its_output_and_its_code() {
    let manager = manager().await;
    let (sshd, _nginx) = machine(&manager).await;

    let hostile = ["node", "exec", "web-1", "--", "printf", "%s|", "a b", "$(id)", "it's", "*"];
    assert_eq!(ok(&manager, &hostile).await.out, "a b|$(id)|it's|*|");
    let both = ["node", "exec", "web-1", "--", "sh", "-c", "echo out; echo err >&2; exit 7"];
    let ran = ends(&manager, &both, 7).await;
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));

    let slow = ["sh", "-c", "echo begun; exec sleep 300"];
    let words = [&["node", "exec", "web-1", "--deadline", "1s", "--"][..], &slow].concat();
    let ended = ends(&manager, &words, 124).await;
    assert_eq!(ended.out, "begun\n", "what it printed until then is told");
    assert!(ended.err.contains("after 1 s"), "{}", ended.err);

    let many = ["node", "exec", "web-1", "--", "head", "-c", "1048580", "/dev/zero"];
    let cut = json(&manager, &many).await;
    assert_eq!((&cut["stdout_cut"], &cut["exit_code"]), (&json!(4), &json!(0)));
    let missing = ends(&manager, &["node", "exec", "web-1", "--", "no-such-program"], 6).await;
    assert!(missing.err.contains("no program `no-such-program`"), "{}", missing.err);
    ends(&manager, &["node", "exec", "web-1", "--deadline", "11m", "--", "id"], 2).await;

    let begun = json(&manager, &["audit", "--action", "node.exec"]).await;
    assert_eq!(begun[4]["detail"], json!("printf '%s|' 'a b' '$(id)' 'it'\\''s' '*'"));
    let over = json(&manager, &["audit", "--action", "node.exec.end"]).await;
    let detail = over[3]["detail"].as_str().unwrap();
    assert!(detail.contains("exit 7") && detail.contains("exit code 7 after"), "{detail}");
    drop(sshd);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_can_run_no_commands_for_people() {
    let mut manager = Manager::new(PROGRAM).unwrap().with("--node-exec=false");
    manager.serve().await.unwrap();
    let (_sshd, _nginx) = machine(&manager).await;

    let refused = ends(&manager, &["node", "exec", "web-1", "--", "id"], 5).await;

    assert!(refused.err.contains("--node-exec false"), "{}", refused.err);
    let audit = json(&manager, &["audit", "--refused"]).await;
    assert_eq!(audit[0]["action"], json!("node.exec"));
    ok(&manager, &["node", "check", "web-1"]).await;
}

/// Adds a node on this machine, reached over SSH.
async fn machine(manager: &Manager) -> (Sshd, Nginx) {
    let (sshd, nginx) = (Sshd::run().unwrap(), Nginx::start().unwrap());
    let key = ok(manager, &["node", "key"]).await.out;
    sshd.authorize(&key).unwrap();
    let address = format!("{}@127.0.0.1:{}", sshd.user(), sshd.port());
    let pin = sshd.fingerprint("ed25519").unwrap();
    let (config, include) = (nginx.top_level(), nginx.folder().join("conf.d/portway.conf"));
    let home = nginx.folder().join("portway");
    let ports = [nginx.http(), nginx.https(), nginx.probe()].map(|port| port.to_string());
    let words = [
        "node",
        "add",
        "web-1",
        "--engine",
        "nginx",
        "--ssh",
        &address,
        "--host-key",
        &pin,
        "--config",
        config.as_str(),
        "--include",
        include.as_str(),
        "--home",
        home.as_str(),
        "--http-port",
        &ports[0],
        "--https-port",
        &ports[1],
        "--probe-port",
        &ports[2],
    ];
    ok(manager, &words).await;
    eventually("the node to be reached", async || {
        let shown = json(manager, &["node", "show", "web-1"]).await;
        (shown["state"] == "ready").then_some(())
    })
    .await;
    (sshd, nginx)
}
