//! What a client tries in order to reach beyond the bounds an administrator has set.

use crate::support::{Bed, bounds, new_site, proxy, root};
use portway_control::{Actor, Control, ControlError, Precondition, Resource, Verb};
use portway_model::{Bounds, Role};
use portway_wire::{
    PageQuery,
    revision::{Revert, RevisionQuery},
    site::{ApplySites, BlockSite, EditSite, NewSite, SiteQuery},
    user::{AuditQuery, EditUser, NewToken, NewUser},
};
use serde_json::{Value, json};

async fn create(control: &Control, actor: &Actor, new: NewSite) -> Result<(), ControlError> {
    control.editor(actor).await?.create(new).await.map(drop)
}

fn refused_as(error: &ControlError) -> &'static str {
    match error {
        ControlError::Invalid(_) => "invalid",
        ControlError::BadRequest(_) => "bad request",
        ControlError::Denied(_) => "denied",
        ControlError::NotFound { .. } | ControlError::NotLogged { .. } => "not found",
        ControlError::Taken(_) => "taken",
        ControlError::Conflict(_) => "conflict",
        ControlError::Unauthenticated(_)
        | ControlError::Stale { .. }
        | ControlError::Collision { .. }
        | ControlError::Damaged { .. }
        | ControlError::TooManyAttempts { .. }
        | ControlError::Setup(_)
        | ControlError::Unavailable { .. }
        | ControlError::MovedOn(_)
        | ControlError::Internal { .. } => panic!("refused for another reason: {error}"),
    }
}

