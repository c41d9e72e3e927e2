//! TLS as others judge it: testssl.sh examines what the real program serves, and OpenSSL asks for
//! odd server names.

use std::process::Stdio;

use portway_testkit::manager::Manager;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{file, manager, may_skip, ok};

/// A site whose answer is worth compressing, with the headers that are a site's own choice.
const SITE: &str = "
sites:
  app:
    hosts: [app.localhost]
    respond: {body: 'PAGE'}
    headers:
      response:
        set:
          Strict-Transport-Security: max-age=31536000
          Content-Security-Policy: default-src 'self'
          X-Content-Type-Options: nosniff
          X-Frame-Options: DENY
          Referrer-Policy: no-referrer
";

/// What testssl.sh is asked for, at the same time, as it waits most of its time.
const EXAMINATIONS: [&[&str]; 4] = [
    // Versions, ciphers of each class, forward secrecy, what the server prefers.
    &["--protocols", "--standard", "--pfs", "--server-preference"],
    // Certificate, extensions, sessions; the headers of an answer.
    &["--server-defaults", "--headers"],
    // Every attack that it knows.
    &["--vulnerable"],
    // Bugs in reading what clients say.
    &["--grease"],
];

/// What it finds and may find, with the reason.
const EXPECTED: [(&str, &str); 4] = [
    // All that is left are ciphers with forward secrecy and authentication. Each client knows which
    // of them is fastest on its processor.
    ("cipher_order", "NOT a cipher order configured"),
    // The local authority publishes no lists; its certificates live for 90 days. Those of public
    // authorities name theirs.
    ("cert_revocation", "Neither CRL nor OCSP URI provided"),
    // This page holds no secrets. Where there are credentials, and another site caused the request,
    // nothing is compressed (`edge::compress::acceptable`), which is not what it asks for.
    ("BREACH", "potentially VULNERABLE"),
    // It says of the OpenSSL at hand that it cannot speak what nobody wants spoken.
    ("engine_problem", "No engine"),
];

#[tokio::test(flavor = "multi_thread")]
async fn testssl_finds_nothing_but_what_is_so_by_design() {
    let Some(testssl) = testssl().await else { return };
    let manager = manager().await;
    let text = SITE.replace("PAGE", &"worth compressing ".repeat(200));
    ok(&manager, &["apply", "-f", &file(&manager, "app.yaml", &text)]).await;
    let root = manager.folder().join("root.pem");
    std::fs::write(&root, &authority(&manager).await).unwrap();

    let examining = (0..).zip(EXAMINATIONS).map(|(number, tests)| {
        let report = manager.folder().join(format!("testssl-{number}.json"));
        let mut command = Command::new(testssl);
        command
            .args(["--quiet", "--color=0", "--warnings=batch", "--nodns=none", "--ip=127.0.0.1"])
            .arg(format!("--add-ca={root}"))
            .arg(format!("--jsonfile={report}"))
            .args(tests)
            .arg(format!("https://app.localhost:{}/", manager.https_port()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        async move {
            let output = command.output().await.unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let report = std::fs::read(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
            serde_json::from_slice::<Vec<Value>>(&report).unwrap()
        }
    });
    let findings: Vec<Value> =
        futures_util::future::join_all(examining).await.into_iter().flatten().collect();

    let found = |id: &str| findings.iter().find(|finding| finding["id"] == id);
    for id in ["TLS1_2", "TLS1_3", "heartbleed", "BREACH", "HSTS_time", "GREASE"] {
        assert!(found(id).is_some(), "{id} was examined: {findings:#?}");
    }
    assert_eq!(found("cert_chain_of_trust").unwrap()["finding"], "passed.");
    let bad: Vec<&Value> = findings.iter().filter(|finding| !is_well(finding)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_server_names_get_their_site_the_fallback_or_an_alert() {
    if Command::new("openssl").arg("version").output().await.is_err() {
        may_skip("odd server names", "openssl");
        return;
    }
    let manager = manager().await;
    let text = "sites:\n  app: {hosts: [app.localhost, '*.wild.localhost'], respond: {body: x}}\n";
    ok(&manager, &["apply", "-f", &file(&manager, "app.yaml", text)]).await;
    let long = |last: usize| {
        let labels = ["a", "b", "c"].map(|letter| letter.repeat(63));
        format!("{}.{}", labels.join("."), "d".repeat(last))
    };
    let (longest, too_long) = (long(61), long(63));
    for (name, answer) in [
        ("app.localhost", Answer::Site),
        ("APP.LocalHost", Answer::Site),
        ("app.localhost.", Answer::Site),
        ("x.wild.localhost", Answer::Site),
        ("x.y.wild.localhost", Answer::Fallback),
        ("wild.localhost", Answer::Fallback),
        ("", Answer::Fallback),
        // As if there were no name: an address is none (RFC 6066 §3).
        ("127.0.0.1", Answer::Fallback),
        (&longest, Answer::Fallback),
        // What no name can be: 255 letters, a pattern, spaces, ports, bytes beyond ASCII.
        (&too_long, Answer::Alert),
        ("*.wild.localhost", Answer::Alert),
        ("app localhost", Answer::Alert),
        ("app.localhost:443", Answer::Alert),
        ("app.löcalhost", Answer::Alert),
    ] {
        assert_eq!(ask(&manager, name).await, answer, "{name}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The certificate of the site.
    Site,
    /// A certificate of no site.
    Fallback,
    /// No certificate.
    Alert,
}

/// Tells which certificate answers to a server name; an empty one is not sent.
async fn ask(manager: &Manager, name: &str) -> Answer {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &format!("127.0.0.1:{}", manager.https_port())]);
    if name.is_empty() {
        client.arg("-noservername");
    } else {
        client.args(["-servername", name]);
    }
    let output = client.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains("BEGIN CERTIFICATE") {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("alert illegal parameter"), "{name}: {error}{said}");
        return Answer::Alert;
    }
    let mut reader = Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    reader.stdin.take().unwrap().write_all(said.as_bytes()).await.unwrap();
    let names = reader.wait_with_output().await.unwrap().stdout;
    let names = String::from_utf8_lossy(&names);
    if names.contains("DNS:app.localhost") { Answer::Site } else { Answer::Fallback }
}

/// Tells whether a finding is good, or there for a reason.
fn is_well(finding: &Value) -> bool {
    let is = |key: &str, text: &str| finding[key].as_str().is_some_and(|it| it.contains(text));
    matches!(finding["severity"].as_str(), Some("OK" | "INFO" | "DEBUG"))
        || EXPECTED.iter().any(|(id, text)| finding["id"] == *id && is("finding", text))
}

/// Returns the root that clients of this manager trust.
async fn authority(manager: &Manager) -> Vec<u8> {
    let root = crate::web::api(manager, "GET", "/api/v1/ca", None).await;
    assert_eq!(root.status, 200, "{root:?}");
    root.body.to_vec()
}

/// Returns the program as Debian or as its makers name it, unless there is none.
async fn testssl() -> Option<&'static str> {
    for name in ["testssl", "testssl.sh"] {
        if Command::new(name).arg("--version").stdin(Stdio::null()).output().await.is_ok() {
            return Some(name);
        }
    }
    may_skip("testssl_finds_nothing_but_what_is_so_by_design", "testssl.sh");
    None
}
