//! Static files by the real program, as a site file declares them, over HTTP/1.1 and HTTP/2.

use crate::{
    support::{file, manager, ok},
    web::Web,
};

const PAGE: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_as_the_site_file_says() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let root = manager.folder().join("www");
    std::fs::create_dir_all(root.join("assets")).unwrap();
    let large = "0123456789".repeat(100_000);
    for (path, content) in [
        ("index.html", "the app"),
        ("assets/app.js", "original"),
        ("assets/app.js.br", "as br"),
        ("assets/.secret", "secret"),
        ("assets/big.bin", &large),
    ] {
        std::fs::write(root.join(path), content).unwrap();
    }
    let text = format!(
        "sites:\n  app:\n    hosts: [app.localhost]\n    files: {{root: {root}, spa: true, \
         cache_control: max-age=60}}\n  pub:\n    hosts: [pub.localhost]\n    files: {{root: \
         {root}/assets, listing: true, precompressed: false}}\n"
    );
    ok(&manager, &["apply", "-f", &file(&manager, "files.yaml", &text)]).await;

    for http2 in [false, true] {
        let ask = |host: &str, path: &str| {
            let ask = web.get(&format!("{host}.localhost"), path).header("accept", PAGE);
            if http2 { ask.http2() } else { ask }
        };
        let form = ask("app", "/assets/app.js").header("accept-encoding", "br, gzip").send().await;
        assert_eq!((form.status, form.text().as_str()), (200, "as br"));
        assert_eq!(form.header("content-encoding"), "br");
        assert_eq!(form.header("cache-control"), "max-age=60");
        assert_eq!(form.header("vary"), "accept-encoding");
        assert_eq!(ask("app", "/assets/app.js").send().await.text(), "original");

        let page = ask("app", "/users/5").send().await;
        assert_eq!((page.status, page.text().as_str()), (200, "the app"));
        assert_eq!(page.header("cache-control"), "no-cache");
        assert_eq!(ask("app", "/assets/gone.js").send().await.status, 404);

        let listing = ask("pub", "/").send().await;
        assert_eq!(listing.header("content-type"), "text/html; charset=utf-8");
        assert!(listing.text().contains("app.js.br") && !listing.text().contains(".secret"));
        let data = web.get("pub.localhost", "/").header("accept", "application/json");
        let data = if http2 { data.http2() } else { data }.send().await.json();
        assert_eq!(data["entries"][0]["name"], "app.js");
        assert_eq!(ask("pub", "/.secret").send().await.status, 404);
        let plain = ask("pub", "/app.js").header("accept-encoding", "br").send().await;
        assert_eq!(plain.text(), "original");

        let part = ask("app", "/assets/big.bin").header("range", "bytes=5-800004").send().await;
        assert_eq!(part.status, 206);
        assert!(part.body == large.as_bytes()[5..=800_004]);
    }
    let redirected = web.get("app.localhost", "/assets/big.bin").plain().send().await;
    assert_eq!(redirected.status, 301);
}
