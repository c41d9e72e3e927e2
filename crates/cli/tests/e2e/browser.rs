//! What people see in a browser. The scripts are in `tests/browser`; `make test` installs what they
//! need. Their pictures are kept in `tests/browser/test-results`.

use portway_testkit::websocket::WebSocketEcho;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    example::{Example, HOST},
    support::{PASSWORD, file, log_line, manager, may_skip, ok, repository},
};

/// A page and a WebSocket of an application.
const CHAT: &str = "
sites:
  chat:
    hosts: [chat.localhost]
    routes:
      - path: /
        respond: {body: a page}
      - path: /ws
        to: APPLICATION
";

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_portway_work_for_everyone() {
    let Some(chromium) = chromium("the_pages_of_portway_work_for_everyone") else { return };
    let manager = manager().await;
    ok(&manager, &["site", "add", "shop.localhost", "--to", "9"]).await;
    let said = manager.said("out").unwrap();
    let link = said.split_whitespace().find(|word| word.contains("/setup?token=")).unwrap();
    let settings = json!({
        "chromium": chromium,
        "portway": format!("http://localhost:{}/", manager.api().port()),
        "link": link,
        "admin": { "name": "ann", "password": PASSWORD },
    });
    visit("portway.mjs", settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_tried_out_under_its_path_prefix() {
    let Some(chromium) = chromium("the_example_is_tried_out_under_its_path_prefix") else { return };
    let example = Example::publish().await;
    let login = |part: &str| {
        let (user, password) = example.login(part);
        json!({ "user": user, "password": password })
    };
    let settings = json!({
        "chromium": chromium,
        "site": format!("https://{HOST}:{}/", example.manager.https_port()),
        "api": login("api"),
        "close": login("close"),
    });
    visit("jwt-api.mjs", settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_over_http2_talks_to_its_application_by_websocket() {
    let test = "a_page_over_http2_talks_to_its_application_by_websocket";
    let Some(chromium) = chromium(test) else { return };
    let Some(echo) = WebSocketEcho::start().await.unwrap() else {
        may_skip(test, "Python environment (PORTWAY_PYTHON_ENV)");
        return;
    };
    let manager = manager().await;
    let spec = CHAT.replace("APPLICATION", &echo.address().to_string());
    ok(&manager, &["apply", "-f", &file(&manager, "chat.yaml", &spec)]).await;
    let site = format!("chat.localhost:{}/", manager.https_port());
    visit("websocket.mjs", json!({ "chromium": chromium, "site": site })).await;
    let line = log_line(&manager, "main.access.log", "\"status\":101").await;
    assert_eq!((&line["path"], &line["protocol"]), (&json!("/ws"), &json!("HTTP/1.1")));
}

/// Runs a script; it must succeed.
async fn visit(script: &str, mut settings: Value) {
    let folder = repository().join("tests/browser");
    settings["pictures"] = json!(folder.join("test-results"));
    let ended = Command::new("node")
        .arg(script)
        .arg(settings.to_string())
        .current_dir(&folder)
        .kill_on_drop(true)
        .output();
    let patience = std::time::Duration::from_secs(100);
    let output = tokio::time::timeout(patience, ended).await.expect("no end in time").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
}

/// Returns the browser, unless something is missing and the test may be left out.
fn chromium(test: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let browser = browsers.into_iter().find_map(find);
    let packages = repository().join("tests/browser/node_modules/playwright-core");
    if browser.is_none() || find("node").is_none() || !packages.exists() {
        may_skip(test, "chromium, node or tests/browser/node_modules");
        return None;
    }
    browser.map(|browser| browser.to_string_lossy().into_owned())
}
