//! The pages and Swagger UI.

use crate::support::Bed;

#[tokio::test]
async fn pages_load_only_what_stands_beside_them() {
    let bed = Bed::new().await;
    for path in ["/", "/setup", "/link", "/login"] {
        let page = bed.call("GET", path).send().await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        assert!(page.header("content-security-policy").contains("script-src 'self'"), "{path}");
        // The policy would stop these, so they must not be there.
        for inline in ["<script>", "<style", " style=", " onclick=", " onload=", "=\"http", "=\"//"]
        {
            assert!(!page.text.contains(inline), "{path} has {inline}");
        }
        for asset in assets(&page.text) {
            let loaded = bed.call("GET", &asset).send().await;
            assert_eq!(loaded.status, 200, "{asset} of {path}");
        }
    }
}

#[tokio::test]
async fn the_start_page_knows_where_sites_answer() {
    let bed = Bed::new().await;
    let page = bed.call("GET", "/").send().await;
    assert!(page.text.contains(r#"data-https-port="8443""#), "{}", page.text);
    assert!(!page.text.contains("{{"), "{}", page.text);
}

#[tokio::test]
async fn a_set_up_link_that_has_ended_is_told_so() {
    let bed = Bed::new().await;
    let link = bed.control.setup_link().await.unwrap().unwrap();
    let path = link.url.strip_prefix("http://localhost:8900").unwrap();
    let form = bed.call("GET", path).send().await;
    assert!(form.text.contains("Make the administrator"), "{}", form.text);
    for path in ["/setup", "/setup?token=", "/setup?token=pwo_wrong"] {
        let page = bed.call("GET", path).send().await;
        assert!(page.text.contains("This link opens nothing"), "{path}");
    }
}

#[tokio::test]
async fn swagger_ui_is_served_with_the_description() {
    let bed = Bed::new().await;
    let moved = bed.call("GET", "/api/docs").send().await;
    assert_eq!((moved.status, moved.header("location")), (308, "/api/docs/"));
    let page = bed.call("GET", "/api/docs/").send().await;
    assert!(page.text.contains("swagger-ui-bundle.js"), "{}", page.text);
    for asset in ["swagger-ui-bundle.js", "swagger-ui.css", "index.css"] {
        let loaded = bed.call("GET", &format!("/api/docs/{asset}")).send().await;
        assert_eq!(loaded.status, 200, "{asset}");
    }
    let start = bed.call("GET", "/api/docs/swagger-initializer.js").send().await;
    assert!(start.text.contains("/api/openapi.json"), "{}", start.text);
    let description = bed.call("GET", "/api/openapi.json").send().await;
    assert_eq!(description.text, portway_api::openapi_json().unwrap());
}

/// Returns what a page loads.
fn assets(html: &str) -> Vec<String> {
    let mut assets: Vec<String> =
        html.split('"').filter(|text| text.starts_with("/assets/")).map(str::to_owned).collect();
    assets.push("/assets/portway.js".to_owned());
    assets.push("/favicon.ico".to_owned());
    assets
}