#[tokio::test]
async fn a_client_cannot_declare_a_site_beyond_its_bounds() {
    let bed = Bed::new().await;
    let client =
        bed.user("carol", Role::Client, bounds(&["*.carol.example", "carol.example"])).await;
    bed.user("dave", Role::Client, bounds(&["*.dave.example"])).await;
    let upstream = "198.51.100.1:80";
    let host = "a.carol.example";
    let attempts: Vec<(&str, Value)> = vec![
        ("another host", proxy("other.example", upstream)),
        ("another client's host", proxy("a.dave.example", upstream)),
        ("a name that only ends alike", proxy("evilcarol.example", upstream)),
        ("every host", proxy("*", upstream)),
        ("a wider wildcard", proxy("*.example", upstream)),
        ("an address", proxy("127.0.0.1", upstream)),
        ("an own and a foreign host", json!({"hosts": [host, "x.example"], "to": upstream})),
        ("loopback", proxy(host, "127.0.0.1:8900")),
        ("loopback by port alone", proxy(host, "8900")),
        ("another loopback address", proxy(host, "127.8.8.8:80")),
        ("loopback by name", proxy(host, "localhost:8900")),
        ("loopback in IPv6", proxy(host, "[::1]:8900")),
        ("loopback mapped into IPv6", proxy(host, "[::ffff:127.0.0.1]:8900")),
        ("loopback through NAT64", proxy(host, "[64:ff9b::7f00:1]:8900")),
        ("no address at all", proxy(host, "0.0.0.0:8900")),
        ("cloud metadata", proxy(host, "http://169.254.169.254")),
        ("cloud metadata in IPv6", proxy(host, "[fd00:ec2::254]:80")),
        ("link-local", proxy(host, "[fe80::1]:80")),
        ("an address of the manager's machine", proxy(host, "192.0.2.7:22")),
        ("a unix socket", proxy(host, "unix:/run/docker.sock")),
        ("one good and one bad target", json!({"hosts": [host], "to": [upstream, "127.0.0.1:1"]})),
        (
            "a bad target in a route",
            json!({"hosts": [host], "routes": [{"to": upstream}, {"path": "/x", "to": "127.0.0.1:1"}]}),
        ),
        (
            "a bad target on a side",
            json!({"hosts": [host], "split": [{"to": upstream}, {"to": "127.0.0.1:1"}]}),
        ),
        (
            "a bad target as mirror",
            json!({"hosts": [host], "to": upstream, "mirror": {"to": "127.0.0.1:1"}}),
        ),
        (
            "a client key of someone else",
            json!({"hosts": [host], "to": {"targets": ["https://198.51.100.1"], "tls": {
                "client_certificate": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
                "client_key": {"secret": "credential-00000000000000000000000000000000"},
            }}}),
        ),
        ("files of the machine", json!({"hosts": [host], "files": "/etc"})),
        ("files by climbing", json!({"hosts": [host], "files": "/srv/clients/mine/../../../etc"})),
        ("files beside its folder", json!({"hosts": [host], "files": "/srv/clients/mine-not"})),
        (
            "a secret of someone else",
            json!({"hosts": [host], "to": upstream, "access": {"basic": {"users": {"a": {"secret": "password-00000000000000000000000000000000"}}}}}),
        ),
    ];

    for (what, spec) in &attempts {
        let result = create(&bed.control, &client, new_site("mine", spec.clone())).await;
        let error = result.expect_err(what);
        assert_eq!(refused_as(&error), "invalid", "{what}: {error}");
    }

    let sites = bed.control.sites(&client).await.unwrap();
    assert!(sites.list(SiteQuery::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_client_cannot_touch_what_belongs_to_others() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let client = bed.user("carol", Role::Client, bounds(&["*.carol.example"])).await;
    let other = bed.user("dave", Role::Client, bounds(&["*.dave.example"])).await;
    create(control, &other, new_site("daves", proxy("a.dave.example", "198.51.100.1:80")))
        .await
        .unwrap();
    create(control, &root(), new_site("house", proxy("house.example", "127.0.0.1:1")))
        .await
        .unwrap();
    let editor = control.editor(&client).await.unwrap();
    let reader = control.sites(&client).await.unwrap();
    let spec = proxy("b.carol.example", "198.51.100.1:80");
    let edit = || EditSite { spec: spec.clone(), message: None, rollout: None };
    let for_other = NewSite { owner: Some("dave".into()), ..new_site("planted", spec.clone()) };
    let apply = |name: &str| ApplySites {
        rollout: None,
        source: "x".into(),
        sites: [(name.parse().unwrap(), spec.clone())].into_iter().collect(),
        prune: true,
        owner: None,
        message: None,
        basis: None,
    };

    let results = [
        ("read", reader.get("daves").await.map(drop)),
        ("edit", editor.edit("daves", edit(), Precondition::Any).await.map(drop)),
        ("remove", editor.remove("daves", Precondition::Any).await.map(drop)),
        ("edit the house's", editor.edit("house", edit(), Precondition::Any).await.map(drop)),
        ("plant", editor.create(for_other).await.map(drop)),
        ("take over by a file", editor.apply(&apply("daves")).await.map(drop)),
        ("take the house's name", editor.create(new_site("house", spec.clone())).await.map(drop)),
    ];

    for (what, result) in results {
        let kind = refused_as(&result.expect_err(what));
        assert!(matches!(kind, "not found" | "denied" | "taken" | "conflict"), "{what}: {kind}");
    }
    let history = control.history(&client).await.unwrap();
    assert!(history.list(RevisionQuery::default()).await.unwrap().items.is_empty());
    assert_eq!(reader.export().await.unwrap().sites.len(), 0);
}

#[tokio::test]
async fn a_client_does_nothing_that_only_an_administrator_may() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let client = bed.user("carol", Role::Client, bounds(&["*.carol.example"])).await;
    create(control, &client, new_site("mine", proxy("a.carol.example", "198.51.100.1:80")))
        .await
        .unwrap();
    control
        .operator(&root(), Resource::Sites, "site.block")
        .await
        .unwrap()
        .block("mine", BlockSite { reason: "unpaid".into() })
        .await
        .unwrap();

    let root = root();
    let operator = control.operator(&client, Resource::Sites, "site.unblock").await;
    let overseer = control.overseer(&client, Resource::Users, "user.list").await;
    let editor = control.editor(&client).await.unwrap();
    let removed = editor.remove("mine", Precondition::Any).await;

    assert!(matches!(operator.err(), Some(ControlError::Denied(_))));
    assert!(matches!(overseer.err(), Some(ControlError::Denied(_))));
    // Removed and made anew it would come back unblocked.
    assert!(matches!(removed, Err(ControlError::Conflict(_))));
    let audit = control.audit(&root).await.unwrap();
    let refused = AuditQuery { outcome: Some("refused".into()), ..AuditQuery::default() };
    let lines = audit.list(refused).await.unwrap().items;
    assert!(lines.iter().any(|line| line.actor == "carol" && line.action == "site.unblock"));
}

#[tokio::test]
async fn a_client_stays_within_its_number_of_sites() {
    let bed = Bed::new().await;
    let client = bed.user("carol", Role::Client, bounds(&["*.carol.example"])).await;
    let site = |n: u8| {
        new_site(&format!("s{n}"), proxy(&format!("h{n}.carol.example"), "198.51.100.1:80"))
    };

    for n in 0..3 {
        create(&bed.control, &client, site(n)).await.unwrap();
    }
    let error = create(&bed.control, &client, site(3)).await.unwrap_err();

    assert!(matches!(error, ControlError::Denied(_)), "{error}");
}

#[tokio::test]
async fn a_token_does_no_more_than_its_scopes() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let admin = bed.user("adam", Role::Admin, Bounds::default()).await;
    let new =
        NewToken { name: "ci".into(), scopes: vec!["read:sites".into()], days: None, user: None };
    let made = control.tokens(&admin, Verb::Write).await.unwrap().create(new).await.unwrap();
    let credentials = portway_control::Credentials::Bearer(&made.token);
    let token = control.authenticate(credentials, "192.0.2.9", None).await.unwrap();

    assert!(control.sites(&token).await.is_ok());
    assert!(control.editor(&token).await.is_err());
    assert!(control.operator(&token, Resource::Users, "user.create").await.is_err());
    assert!(control.tokens(&token, Verb::Write).await.is_err());
    assert!(control.audit(&token).await.is_err());
    let wide =
        NewToken { name: "w".into(), scopes: vec!["write:tokens".into()], days: None, user: None };
    let made_wide = control.tokens(&admin, Verb::Write).await.unwrap().create(wide).await.unwrap();
    let credentials = portway_control::Credentials::Bearer(&made_wide.token);
    let writer = control.authenticate(credentials, "192.0.2.9", None).await.unwrap();
    let all = NewToken { name: "all".into(), scopes: vec!["*:*".into()], days: None, user: None };
    let escalated = control.tokens(&writer, Verb::Write).await.unwrap().create(all).await;
    assert!(matches!(escalated.err(), Some(ControlError::Denied(_))));
    let admins = control.tokens(&admin, Verb::Write).await.unwrap();
    admins.revoke(made.view.id).await.unwrap();
    let credentials = portway_control::Credentials::Bearer(&made.token);
    assert!(control.authenticate(credentials, "192.0.2.9", None).await.is_err());
}

