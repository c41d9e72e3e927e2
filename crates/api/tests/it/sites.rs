//! Sites over HTTP: versions, repetitions, problems with findings.

use portway_model::{Bounds, Role};
use portway_wire::{
    Page, ProblemCode,
    revision::RevisionView,
    site::{Changed, Plan, SiteSummary, SiteView},
};
use serde_json::json;

use crate::support::{Bed, proxy};

struct Admin {
    bed: Bed,
    token: String,
}

impl Admin {
    async fn new() -> Self {
        let bed = Bed::new().await;
        bed.user("ann", Role::Admin, Bounds::default()).await;
        let token = bed.log_in("ann").await.access_token;
        Self { bed, token }
    }

    fn call(&self, method: &str, path: &str) -> crate::support::Call<'_> {
        self.bed.call(method, path).bearer(&self.token)
    }
}

#[tokio::test]
async fn a_site_is_made_with_its_address_and_its_version() {
    let admin = Admin::new().await;
    let new = json!({ "spec": proxy("blog.example"), "message": "the blog" });
    let made = admin.call("POST", "/api/v1/sites").json(&new).send().await;
    let site: SiteView = made.read(201);
    assert_eq!(site.summary.name, "blog.example");
    assert_eq!(made.header("etag"), format!("\"{}\"", site.summary.revision));
    let found = admin.call("GET", made.header("location")).send().await;
    assert_eq!(found.header("etag"), made.header("etag"));
    let found: SiteView = found.read(200);
    assert_eq!(found.summary.id, site.summary.id);
}

#[tokio::test]
async fn nobodys_change_is_lost_unseen() {
    let admin = Admin::new().await;
    let site = admin.bed.site("blog", "blog.example", "ann").await;
    let tag = format!("\"{}\"", site.summary.revision);
    let put = |tag: Option<&str>| {
        let edit = json!({ "spec": { "hosts": ["blog.example"], "to": "198.51.100.2:80" } });
        let call = admin.call("PUT", "/api/v1/sites/blog").json(&edit);
        match tag {
            Some(tag) => call.header("if-match", tag),
            None => call,
        }
    };
    assert_eq!(put(None).send().await.code(), (428, ProblemCode::PreconditionRequired));
    let first = put(Some(&tag)).send().await;
    let changed: Changed = first.read(200);
    assert_eq!(first.header("etag"), format!("\"{}\"", changed.revision.unwrap()));
    assert_eq!(put(Some(&tag)).send().await.code(), (412, ProblemCode::Stale));

    let remove = |tag: &str| admin.call("DELETE", "/api/v1/sites/blog").header("if-match", tag);
    let bare = admin.call("DELETE", "/api/v1/sites/blog").send().await;
    assert_eq!(bare.code(), (428, ProblemCode::PreconditionRequired));
    assert_eq!(remove(&tag).send().await.code(), (412, ProblemCode::Stale));
    assert_eq!(remove("*").send().await.status, 200);
    let gone = admin.call("GET", "/api/v1/sites/blog").send().await;
    assert_eq!(gone.code(), (404, ProblemCode::NotFound));
}

#[tokio::test]
async fn a_reader_who_has_the_version_gets_nothing_new() {
    let admin = Admin::new().await;
    admin.bed.site("blog", "blog.example", "ann").await;
    let first = admin.call("GET", "/api/v1/sites/blog").send().await;
    let tag = first.header("etag").to_owned();
    let known = admin.call("GET", "/api/v1/sites/blog").header("if-none-match", &tag).send().await;
    assert_eq!((known.status, known.text.as_str(), known.header("etag")), (304, "", tag.as_str()));
    let other = admin.call("GET", "/api/v1/sites/blog").header("if-none-match", "\"0\"");
    assert_eq!(other.send().await.status, 200);
}

