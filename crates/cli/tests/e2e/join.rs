//! Machines that make themselves nodes, through the program: the script of the user-data is run by a
//! real shell, with curl, against a manager.

use std::{fs, process::Command};

use portway_testkit::{manager::Manager, nginx::Nginx, sshd::Sshd};
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::{Value, json};

use crate::support::{ends, json, manager, may_skip, ok};

fn pin(of: char) -> String {
    format!("SHA256:{}A", of.to_string().repeat(42))
}

/// Asks the manager over TCP, as a machine does. Returns status and answer.
fn ask(manager: &Manager, body: &Value) -> (String, Value) {
    let url = format!("http://{}/api/v1/join", manager.api());
    let output = Command::new("curl")
        .args(["-s", "-w", "\n%{http_code}", "-H", "content-type: application/json", "-d"])
        .args([&body.to_string(), &url])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

async fn token(manager: &Manager, more: &[&str]) -> String {
    let words = [&["node", "token", "create", "--engine", "nginx"], more].concat();
    ok(manager, &words).await.out.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_joins_by_the_script_of_its_user_data() {
    if no_curl("a_machine_joins_by_the_script_of_its_user_data") {
        return;
    }
    let manager = manager().await;
    let (sshd, _nginx) = (Sshd::run().unwrap(), Nginx::start().unwrap());
    sshd.authorize(&ok(&manager, &["node", "key"]).await.out).unwrap();
    let url = format!("http://{}", manager.api());
    let port = sshd.port().to_string();
    let words = [
        "node",
        "cloud-init",
        "--engine",
        "nginx",
        "--url",
        &url,
        "--user",
        "deploy",
        "--name",
        "web-7",
        "--ssh-port",
        &port,
        "--label",
        "tier=front",
        "--active",
        "--allow-local",
    ];
    let text = ok(&manager, &words).await.out;

    let yaml = Yaml::load_from_str(&text).unwrap();
    let files = yaml[0]["write_files"].as_sequence().unwrap();
    let folder = sshd.folder().join("join");
    fs::create_dir(&folder).unwrap();
    for file in files {
        let name = file["path"].as_str().unwrap().rsplit('/').next().unwrap();
        fs::write(folder.join(name), file["content"].as_str().unwrap()).unwrap();
    }
    fs::copy(sshd.folder().join("host_ed25519.pub"), folder.join("ssh_host_ed25519_key.pub"))
        .unwrap();
    let key = yaml[0]["users"][1]["ssh_authorized_keys"][0].as_str().unwrap();
    assert_eq!(key, ok(&manager, &["node", "key"]).await.out.trim());
    // `deploy` of the script's rules is whoever runs the test here.
    let joined = Command::new("sh")
        .arg(folder.join("portway-join"))
        .env("PORTWAY_JOIN_DIR", &folder)
        .env("PORTWAY_HOST_KEYS", &folder)
        .output()
        .unwrap();
    assert!(joined.status.success(), "{joined:?}");
    assert!(!folder.join("token").exists(), "it is of no use any more");

    let shown = json(&manager, &["node", "show", "web-7"]).await;
    let spec = &shown["spec"];
    assert_eq!(spec["ssh"]["host_keys"], json!([sshd.fingerprint("ed25519").unwrap()]));
    assert_eq!(spec["ssh"]["address"], json!(format!("deploy@127.0.0.1:{port}")));
    assert_eq!((&spec["labels"]["tier"], &spec["active"]), (&json!("front"), &json!(true)));
    let audit = json(&manager, &["audit", "--action", "node.join"]).await;
    assert_eq!(
        (&audit[0]["from"], &audit[0]["resource"]),
        (&json!("127.0.0.1"), &json!("node web-7"))
    );
    let listed = json(&manager, &["node", "token", "list"]).await;
    assert_eq!((&listed[0]["usable"], &listed[0]["node"]), (&json!(false), &json!("web-7")));
    ok(
        &manager,
        &[
            "node",
            "set",
            "web-7",
            "--ssh",
            &format!("{}@127.0.0.1:{port}", sshd.user()),
            "--host-key",
            &sshd.fingerprint("ed25519").unwrap(),
        ],
    )
    .await;
    let checked = manager.run(&["--output=json", "node", "check", "web-7"]).await.unwrap();
    let checked: Value = checked.json().unwrap();
    assert!(
        checked.get("unseen").is_none(),
        "it is logged in to by the key that joined: {checked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_and_takes_nobodys_place() {
    if no_curl("a_token_works_once_and_takes_nobodys_place") {
        return;
    }
    let manager = manager().await;
    let secret = token(&manager, &["--allow-local"]).await;
    let body =
        |name: &str, key: char| json!({"token": secret, "name": name, "host_keys": [pin(key)]});

    let (first, joined) = ask(&manager, &body("web-1", 'a'));
    assert_eq!((first.as_str(), &joined["active"]), ("201", &json!(false)), "{joined}");
    let (again, repeated) = ask(&manager, &body("web-1", 'a'));
    assert_eq!((again.as_str(), &repeated["node"]), ("201", &json!("web-1")), "a lost answer");
    for (name, key) in [("web-2", 'b'), ("web-1", 'b')] {
        let (status, refused) = ask(&manager, &body(name, key));
        assert_eq!(status, "401", "{refused}");
    }

    let other = token(&manager, &["--allow-local"]).await;
    let claim = json!({"token": other, "name": "web-1", "host_keys": [pin('c')]});
    assert_eq!(ask(&manager, &claim).0, "409");
    let shown = json(&manager, &["node", "show", "web-1"]).await;
    assert_eq!(shown["spec"]["ssh"]["host_keys"], json!([pin('a')]), "it is whose it was");
    let elsewhere = json!({
        "token": other, "name": "web-3", "host_keys": [pin('c')], "address": "203.0.113.9",
    });
    let (status, told) = ask(&manager, &elsewhere);
    assert_eq!((status.as_str(), &told["active"]), ("201", &json!(false)), "{told}");
    assert!(told["findings"][0]["text"].as_str().unwrap().contains("127.0.0.1"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_not_where_the_manager_is_unless_its_token_says_so() {
    if no_curl("a_machine_is_not_where_the_manager_is_unless_its_token_says_so") {
        return;
    }
    let manager = manager().await;
    let secret = token(&manager, &["--active"]).await;
    let body = |address: Value| json!({"token": secret, "name": "web-1", "host_keys": [pin('a')], "address": address});
    for address in [Value::Null, json!("127.0.0.1"), json!("169.254.169.254"), json!("::1")] {
        assert_eq!(ask(&manager, &body(address.clone())).0, "403", "{address}");
    }
    let id = json(&manager, &["node", "token", "list"]).await[0]["id"].clone();
    ok(&manager, &["node", "token", "revoke", id.as_str().unwrap()]).await;
    assert_eq!(ask(&manager, &body(json!("203.0.113.9"))).0, "401");
    for _ in 0..12 {
        ask(&manager, &json!({"token": "pwj_guess", "name": "x", "host_keys": [pin('a')]}));
    }
    let (status, flooded) = ask(&manager, &body(json!("203.0.113.9")));
    assert_eq!(status, "429", "{flooded}");
    ends(&manager, &["node", "token", "create", "--engine", "edge"], 2).await;
    ends(&manager, &["node", "cloud-init", "--engine", "nginx"], 6).await;
}

fn no_curl(test: &str) -> bool {
    Command::new("curl").arg("--version").output().is_err() && may_skip(test, "curl")
}