#[tokio::test]
async fn clients_cannot_be_given_overlapping_zones() {
    let bed = Bed::new().await;
    bed.user("carol", Role::Client, bounds(&["*.carol.example"])).await;
    let root = root();
    let operator = bed.control.operator(&root, Resource::Users, "user.create").await.unwrap();

    for zone in ["*.carol.example", "a.carol.example", "*.example", "*.b.carol.example"] {
        let new = NewUser {
            name: "erin".into(),
            email: None,
            role: Role::Client,
            bounds: bounds(&[zone]),
            password: None,
        };
        let error = operator.create_user(new).await.err().unwrap();
        assert!(matches!(error, ControlError::Taken(_)), "{zone}: {error}");
    }
}

#[tokio::test]
async fn a_deactivated_user_is_out_at_once() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let admin = bed.user("adam", Role::Admin, Bounds::default()).await;
    let login = portway_wire::auth::Login {
        name: "adam".into(),
        password: crate::support::PASSWORD.into(),
    };
    let tokens = control.login(&login, &crate::support::client()).await.unwrap();
    bed.user("eve", Role::Admin, Bounds::default()).await;
    let root = root();
    let operator = control.operator(&root, Resource::Users, "user.update").await.unwrap();

    let edit = EditUser { active: Some(false), ..EditUser::default() };
    operator.edit_user(admin.name(), edit).await.unwrap();

    let credentials = portway_control::Credentials::Bearer(&tokens.access_token);
    assert!(control.authenticate(credentials, "192.0.2.9", None).await.is_err());
    assert!(control.login(&login, &crate::support::client()).await.is_err());
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let bed = Bed::new().await;
    bed.user("adam", Role::Admin, Bounds::default()).await;
    let root = root();
    let operator = bed.control.operator(&root, Resource::Users, "user.remove").await.unwrap();

    let error = operator.remove_user("adam").await.unwrap_err();

    assert!(matches!(error, ControlError::Conflict(_)), "{error}");
}

