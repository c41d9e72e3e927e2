//! Configurations that were taken over, held against the programs that they were made for: the same
//! requests to nginx and to the edge.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
    port::Port,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use crate::{
    fleet::machine::Machine,
    support::{eventually, json, manager, ok},
    web::Web,
};

/// `secret`, at the least cost.
const HASH: &str = "$2y$04$XS0w5L8Do/BMcKJb1yqLTueAoTlnRVQCnj4zCbLGfMH3NXWrRdrmO";

/// What is asked: method, host, path, where from, and whether over HTTPS.
type Asked = (&'static str, &'static str, &'static str, [u8; 4], bool);

/// An answer, as far as it is compared.
#[derive(Debug, PartialEq, Eq)]
struct Answered {
    status: u16,
    location: String,
    body: String,
}

/// nginx with the configuration as it stands on the machine it came from.
struct Running {
    process: Child,
    plain: Port,
    secure: Port,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nginx_served_is_served_and_what_it_kept_back_is_kept_back() {
    let mut manager = Manager::new(crate::support::PROGRAM).unwrap();
    manager.serve().await.unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let second = Origin::tcp(Speaks::Http1).await.unwrap();
    let folder = manager.folder().join("etc-nginx");
    let www = manager.folder().join("www");
    write_files(&www);
    let fill = |text: &str| {
        text.replace("@ORIGIN@", &origin.address().unwrap().to_string())
            .replace("@ORIGIN2@", &second.address().unwrap().to_string())
            .replace("@WWW@", www.as_str())
            .replace("@HASH@", HASH)
    };
    let tree = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/trees/debian");
    copy(&tree, &folder, &fill);

    let sites = manager.folder().join("sites");
    let words = ["import", "nginx", folder.as_str(), "--to", sites.as_str(), "--apply", "--yes"];
    ok(&manager, &words).await;
    assert!(sites.join("import-report.txt").exists());
    let listed = json(&manager, &["site", "list"]).await;
    assert!(listed.as_array().is_some_and(|sites| sites.len() >= 20), "{listed}");

    let nginx = start(&folder, manager.folder()).await;
    let web = Web::of(&manager).await;
    let mut differences = Vec::new();
    for (method, host, path, from, is_tls) in requests() {
        let port = if is_tls { nginx.secure.number() } else { nginx.plain.number() };
        let expected = ask(port, method, host, path, from).await;
        let asked = web.ask(method, host, path).from(from);
        let asked = if is_tls { asked } else { asked.plain() };
        let answer = asked.send().await;
        let actual = Answered {
            status: answer.status,
            location: answer.header("location").to_owned(),
            body: seen(&answer.text()),
        };
        // The text of an error is each server's own.
        let is_same = actual.status == expected.status
            && same_place(&actual.location, &expected.location)
            && (actual.status >= 300 || actual.body == expected.body);
        if !is_same && !is_known(host, path, &expected, &actual) {
            differences.push(format!("{method} {host}{path}: {expected:?} was, {actual:?} is"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    manager.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_prints_its_sites_and_changes_nothing_by_itself() {
    let manager = manager().await;
    let path = crate::support::file(
        &manager,
        "nginx.conf",
        "server {\n  listen 80;\n  server_name a.example.org;\n  auth_request /x;\n  \
         location / { proxy_pass http://127.0.0.1:1; }\n}\n",
    );
    let ran = ok(&manager, &["import", "nginx", &path]).await;
    assert!(ran.out.contains("allow: []") && ran.out.contains("127.0.0.1:1"), "{}", ran.out);
    assert!(ran.err.contains("nginx.conf:4: not converted (closes)"), "{}", ran.err);
    let found = json(&manager, &["import", "nginx", &path]).await;
    assert_eq!(found["report"].as_array().map(Vec::len), Some(6), "{found}");
    let sites = json(&manager, &["site", "list"]).await;
    assert!(!sites.to_string().contains("a.example.org"), "{sites}");
    let missing = manager.run(&["import", "nginx", "/nowhere.conf"]).await.unwrap();
    assert_eq!(missing.code, 1, "{}", missing.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_scanned_and_its_sites_are_for_it() {
    let manager = manager().await;
    let machine = Machine::start();
    let folder = machine.engine.folder();
    let site = "server {\n  listen 80;\n  server_name old.example.org;\n  location / { proxy_pass \
                http://127.0.0.1:1; }\n  location /in { auth_request /x; proxy_pass \
                http://127.0.0.1:1; }\n}\n";
    fs::write(folder.join("conf.d/old.conf"), site).unwrap();
    fs::write(folder.join("conf.d/big.conf"), "#".repeat(2 << 20)).unwrap();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;

    let scanned = json(&manager, &["node", "scan", "web-1"]).await;
    let site = &scanned["sites"]["old.example.org"];
    assert_eq!(site["nodes"], serde_json::json!(["web-1"]), "{scanned}");
    let report = scanned["report"].to_string();
    assert!(report.contains("auth_request /x") && report.contains("more than 1 MiB"), "{report}");
    let listed = json(&manager, &["site", "list"]).await;
    assert!(!listed.to_string().contains("old.example.org"), "nothing is applied: {listed}");

    fs::remove_file(folder.join("conf.d/big.conf")).unwrap();
    let to = manager.folder().join("scanned");
    let words = ["node", "scan", "web-1", "--to", to.as_str(), "--apply", "--yes"];
    ok(&manager, &words).await;
    assert!(to.join("old.example.org.yaml").exists());
    let again = json(&manager, &["node", "scan", "web-1"]).await;
    let report = again["report"].as_array().unwrap();
    let own = |entry: &&serde_json::Value| {
        let is_own = |file: &str| file.contains("/portway/") || file.ends_with("portway.conf");
        entry["file"].as_str().is_some_and(is_own)
    };
    assert_eq!(report.iter().filter(own).count(), 0, "what Portway put there is passed over");
}

fn requests() -> Vec<Asked> {
    const HERE: [u8; 4] = [127, 0, 0, 1];
    const THERE: [u8; 4] = [127, 0, 0, 2];
    let plain = [
        ("app", "/x?y=1"),
        ("chat", "/room"),
        ("spa", "/"),
        ("spa", "/app.js"),
        ("spa", "/api/users?a=b"),
        ("static", "/"),
        ("static", "/page.html"),
        ("static", "/gone.html"),
        ("static", "/files/a.txt"),
        ("static", "/robots.txt"),
        ("static", "/.git/config"),
        ("blog", "/index.php"),
        ("blog", "/wp-config.php"),
        ("blog", "/.htaccess"),
        ("blog", "/style.css"),
        ("www.site", "/a?b=c"),
        ("site", "/a"),
        ("staff", "/"),
        ("staff", "/deep/x"),
        ("staff", "/public/x"),
        ("staff", "/publicx"),
        ("staff", "/health"),
        ("inside", "/"),
        ("inside", "/open/x"),
        ("inside", "/openx"),
        ("inside", "/closed/x"),
        ("inside", "/most/x"),
        ("many", "/x"),
        ("strip", "/app/x?y"),
        ("strip", "/app"),
        ("strip", "/v1/x"),
        ("strip", "/other"),
        ("moved", "/old/a?b"),
        ("moved", "/here"),
        ("moved", "/feed/"),
        ("moved", "/else"),
        ("read", "/"),
        ("read", "/form"),
        ("nested", "/x"),
        ("nested", "/uploads/a.txt"),
        ("nested", "/uploads/a.php"),
        ("nested", "/a.php"),
        ("prefix", "/"),
        ("prefix", "/admin"),
        ("prefix", "/admin/x"),
        ("prefix", "/administrator"),
        ("prefix", "/admin/public/x"),
        ("guarded", "/"),
        ("guarded", "/sso/x"),
        ("guarded", "/check"),
        ("rails", "/x"),
        ("down", "/x"),
        ("headers", "/x"),
        ("secure", "/x"),
    ];
    let secure = [
        ("app", "/x?y=1"),
        ("secure", "/page.html"),
        ("secure", "/private/x"),
        ("secure", "/gone"),
    ];
    let mut requests: Vec<Asked> = Vec::new();
    for (host, path) in plain {
        let host: &str = Box::leak(format!("{host}.example.org").into_boxed_str());
        requests.push(("GET", host, path, HERE, false));
        requests.push(("GET", host, path, THERE, false));
    }
    for method in ["POST", "DELETE", "HEAD"] {
        requests.push((method, "read.example.org", "/", HERE, false));
        requests.push((method, "read.example.org", "/form", HERE, false));
    }
    for (host, path) in secure {
        let host: &str = Box::leak(format!("{host}.example.org").into_boxed_str());
        requests.push(("GET", host, path, HERE, true));
    }
    requests
}

/// Differences that the report tells: what is answered by `FastCGI` or asks another service, and what
/// nginx leads to by a file that it looks for first.
fn is_known(host: &str, path: &str, was: &Answered, is: &Answered) -> bool {
    match host {
        // There is no such server in this test, nor here.
        "blog.example.org" => was.status >= 500 && (is.status == 404 || is.status == 503),
        // The other service lets in whom it likes; here it is closed.
        "guarded.example.org" if path.starts_with("/sso/") => is.status == 403,
        _ => false,
    }
}

/// nginx writes the host into each address, with its own port.
fn same_place(one: &str, other: &str) -> bool {
    let bare = |text: &str| {
        let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = host.split(':').next().unwrap_or(host);
        format!("{scheme}://{host}{path}")
    };
    let path = |text: &str| {
        let text = bare(text);
        text.split_once("://").map_or(text.clone(), |(_, rest)| {
            rest.split_once('/').map_or("/".to_owned(), |(_, path)| format!("/{path}"))
        })
    };
    bare(one) == bare(other) || (one.starts_with('/') && path(one) == path(other))
}

/// Returns what the application says it was asked, without headers: those are each server's own.
fn seen(body: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(value) if value.get("target").is_some() => {
            format!("{} {}", value["method"], value["target"])
        }
        Ok(_) | Err(_) => body.to_owned(),
    }
}

fn write_files(www: &Utf8Path) {
    for (path, text) in [
        ("spa/index.html", "the app"),
        ("spa/app.js", "code"),
        ("static/index.html", "start"),
        ("static/page.html", "page"),
        ("static/robots.txt", "robots"),
        ("static/.git/config", "secret"),
        ("static/private/x", "secret"),
        ("files/a.txt", "a file"),
        ("blog/index.php", "<?php secret"),
        ("blog/wp-config.php", "<?php secret"),
        ("blog/.htaccess", "secret"),
        ("blog/style.css", "style"),
        ("uploads/a.txt", "an upload"),
        ("uploads/a.php", "<?php secret"),
        ("rails/unused", ""),
    ] {
        let path = www.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn copy(from: &Utf8Path, to: &Utf8Path, fill: &dyn Fn(&str) -> String) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(entry.path(), &target, fill);
        } else {
            fs::write(target, fill(&fs::read_to_string(entry.path()).unwrap())).unwrap();
        }
    }
}

/// Starts nginx with a tree, on ports of its own: what spoke TLS speaks plain HTTP on the second.
async fn start(tree: &Utf8Path, folder: &Utf8Path) -> Running {
    let (plain, secure) = (Port::take().unwrap(), Port::take().unwrap());
    let real: Utf8PathBuf = folder.join("nginx-as-it-was");
    let fill = |text: &str| {
        let lines = text.lines().map(|line| {
            let bare = line.trim();
            if bare.starts_with("listen [") || bare.starts_with("ssl_") || bare.starts_with("user ")
            {
                return String::new();
            }
            if bare.starts_with("pid ")
                || bare.starts_with("error_log")
                || bare.starts_with("access_log /")
            {
                let (name, file) = bare.split_once(' ').unwrap_or((bare, ""));
                let file = file.rsplit('/').next().unwrap_or_default();
                return format!("{name} {real}/{file}");
            }
            line.replace("listen 80", &format!("listen 127.0.0.1:{}", plain.number()))
                .replace("listen 443 ssl http2", &format!("listen 127.0.0.1:{}", secure.number()))
                .replace("listen 443 ssl", &format!("listen 127.0.0.1:{}", secure.number()))
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    copy(tree, &real, &fill);
    let config = real.join("nginx.conf");
    let process = Command::new("nginx")
        .args(["-p", real.as_str(), "-c", config.as_str(), "-g", "daemon off;"])
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let running = Running { process, plain, secure };
    eventually("nginx", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", running.plain.number())).await.ok()
    })
    .await;
    running
}

async fn ask(port: u16, method: &str, host: &str, path: &str, from: [u8; 4]) -> Answered {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((std::net::Ipv4Addr::from(from), 0).into()).unwrap();
    let mut stream = socket.connect((std::net::Ipv4Addr::LOCALHOST, port).into()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let location =
        head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
    // A body in chunks: one chunk is enough for these answers.
    let body = if head.contains("Transfer-Encoding: chunked") {
        body.lines().nth(1).unwrap_or_default()
    } else {
        body
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answered { status, location: location.to_owned(), body: seen(body) }
}
