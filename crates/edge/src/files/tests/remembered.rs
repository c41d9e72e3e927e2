//! What workers remember of files never hides what the disk holds.

use super::*;

#[tokio::test]
async fn a_small_file_is_remembered_and_every_change_of_it_shows() {
    let site = Site::new(&[("a.txt", "one")]);
    let get = || async { text(site.get("/a.txt").await.unwrap()).await };
    assert_eq!(get().await, "one");
    assert!(site.is_remembered("a.txt"));
    assert_eq!(get().await, "one");
    // In its place, with the same length.
    site.write("a.txt", "two");
    site.age("a.txt", std::time::UNIX_EPOCH);
    assert_eq!(get().await, "two");
    site.write("new", "six");
    fs::rename(site.folder.join("new"), site.folder.join("a.txt")).unwrap();
    assert_eq!(get().await, "six");
    site.write("a.txt", "");
    assert_eq!(get().await, "");
    fs::remove_file(site.folder.join("a.txt")).unwrap();
    assert!(matches!(site.get("/a.txt").await, Err(FileFault::NotFound)));
    site.write("a.txt", "again");
    assert_eq!(get().await, "again");
}

#[tokio::test]
async fn a_file_that_became_a_way_out_is_no_longer_served() {
    let site = Site::new(&[("a.txt", "one"), ("folder/b.txt", "two")]);
    fs::write(site.folder.join("../secret"), "secret").unwrap();
    for path in ["/a.txt", "/folder/b.txt"] {
        text(site.get(path).await.unwrap()).await;
    }
    fs::remove_file(site.folder.join("a.txt")).unwrap();
    symlink("../secret", site.folder.join("a.txt")).unwrap();
    fs::rename(site.folder.join("folder"), site.folder.join("../outside")).unwrap();
    symlink("../outside", site.folder.join("folder")).unwrap();
    fs::write(site.folder.join("../outside/b.txt"), "secret").unwrap();
    for path in ["/a.txt", "/folder/b.txt"] {
        assert!(matches!(site.get(path).await, Err(FileFault::NotFound)), "{path}");
    }
}

#[tokio::test]
async fn a_root_that_is_switched_shows_its_new_files() {
    let mut site = Site::new(&[("v1/a.txt", "one"), ("v2/a.txt", "two")]);
    let current = site.folder.join("current");
    symlink("v1", &current).unwrap();
    site.edit(|root| root.root.clone_from(&current));
    assert_eq!(text(site.get("/a.txt").await.unwrap()).await, "one");
    symlink("v2", site.folder.join("next")).unwrap();
    fs::rename(site.folder.join("next"), &current).unwrap();
    assert_eq!(text(site.get("/a.txt").await.unwrap()).await, "two");
}

#[tokio::test]
async fn what_one_root_may_show_another_root_may_not() {
    let mut site = Site::new(&[("secret", "secret"), ("sub/x", "x")]);
    symlink("../secret", site.folder.join("sub/link")).unwrap();
    assert_eq!(text(site.get("/sub/link").await.unwrap()).await, "secret");
    assert!(site.is_remembered("sub/link"));
    site.edit(|root| root.root = root.root.join("sub"));
    assert!(matches!(site.get("/link").await, Err(FileFault::NotFound)));
}

#[tokio::test]
async fn a_file_that_may_change_unseen_is_not_remembered() {
    let mut site = Site::new(&[("a.txt", "one")]);
    site.shelf = Shelf::default();
    text(site.get("/a.txt").await.unwrap()).await;
    assert!(!site.is_remembered("a.txt"), "it was written a moment ago");
}

#[tokio::test]
async fn what_is_missing_is_remembered_only_beside_a_file() {
    let site = Site::new(&[("a.js", "one")]);
    let accept = [("accept-encoding", "br")];
    text(site.ask("GET", "/a.js", &accept).await.unwrap()).await;
    assert!(site.is_remembered("a.js.br"));
    for path in ["missing", "missing.js", "missing.js.br"] {
        assert!(site.ask("GET", &format!("/{path}"), &accept).await.is_err());
        assert!(!site.is_remembered(path), "{path}");
    }
}

proptest::proptest! {
    #[test]
    fn ranges_hold_what_they_say(
        wanted in proptest::collection::vec((0_usize..120, 0_usize..120), 1..5),
        is_large in proptest::bool::ANY,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ranges_hold(&wanted, is_large));
    }
}

/// Compares answers with slices of what was written.
async fn ranges_hold(wanted: &[(usize, usize)], is_large: bool) {
    let scale = if is_large { 1000 } else { 1 };
    let content: String = ('a'..='z').cycle().take(100 * scale).collect();
    let site = Site::new(&[("a.txt", &content)]);
    let list: Vec<_> = wanted.iter().map(|(a, b)| format!("{}-{}", a * scale, b * scale)).collect();
    let header_text = format!("bytes={}", list.join(","));
    let response = site.ask("GET", "/a.txt", &[("range", &header_text)]).await.unwrap();
    let inside: Vec<_> = wanted
        .iter()
        .filter(|(a, _)| a * scale < content.len())
        .map(|(a, b)| (a * scale, (b * scale + 1).min(content.len())))
        .collect();
    let total: usize = inside.iter().map(|(start, end)| end.saturating_sub(*start)).sum();
    let (status, body) = (response.status(), text(response).await);
    if wanted.iter().any(|(a, b)| a > b) || (inside.len() > 1 && total >= content.len()) {
        assert_eq!((status, body.as_str()), (StatusCode::OK, content.as_str()), "{header_text}");
    } else if inside.is_empty() {
        assert_eq!((status, body.as_str()), (StatusCode::RANGE_NOT_SATISFIABLE, ""));
    } else {
        assert_eq!(status, StatusCode::PARTIAL_CONTENT);
        let mut rest = body.as_str();
        for (start, end) in inside {
            let part = content.get(start..end).unwrap();
            let at = rest.find(part).unwrap_or_else(|| panic!("{start}..{end} of {header_text}"));
            rest = rest.get(at + part.len()..).unwrap();
        }
    }
}