#[tokio::test]
async fn a_repeated_request_is_carried_out_once() {
    let admin = Admin::new().await;
    let create = |host: &str, key: &str| {
        let new = json!({ "spec": proxy(host) });
        admin.call("POST", "/api/v1/sites").header("idempotency-key", key).json(&new)
    };
    let first = create("blog.example", "k-1").send().await;
    let again = create("blog.example", "k-1").send().await;
    let (first_site, again_site): (SiteView, SiteView) = (first.read(201), again.read(201));
    assert_eq!(first_site, again_site);
    assert_eq!(first.header("etag"), again.header("etag"));
    assert_eq!(first.header("location"), again.header("location"));

    let other = create("shop.example", "k-1").send().await;
    assert_eq!(other.code(), (409, ProblemCode::Conflict));
    let taken = create("blog.example", "k-2").send().await;
    assert_eq!(taken.code(), (422, ProblemCode::Invalid));
    // What was refused may be tried again with the same key.
    let call = admin.call("DELETE", "/api/v1/sites/blog.example").header("if-match", "*");
    assert_eq!(call.send().await.status, 200);
    assert_eq!(create("blog.example", "k-2").send().await.status, 201);
    let odd = create("x.example", "not one word").send().await;
    assert_eq!(odd.code(), (400, ProblemCode::BadRequest));
}

#[tokio::test]
async fn an_application_is_carried_out_once_and_planned_as_nothing_afterwards() {
    let admin = Admin::new().await;
    let sites = json!({ "source": "web", "sites": { "blog": proxy("blog.example") } });
    let apply =
        || admin.call("POST", "/api/v1/apply").header("idempotency-key", "a-1").json(&sites);
    let first: Changed = apply().send().await.read(200);
    let again: Changed = apply().send().await.read(200);
    assert_eq!(first, again);
    assert_eq!(first.sites, ["blog"]);
    let revisions: Page<RevisionView> =
        admin.call("GET", "/api/v1/revisions?site=blog").send().await.read(200);
    assert_eq!(revisions.items.len(), 1);
    let plan: Plan = admin.call("POST", "/api/v1/plan").json(&sites).send().await.read(200);
    assert_eq!((plan.changes.len(), plan.unchanged), (0, 1));
}

#[tokio::test]
async fn what_is_wrong_with_a_site_is_listed_all_at_once() {
    let admin = Admin::new().await;
    let spec = json!({ "hosts": ["not a host"], "to": "not a target!" });
    let new = json!({ "name": "a", "spec": spec });
    let refused = admin.call("POST", "/api/v1/sites").json(&new).send().await;
    assert_eq!(refused.code(), (422, ProblemCode::Invalid));
    let findings = refused.problem().findings;
    assert!(findings.len() >= 2, "{findings:?}");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let admin = Admin::new().await;
    for index in 0..5 {
        admin.bed.site(&format!("s{index}"), &format!("s{index}.example"), "ann").await;
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/sites?limit=2".to_owned();
    loop {
        let page: Page<SiteSummary> = admin.call("GET", &path).send().await.read(200);
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().map(|site| site.name));
        let Some(next) = page.next else { break };
        path = format!("/api/v1/sites?limit=2&cursor={next}");
    }
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
    for query in ["limit=0", "limit=501", "limit=many", "cursor=nonsense"] {
        let refused = admin.call("GET", &format!("/api/v1/sites?{query}")).send().await;
        assert_eq!(refused.code(), (400, ProblemCode::BadRequest), "{query}");
    }
}

#[tokio::test]
async fn a_site_is_blocked_and_taken_back() {
    let admin = Admin::new().await;
    let site = admin.bed.site("blog", "blog.example", "ann").await;
    let block = json!({ "reason": "not paid" });
    let blocked = admin.call("POST", "/api/v1/sites/blog/block").json(&block).send().await;
    assert_eq!(blocked.status, 200, "{}", blocked.text);
    let view: SiteView = admin.call("GET", "/api/v1/sites/blog").send().await.read(200);
    assert_eq!(view.blocked_reason.as_deref(), Some("not paid"));
    assert_eq!(admin.call("POST", "/api/v1/sites/blog/unblock").send().await.status, 200);
    let edit = json!({ "spec": { "hosts": ["blog.example"], "to": "198.51.100.2:80" } });
    let put = admin.call("PUT", "/api/v1/sites/blog").header("if-match", "*").json(&edit);
    assert_eq!(put.send().await.status, 200);
    let back = json!({ "to": site.summary.revision });
    let reverted = admin.call("POST", "/api/v1/sites/blog/revert").json(&back).send().await;
    assert_eq!(reverted.status, 200, "{}", reverted.text);
    let view: SiteView = admin.call("GET", "/api/v1/sites/blog").send().await.read(200);
    assert_eq!(view.spec, site.spec);
}
