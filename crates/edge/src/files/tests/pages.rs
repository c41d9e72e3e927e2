//! Fallbacks of applications, and listings.

use super::*;

const PAGE: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn application() -> Site {
    let files = [("index.html", "the app"), ("assets/app.js", "js"), ("docs/index.html", "docs")];
    let mut site = Site::new(&[files[0], files[1], files[2], (".git/config", "secret")]);
    site.edit(|root| {
        root.spa = true;
        root.cache_control = "max-age=31536000, immutable".to_owned();
    });
    site
}

#[tokio::test]
async fn paths_of_an_application_get_its_page() {
    let site = application();
    for path in ["/users/5", "/users/5/", "/deep/er/path", "/assets/", "/assets", "/%C3%A4"] {
        for accept in [PAGE, ("accept", "*/*"), ("accept", "text/html")] {
            let response = site.ask("GET", path, &[accept]).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header(&response, "cache-control"), "no-cache");
            assert_eq!(header(&response, "vary"), "accept-encoding, accept");
            assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
            assert_eq!(text(response).await, "the app", "{path}");
        }
    }
    let response = site.get("/").await.unwrap();
    assert_eq!(header(&response, "cache-control"), "no-cache");
    let response = site.get("/assets/app.js").await.unwrap();
    assert_eq!(header(&response, "cache-control"), "max-age=31536000, immutable");
    assert_eq!(text(site.get("/docs/").await.unwrap()).await, "docs");
    let response = site.ask("GET", "/docs", &[PAGE]).await.unwrap();
    assert_eq!(header(&response, "location"), "/docs/");
}

#[tokio::test]
async fn what_is_no_page_stays_missing() {
    let site = application();
    let json = ("accept", "application/json, text/plain, */*");
    for (path, accept) in [
        ("/assets/gone.js", PAGE),
        ("/favicon.ico", PAGE),
        ("/app.js/", PAGE),
        ("/.git/config", PAGE),
        ("/.env", PAGE),
        ("/api/users", json),
        ("/api/users", ("accept", "image/png")),
        ("/users/5", ("accept", "text/html;q=0")),
    ] {
        let fault = site.ask("GET", path, &[accept]).await.unwrap_err();
        assert!(matches!(fault, FileFault::NotFound), "{path}: {fault:?}");
    }
    let fault = site.ask("POST", "/users/5", &[PAGE]).await.unwrap_err();
    assert!(matches!(fault, FileFault::Method));
    fs::remove_file(site.folder.join("index.html")).unwrap();
    assert!(matches!(site.ask("GET", "/users/5", &[PAGE]).await, Err(FileFault::NotFound)));
}

#[tokio::test]
async fn without_the_choice_there_is_neither_fallback_nor_listing() {
    let site = Site::new(&[("index.html", "page"), ("folder/file", "x")]);
    for path in ["/users/5", "/folder/", "/folder"] {
        assert!(matches!(site.ask("GET", path, &[PAGE]).await, Err(FileFault::NotFound)), "{path}");
    }
}

fn listed() -> Site {
    let files = [("pub/b <&>.txt", "12345"), ("pub/a.txt", ""), ("pub/.hidden", "secret")];
    let mut site = Site::new(&files);
    site.write("pub/sub/x", "x");
    site.write("pub/.well-known/x", "x");
    site.write("with/index.html", "own page");
    fs::write(site.folder.join("../secret"), "secret").unwrap();
    symlink("../../secret", site.folder.join("pub/out")).unwrap();
    symlink("missing", site.folder.join("pub/broken")).unwrap();
    symlink("a.txt", site.folder.join("pub/link")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let pipe = site.folder.join("pub/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, pipe.as_std_path(), mode).unwrap();
    site.age("pub/a.txt", std::time::UNIX_EPOCH);
    site.edit(|root| root.listing = true);
    site
}

#[tokio::test]
async fn a_listing_for_programs_holds_what_can_be_asked_for() {
    let site = listed();
    let json = ("accept", "application/json");
    let response = site.ask("GET", "/pub/", &[json]).await.unwrap();
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "cache-control"), "no-cache");
    assert_eq!(header(&response, "vary"), "accept");
    let listing: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(listing["path"], "/pub/");
    assert_eq!(listing["complete"], true);
    let entries = listing["entries"].as_array().unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["sub", "a.txt", "b <&>.txt", "link"]);
    assert_eq!(entries[0]["type"], "folder");
    assert_eq!(entries[1]["modified"], "1970-01-01T00:00:00Z");
    assert_eq!(entries[2]["size"], 5);
    for name in &names[1..] {
        let path = format!("/pub/{name}");
        let request = request("GET", "/x", &[]);
        assert!(serve(&site.shelf, &site.root, &path, "/x", &request).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_listing_for_people_is_a_page_without_scripts_in_which_names_are_only_names() {
    let site = listed();
    let request = request("GET", "/pub/?sort=size&order=desc", &[PAGE]);
    let response = serve(&site.shelf, &site.root, "/pub/", "/pub/", &request).await.unwrap();
    assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
    let policy = header(&response, "content-security-policy");
    assert_eq!(policy, "default-src 'none'; style-src 'unsafe-inline'");
    let length: usize = header(&response, "content-length").parse().unwrap();
    let page = text(response).await;
    assert_eq!(page.len(), length);
    assert!(page.contains("<title>/pub/</title>") && !page.contains("<script"));
    assert!(page.contains(r#"<a href="b%20%3C%26%3E.txt">b &lt;&amp;&gt;.txt</a>"#), "{page}");
    assert!(page.contains(r#"<a href="sub/">sub/</a>"#) && page.contains(r#"<a href="../">"#));
    assert!(page.contains("1 folder, 3 files") && !page.contains(".hidden"), "{page}");
    let place = |name: &str| page.find(name).unwrap();
    assert!(place("sub/") < place("b &lt;") && place("b &lt;") < place("a.txt"));
}

#[tokio::test]
async fn only_a_folder_without_an_index_is_listed_and_only_with_its_slash() {
    let site = listed();
    assert_eq!(text(site.get("/with/").await.unwrap()).await, "own page");
    assert_eq!(header(&site.get("/pub").await.unwrap(), "location"), "/pub/");
    assert!(matches!(site.get("/pub/a.txt/").await, Err(FileFault::NotFound)));
    assert!(matches!(site.get("/pub/pipe/").await, Err(FileFault::NotFound)));
    assert!(site.get("/pub/.well-known/").await.is_ok());
    let top = text(site.ask("GET", "/", &[PAGE]).await.unwrap()).await;
    assert!(!top.contains(r#"href="../""#), "{top}");
    let head = site.ask("HEAD", "/pub/", &[PAGE]).await.unwrap();
    assert_ne!(header(&head, "content-length"), "0");
}