#[tokio::test]
async fn a_viewer_sees_everything_and_changes_nothing() {
    let bed = Bed::new().await;
    let control = &bed.control;
    create(control, &root(), new_site("house", proxy("house.example", "127.0.0.1:1")))
        .await
        .unwrap();
    let viewer = bed.user("vera", Role::Viewer, Bounds::default()).await;

    let seen = control.sites(&viewer).await.unwrap().list(SiteQuery::default()).await.unwrap();

    assert_eq!(seen.items.len(), 1);
    assert!(control.editor(&viewer).await.is_err());
    assert!(control.operator(&viewer, Resource::Sites, "site.block").await.is_err());
    let overseer = control.overseer(&viewer, Resource::Users, "user.list").await.unwrap();
    assert_eq!(overseer.users(PageQuery::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn undoing_a_revision_is_for_administrators() {
    let bed = Bed::new().await;
    let control = &bed.control;
    create(control, &root(), new_site("house", proxy("house.example", "127.0.0.1:1")))
        .await
        .unwrap();
    let root = root();
    let operator = control.operator(&root, Resource::Revisions, "revision.revert").await.unwrap();

    operator.revert_revision(1, Revert::default()).await.unwrap();

    let sites = control.sites(&root).await.unwrap();
    assert!(sites.get("house").await.is_err());
}

#[tokio::test]
async fn only_the_machine_makes_tokens_for_others() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let admin = bed.user("adam", Role::Admin, Bounds::default()).await;
    bed.user("carol", Role::Client, bounds(&[])).await;
    let token = |user: Option<&str>| NewToken {
        name: "ci".into(),
        scopes: vec!["*:*".into()],
        days: None,
        user: user.map(str::to_owned),
    };
    let root = root();
    let by_machine = control.tokens(&root, Verb::Write).await.unwrap();

    assert!(matches!(by_machine.create(token(None)).await, Err(ControlError::BadRequest(_))));
    let made = by_machine.create(token(Some("carol"))).await.unwrap();
    assert_eq!(made.view.owner, "carol");
    let credentials = portway_control::Credentials::Bearer(&made.token);
    let carol = control.authenticate(credentials, "192.0.2.9", None).await.unwrap();
    assert_eq!(carol.role(), Role::Client, "it does what its user may");

    let by_admin = control.tokens(&admin, Verb::Write).await.unwrap();
    let refused = by_admin.create(token(Some("carol"))).await;
    assert!(matches!(refused.err(), Some(ControlError::Denied(_))));
    assert_eq!(by_admin.create(token(Some("adam"))).await.unwrap().view.owner, "adam");
}
