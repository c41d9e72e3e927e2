//! Maintenance, old addresses and headers for browsers through the real program, over HTTP/1.1 and
//! HTTP/2.

use crate::{
    support::{file, log_line, manager, ok},
    web::Web,
};

const SITE: &str = "
sites:
  app:
    hosts: [app.localhost]
    https: {hsts: {max_age: 1d}}
    security_headers: true
    redirects: moved.csv
    MAINTENANCE
    respond: {body: here}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_site_under_maintenance_is_open_to_whom_it_lets_through() {
    let manager = manager().await;
    file(
        &manager,
        "moved.csv",
        "from,to,status\n/old,/new\n/shop/*,https://shop.example.org,308\n",
    );
    let apply = async |maintenance: &str| {
        let path = file(&manager, "app.yaml", &SITE.replace("MAINTENANCE", maintenance));
        ok(&manager, &["apply", "-f", &path]).await;
    };
    apply("maintenance: {message: Back at ten., retry_after: 10m, allow: [127.0.0.9]}").await;
    let web = Web::of(&manager).await;
    let get = |http2: bool, path: &str| {
        let ask = web.get("app.localhost", path);
        if http2 { ask.http2() } else { ask }
    };
    for http2 in [false, true] {
        let closed = get(http2, "/old").send().await;
        assert_eq!((closed.status, closed.header("retry-after")), (503, "600"));
        assert!(closed.text().contains("Back at ten."), "{}", closed.text());
        let open = get(http2, "/").from([127, 0, 0, 9]).send().await;
        assert_eq!((open.status, open.text().as_str()), (200, "here"));
    }
    let line = log_line(&manager, "main.access.log", r#""code":"maintenance""#).await;
    assert_eq!(line["way"]["stage"], "maintenance");

    apply("").await;
    for http2 in [false, true] {
        let open = get(http2, "/").send().await;
        assert_eq!(open.status, 200);
        assert_eq!(open.header("strict-transport-security"), "max-age=86400");
        assert_eq!(open.header("x-content-type-options"), "nosniff");
        assert_eq!(open.header("x-frame-options"), "SAMEORIGIN");
        let moved = get(http2, "/old").send().await;
        assert_eq!((moved.status, moved.header("location")), (301, "/new"));
        let moved = get(http2, "/shop/a?b=c").send().await;
        assert_eq!(
            (moved.status, moved.header("location")),
            (308, "https://shop.example.org/a?b=c")
        );
    }
}
