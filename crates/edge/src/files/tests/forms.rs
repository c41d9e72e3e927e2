//! Compressed forms beside files.

use super::*;
use crate::compress::{self, Settled};

const BROWSER: (&str, &str) = ("accept-encoding", "gzip, deflate, br, zstd");

fn site() -> Site {
    let site = Site::new(&[("app.js", "original"), ("app.js.br", "as br")]);
    site.write("app.js.zst", "as zstd");
    site.write("app.js.gz", "as gzip");
    site
}

#[tokio::test]
async fn the_best_form_that_the_client_takes_is_sent() {
    let site = site();
    for (accept, coding, expected) in [
        ("", "", "original"),
        ("gzip, deflate, br, zstd", "br", "as br"),
        ("gzip, zstd", "zstd", "as zstd"),
        ("gzip;q=1, br;q=0.5", "gzip", "as gzip"),
        ("br;q=0, *;q=0.5", "zstd", "as zstd"),
        ("*", "br", "as br"),
        ("identity;q=0, gzip", "gzip", "as gzip"),
        ("identity, gzip;q=0.5", "", "original"),
        ("deflate", "", "original"),
        ("gzip;q=nonsense", "", "original"),
    ] {
        let response = site.ask("GET", "/app.js", &[("accept-encoding", accept)]).await.unwrap();
        assert_eq!(header(&response, "content-encoding"), coding, "{accept}");
        assert_eq!(header(&response, "content-type"), "text/javascript; charset=utf-8");
        assert_eq!(header(&response, "vary"), "accept-encoding");
        assert_eq!(header(&response, "content-length"), expected.len().to_string());
        assert_eq!(text(response).await, expected, "{accept}");
    }
    let response = site.get("/app.js").await.unwrap();
    assert_eq!(header(&response, "vary"), "accept-encoding");
    assert_eq!(text(response).await, "original");
}

#[tokio::test]
async fn each_form_has_a_strong_validator_and_ranges_of_its_own() {
    let site = site();
    let original = site.get("/app.js").await.unwrap();
    let form = site.ask("GET", "/app.js", &[BROWSER]).await.unwrap();
    let (tag, form_tag) = (header(&original, "etag"), header(&form, "etag"));
    assert_ne!(tag, form_tag);
    assert!(form_tag.starts_with('"'), "{form_tag}");

    let same = site.ask("GET", "/app.js", &[BROWSER, ("if-none-match", form_tag)]).await.unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    let other = site.ask("GET", "/app.js", &[BROWSER, ("if-none-match", tag)]).await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);

    let range = ("range", "bytes=3-");
    let part = site.ask("GET", "/app.js", &[BROWSER, range, ("if-range", form_tag)]).await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&part, "content-range"), "bytes 3-4/5");
    assert_eq!(header(&part, "content-encoding"), "br");
    assert_eq!(text(part).await, "br");
    let whole = site.ask("GET", "/app.js", &[BROWSER, range, ("if-range", tag)]).await.unwrap();
    assert_eq!(text(whole).await, "as br");
}

#[tokio::test]
async fn an_answer_in_a_form_is_left_as_it_is_by_compression() {
    let site = site();
    let tag = header(&site.ask("GET", "/app.js", &[BROWSER]).await.unwrap(), "etag").to_owned();
    let asked = [BROWSER, ("if-none-match", tag.as_str())];
    for headers in [&asked[..1], &asked[..]] {
        let response = site.ask("GET", "/app.js", headers).await.unwrap();
        assert!(response.extensions().get::<Settled>().is_some());
        let accept = http::HeaderValue::from_static(BROWSER.1);
        let compressed = compress::compress(Some(&accept), response);
        assert_eq!(header(&compressed, "etag"), tag);
    }
}

#[tokio::test]
async fn a_form_that_is_older_alone_or_somewhere_else_is_not_sent() {
    let mut site = site();
    site.age("app.js.br", now() - Duration::from_secs(10));
    let body = |response| async { text(response).await };
    let response = site.ask("GET", "/app.js", &[BROWSER]).await.unwrap();
    assert_eq!(body(response).await, "as zstd");

    site.write("alone.js.gz", "gz");
    assert!(matches!(site.ask("GET", "/alone.js", &[BROWSER]).await, Err(FileFault::NotFound)));
    site.write("link.js", "original");
    fs::write(site.folder.join("../secret"), "secret").unwrap();
    symlink("../secret", site.folder.join("link.js.br")).unwrap();
    fs::create_dir(site.folder.join("link.js.gz")).unwrap();
    let response = site.ask("GET", "/link.js", &[BROWSER]).await.unwrap();
    assert_eq!(body(response).await, "original");

    site.write("photo.png", "png");
    site.write("photo.png.br", "br");
    let response = site.ask("GET", "/photo.png", &[BROWSER]).await.unwrap();
    assert_eq!(header(&response, "vary"), "");
    assert_eq!(body(response).await, "png");

    site.edit(|root| root.precompressed = false);
    let response = site.ask("GET", "/app.js", &[BROWSER]).await.unwrap();
    assert_eq!(header(&response, "vary"), "");
    assert_eq!(body(response).await, "original");
}

#[tokio::test]
async fn a_form_itself_can_be_asked_for() {
    let response = site().ask("GET", "/app.js.gz", &[BROWSER]).await.unwrap();
    assert_eq!(header(&response, "content-encoding"), "");
    assert_eq!(header(&response, "content-type"), "application/gzip");
    assert_eq!(text(response).await, "as gzip");
}

#[tokio::test]
async fn a_form_that_comes_changes_or_goes_shows_at_once() {
    let site = Site::new(&[("app.js", "original")]);
    let get = || async { text(site.ask("GET", "/app.js", &[BROWSER]).await.unwrap()).await };
    assert_eq!(get().await, "original");
    assert_eq!(get().await, "original");
    site.write("app.js.gz", "first");
    assert_eq!(get().await, "first");
    site.write("next", "second");
    fs::rename(site.folder.join("next"), site.folder.join("app.js.gz")).unwrap();
    assert_eq!(get().await, "second");
    fs::remove_file(site.folder.join("app.js.gz")).unwrap();
    assert_eq!(get().await, "original");
}

#[tokio::test]
async fn an_index_and_a_large_file_have_forms_too() {
    let large = "x".repeat(200_000);
    let site = Site::new(&[("index.html", "page"), ("index.html.br", "br"), ("big.js", &large)]);
    assert_eq!(text(site.ask("GET", "/", &[BROWSER]).await.unwrap()).await, "br");
    let form = "y".repeat(100_000);
    site.write("big.js.gz", &form);
    for _ in 0..2 {
        let response = site.ask("GET", "/big.js", &[BROWSER]).await.unwrap();
        assert_eq!(header(&response, "content-encoding"), "gzip");
        assert!(text(response).await == form);
        let head = site.ask("HEAD", "/big.js", &[BROWSER]).await.unwrap();
        assert_eq!(header(&head, "content-length"), "100000");
        assert!(text(site.get("/big.js").await.unwrap()).await == large);
    }
}
