//! Sites: names, hosts, owners, lists.

use portway_model::{Id, Name, Origin, ResourceKind, RevisionNumber, Role, Site, User};
use portway_store::{
    AuditFilter, Block, ChangeDraft, CommitError, Expected, PageRequest, SiteFilter, Store, Visible,
};

use crate::support::{
    TestDb, add_many, add_site, add_user, all_pages, commit, draft, hosts, id, later, name, now,
    site, site_names, user,
};

pub(crate) async fn a_site_is_read_back_as_it_was_written(db: &TestDb) {
    let owner = add_user(&db.store, user("ann", Role::Client)).await;
    let mut version = site("shop", Some(owner), &["shop.example.org", "*.shop.example.org"]);
    version.origin = Origin::File("main".to_owned());
    let shop = add_site(&db.store, version.clone()).await;

    let row = db.store.sites().get(Visible::All, shop).await.unwrap().unwrap();

    assert_eq!(row.id, shop);
    assert_eq!(row.name, name("shop"));
    assert_eq!(row.owner, Some(owner));
    assert_eq!(row.spec, version.spec);
    assert_eq!(row.origin, version.origin);
    assert_eq!(row.revision, RevisionNumber(2));
    assert_eq!(row.blocked, None);
    assert_eq!((row.created_at, row.updated_at), (now(), now()));
    let by_name = db.store.sites().by_name(Visible::All, &name("shop")).await.unwrap();
    assert_eq!(by_name.as_ref(), Some(&row));

    let draft = draft(vec![ChangeDraft::site(shop, Expected::At(row.revision), version)]);
    db.store.revisions().commit(&draft, Visible::All, later(60)).await.unwrap();

    let changed = db.store.sites().get(Visible::All, shop).await.unwrap().unwrap();
    assert_eq!((changed.created_at, changed.updated_at), (now(), later(60)));
    assert_eq!(changed.revision, RevisionNumber(3));
}

async fn two_owners(store: &Store) -> (Id<User>, Id<User>, Id<Site>, Id<Site>) {
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Client)).await;
    let of_ann = add_site(store, site("ann-shop", Some(ann), &["ann.example.org"])).await;
    let of_bob = add_site(store, site("bob-shop", Some(bob), &["bob.example.org"])).await;
    add_site(store, site("common", None, &["common.example.org"])).await;
    (ann, bob, of_ann, of_bob)
}

pub(crate) async fn another_owners_sites_never_appear(db: &TestDb) {
    let store = &db.store;
    let (ann, bob, of_ann, of_bob) = two_owners(store).await;
    let seen = Visible::Owner(ann);
    let page = PageRequest::first(100);
    let latest = store.revisions().latest().await.unwrap();

    assert_eq!(site_names(store, seen, &SiteFilter::default()).await, ["ann-shop"]);
    for filter in [
        SiteFilter { text: Some("shop".to_owned()), ..SiteFilter::default() },
        SiteFilter { text: Some("bob".to_owned()), ..SiteFilter::default() },
        SiteFilter { owner: Some(bob), ..SiteFilter::default() },
        SiteFilter { host: Some(hosts(&["bob.example.org"]).remove(0)), ..SiteFilter::default() },
    ] {
        let names = site_names(store, seen, &filter).await;
        assert!(!names.contains(&"bob-shop".to_owned()), "{filter:?}: {names:?}");
    }
    assert_eq!(store.sites().get(seen, of_bob).await.unwrap(), None);
    assert_eq!(store.sites().by_name(seen, &name("bob-shop")).await.unwrap(), None);
    let by_ids = store.sites().by_ids(seen, &[of_ann, of_bob]).await.unwrap();
    assert_eq!(by_ids.keys().copied().collect::<Vec<_>>(), [of_ann]);
    assert_eq!(store.sites().count(seen).await.unwrap(), 1);
    assert_eq!(store.sites().count_by_owner().await.unwrap().get(&Some(bob)), Some(&1));

    let revisions = store.revisions();
    let listed = revisions.list(seen, None, &page).await.unwrap().items;
    assert_eq!(listed.iter().map(|revision| revision.number.0).collect::<Vec<_>>(), [3]);
    let about_bob = Some((ResourceKind::Site, of_bob.uuid()));
    assert!(revisions.list(seen, about_bob, &page).await.unwrap().items.is_empty());
    assert!(revisions.get(seen, RevisionNumber(4)).await.unwrap().is_none());
    assert!(revisions.get(seen, RevisionNumber(3)).await.unwrap().is_some());
    assert!(revisions.changes_of(seen, RevisionNumber(4), &page).await.unwrap().items.is_empty());
    let version = revisions.version_at(seen, ResourceKind::Site, of_bob.uuid(), latest);
    assert_eq!(version.await.unwrap(), None);
    let state = revisions.state_at(seen, ResourceKind::Site, latest, &page).await.unwrap().items;
    assert_eq!(state.iter().map(|change| change.id).collect::<Vec<_>>(), [of_ann.uuid()]);
    let log = store.audit().list(seen, &AuditFilter::default(), &page).await.unwrap();
    assert!(log.items.is_empty());

    // What is given away is gone, its past included.
    let given = ChangeDraft::site(of_ann, Expected::Any, site("ann-shop", Some(bob), &[]));
    let given = commit(store, vec![given]).await.unwrap();
    let version = revisions.version_at(seen, ResourceKind::Site, of_ann.uuid(), given);
    assert_eq!(version.await.unwrap(), None);
    let state = revisions.state_at(seen, ResourceKind::Site, given, &page).await.unwrap();
    assert!(state.items.is_empty());
}

pub(crate) async fn an_owner_changes_nothing_but_own_sites(db: &TestDb) {
    let store = &db.store;
    let (ann, bob, of_ann, of_bob) = two_owners(store).await;
    let mine = Visible::Owner(ann);
    let block = Block { reason: "spam".to_owned(), by: None, at: now() };
    let before = store.revisions().latest().await.unwrap();

    for change in [
        ChangeDraft::site(of_bob, Expected::Any, site("bob-shop", Some(ann), &[])),
        ChangeDraft::site(of_ann, Expected::Any, site("ann-shop", Some(bob), &[])),
        ChangeDraft::site(id(), Expected::New, site("other", None, &[])),
        ChangeDraft::delete_site(of_bob, Expected::Any),
        ChangeDraft::delete_site(id(), Expected::Any),
        ChangeDraft::block_site(of_ann, Expected::Any, Some(block)),
        ChangeDraft::user(ann, Expected::Any, user("ann", Role::Admin)),
        ChangeDraft::delete_user(bob, Expected::Any),
        ChangeDraft::settings(uuid::Uuid::nil(), Expected::Any, serde_json::json!({})),
    ] {
        let result = store.revisions().commit(&draft(vec![change.clone()]), mine, now()).await;
        assert!(matches!(result, Err(CommitError::NotFound { .. })), "{change:?}: {result:?}");
    }
    assert_eq!(store.revisions().latest().await.unwrap(), before);

    let own = ChangeDraft::site(of_ann, Expected::Any, site("ann-shop", Some(ann), &["a.b"]));
    store.revisions().commit(&draft(vec![own]), mine, now()).await.unwrap();
}

pub(crate) async fn a_name_is_had_once(db: &TestDb) {
    let store = &db.store;
    add_site(store, site("shop", None, &["a.example"])).await;
    let twin = ChangeDraft::site(id(), Expected::New, site("shop", None, &["b.example"]));
    let pair = |host: &str| ChangeDraft::site(id(), Expected::New, site("two", None, &[host]));

    let taken = commit(store, vec![twin]).await.unwrap_err();
    let twice = commit(store, vec![pair("c.example"), pair("d.example")]).await.unwrap_err();

    assert!(matches!(taken, CommitError::NameTaken { name, .. } if name == "shop"));
    assert!(matches!(twice, CommitError::NameTaken { name, .. } if name == "two"));
}

pub(crate) async fn names_and_hosts_can_be_exchanged_in_one_revision(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let one = add_site(store, site("one", Some(ann), &["one.example"])).await;
    let two = add_site(store, site("two", None, &["two.example"])).await;

    commit(
        store,
        vec![
            ChangeDraft::site(one, Expected::Any, site("two", Some(ann), &["two.example"])),
            ChangeDraft::site(two, Expected::Any, site("one", None, &["one.example"])),
        ],
    )
    .await
    .unwrap();

    let row = store.sites().by_name(Visible::All, &name("two")).await.unwrap().unwrap();
    assert_eq!(row.id, one);
    let found = SiteFilter { text: Some("one.example".to_owned()), ..SiteFilter::default() };
    assert_eq!(site_names(store, Visible::All, &found).await, ["one"]);
    let replaced = vec![
        ChangeDraft::delete_site(one, Expected::Any),
        ChangeDraft::site(id(), Expected::New, site("two", None, &["two.example"])),
    ];
    commit(store, replaced).await.unwrap();
    let row = store.sites().by_name(Visible::All, &name("two")).await.unwrap().unwrap();
    assert_eq!(row.owner, None);
}

pub(crate) async fn a_host_belongs_to_one_owner(db: &TestDb) {
    let store = &db.store;
    let (ann, bob, of_ann, _) = two_owners(store).await;
    let at = ["ann.example.org"];
    let by_bob = ChangeDraft::site(id(), Expected::New, site("x", Some(bob), &at));
    let by_nobody = ChangeDraft::site(id(), Expected::New, site("x", None, &at));
    let by_ann = ChangeDraft::site(id(), Expected::New, site("ann-blog", Some(ann), &at));

    for change in [by_bob.clone(), by_nobody] {
        let error = commit(store, vec![change]).await.unwrap_err();
        let CommitError::HostTaken { host, site, owner } = error else { panic!("{error:?}") };
        assert_eq!(host.to_string(), "ann.example.org");
        assert_eq!((site, owner), (of_ann, Some(ann)));
    }
    commit(store, vec![by_ann]).await.unwrap();
    let uses = store.sites().using_hosts(&hosts(&at)).await.unwrap();
    let names: Vec<_> = uses.iter().map(|used| used.name.as_str()).collect();
    assert_eq!(names, ["ann-blog", "ann-shop"]);

    for used in uses {
        commit(store, vec![ChangeDraft::delete_site(used.site, Expected::Any)]).await.unwrap();
    }
    commit(store, vec![by_bob]).await.unwrap();

    let unknown = ChangeDraft::site(id(), Expected::New, site("y", Some(id()), &[]));
    let error = commit(store, vec![unknown]).await.unwrap_err();
    assert!(matches!(error, CommitError::UnknownOwner { .. }), "{error:?}");
}

fn text(text: &str) -> SiteFilter {
    SiteFilter { text: Some(text.to_owned()), ..SiteFilter::default() }
}

pub(crate) async fn text_is_found_in_names_and_hosts(db: &TestDb) {
    let store = &db.store;
    add_site(store, site("blog", None, &["www.example.org", "*.writers.example"])).await;
    add_site(store, site("shop_1", None, &["buy.example.net"])).await;
    add_site(store, site("shop-2", None, &["127.0.0.1"])).await;

    for (wanted, names) in [
        ("blog", &["blog"][..]),
        ("EXAMPLE.org", &["blog"]),
        ("  writers ", &["blog"]),
        ("*.wri", &["blog"]),
        ("example", &["blog", "shop_1"]),
        ("shop", &["shop-2", "shop_1"]),
        ("p_1", &["shop_1"]),
        ("0.0.1", &["shop-2"]),
        ("w.", &["blog"]),
        ("2", &["shop-2"]),
        ("", &["blog", "shop-2", "shop_1"]),
        ("%", &[]),
        ("%%%", &[]),
        ("___", &[]),
        ("o_g", &[]),
        ("\"", &[]),
        ("\"\"\"\"", &[]),
        ("a' OR 1=1 --", &[]),
        ("blog OR shop", &[]),
        ("\\\\\\", &[]),
        ("nul\0nul", &[]),
        // Not across the end of one host and the beginning of the next.
        ("org\n*.w", &[]),
        ("orgwww", &[]),
        ("orgwriters", &[]),
    ] {
        let found = site_names(store, Visible::All, &text(wanted)).await;
        assert_eq!(found, names, "{wanted:?}");
    }
}

/// More sites than are looked into nearby, and more than are sorted, so that all ways of searching are
/// taken.
pub(crate) async fn rare_and_common_texts_are_found_alike(db: &TestDb) {
    let store = &db.store;
    add_many(store, "first", 1100).await;
    let ids = add_many(store, "site", 4200).await;
    add_site(store, site("zebra", None, &["zebra.example.com"])).await;
    let found = async |wanted: &str| site_names(store, Visible::All, &text(wanted)).await;

    assert_eq!(found("first").await.len(), 1100);
    // None nearby, and too many to be sorted.
    for common in ["site", "si", "ite-0"] {
        let page = PageRequest::first(3);
        let page = store.sites().list(Visible::All, &text(common), &page).await.unwrap();
        let names: Vec<_> = page.items.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["site-00000", "site-00001", "site-00002"], "{common}");
    }
    assert_eq!(found("site-041").await.len(), 100);
    assert_eq!(found("04199").await, ["site-04199"]);
    assert_eq!(found("zebra").await, ["zebra"]);

    let renamed = ChangeDraft::site(ids[4199], Expected::Any, site("zoo", None, &["zoo.example"]));
    commit(store, vec![renamed]).await.unwrap();
    commit(store, vec![ChangeDraft::delete_site(ids[0], Expected::Any)]).await.unwrap();
    assert!(found("04199").await.is_empty());
    assert!(found("site-00000").await.is_empty());
    assert_eq!(found("zoo").await, ["zoo"]);
}

/// Behind so many others that only an index leads to them.
pub(crate) async fn short_texts_are_found_wherever_they_stand(db: &TestDb) {
    let store = &db.store;
    add_many(store, "site", 1100).await;
    let owner = add_user(store, user("ann", Role::Client)).await;
    add_site(store, site("x_y", Some(owner), &["begin.kz", "*.quick.example"])).await;
    let y = add_site(store, site("y", None, &["zu"])).await;

    for (wanted, names) in [
        ("qu", &["x_y"][..]),
        ("q", &["x_y"]),
        ("kz", &["x_y"]),
        ("_", &["x_y"]),
        ("_y", &["x_y"]),
        ("*", &["x_y"]),
        ("*.", &["x_y"]),
        ("z", &["x_y", "y"]),
        ("zu", &["y"]),
        ("Y", &["x_y", "y"]),
        ("qq", &[]),
        ("%", &[]),
        ("%%", &[]),
        ("\"", &[]),
        ("\\", &[]),
        ("'", &[]),
        // Not across lines, nor what closes them.
        ("y\nb", &[]),
        ("yb", &[]),
    ] {
        assert_eq!(site_names(store, Visible::All, &text(wanted)).await, names, "{wanted:?}");
    }
    let own = site_names(store, Visible::Owner(owner), &text("z")).await;
    assert_eq!(own, ["x_y"]);

    let changed = ChangeDraft::site(y, Expected::Any, site("y", None, &["wu"]));
    commit(store, vec![changed]).await.unwrap();
    assert!(site_names(store, Visible::All, &text("zu")).await.is_empty());
    assert_eq!(site_names(store, Visible::All, &text("wu")).await, ["y"]);
    commit(store, vec![ChangeDraft::delete_site(y, Expected::Any)]).await.unwrap();
    assert!(site_names(store, Visible::All, &text("wu")).await.is_empty());
}

pub(crate) async fn sites_are_read_by_their_names(db: &TestDb) {
    let store = &db.store;
    add_many(store, "site", 1100).await;
    let (ann, _, of_ann, _) = two_owners(store).await;
    let mut names: Vec<Name> = (0..1200).map(|n| name(&format!("site-{n:05}"))).collect();
    names.push(name("ann-shop"));
    let names: Vec<&Name> = names.iter().collect();

    let all = store.sites().by_names(Visible::All, &names).await.unwrap();
    let own = store.sites().by_names(Visible::Owner(ann), &names).await.unwrap();

    assert_eq!(all.len(), 1101);
    assert!(all.iter().all(|(name, row)| *name == row.name));
    let own: Vec<_> = own.values().map(|row| row.id).collect();
    assert_eq!(own, [of_ann]);
    assert!(store.sites().by_names(Visible::All, &[]).await.unwrap().is_empty());
}

pub(crate) async fn hosts_and_tags_follow_every_change(db: &TestDb) {
    let store = &db.store;
    // More than the text holds by which sites are searched.
    let many: Vec<String> =
        (0..40).map(|n| format!("{}.example", "h".repeat(55) + &n.to_string())).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let id = add_site(store, site("shop", None, &many)).await;
    let put = async |host_names: &[&str], tags: &[&str]| {
        let mut version = site("shop", None, host_names);
        version.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        commit(store, vec![ChangeDraft::site(id, Expected::Any, version)]).await.unwrap();
        let rows = db.rows("SELECT host FROM site_hosts ORDER BY host").await;
        let mut wanted: Vec<&str> = host_names.to_vec();
        wanted.sort_unstable();
        assert_eq!(rows, wanted);
        assert_eq!(db.rows("SELECT tag FROM site_tags ORDER BY tag").await, tags);
    };

    put(&many, &["a"]).await;
    // Only what the text does not show differs.
    let (last, others) = many.split_last().unwrap();
    put(others, &["a", "b"]).await;
    put(&[others, &["other.example"]].concat(), &[]).await;
    // Somewhere here it shows all of them again.
    for count in (1..many.len()).rev() {
        put(&many[..count], &[]).await;
    }
    put(&[last, "two.example"], &["c"]).await;
    put(&["two.example", last], &["c"]).await;
    put(&[], &[]).await;
}

pub(crate) async fn a_host_that_stays_is_judged_with_its_new_owner(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Client)).await;
    let at = ["shared.example"];
    let one = add_site(store, site("one", Some(ann), &at)).await;
    let two = add_site(store, site("two", Some(ann), &at)).await;
    let give = |id, name: &str, owner| ChangeDraft::site(id, Expected::Any, site(name, owner, &at));

    let error = commit(store, vec![give(one, "one", Some(bob))]).await.unwrap_err();
    assert!(matches!(error, CommitError::HostTaken { .. }), "{error:?}");
    let error = commit(store, vec![give(one, "one", None)]).await.unwrap_err();
    assert!(matches!(error, CommitError::HostTaken { .. }), "{error:?}");
    let both = vec![give(one, "one", Some(bob)), give(two, "two", Some(bob))];
    commit(store, both).await.unwrap();
    commit(store, vec![give(two, "two", Some(bob))]).await.unwrap();
    let uses = store.sites().using_hosts(&hosts(&at)).await.unwrap();
    assert!(uses.len() == 2 && uses.iter().all(|used| used.owner == Some(bob)), "{uses:?}");
}

pub(crate) async fn filters_are_combined(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let add = async |site_name: &str, owner, tags: &[&str], origin: Origin| {
        let host = format!("{site_name}.example.org");
        let mut version = site(site_name, owner, &[&host]);
        version.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        version.origin = origin;
        add_site(store, version).await
    };
    let file = Origin::File("main".to_owned());
    let a = add("a-one", Some(ann), &["live", "eu"], file.clone()).await;
    add("b-two", Some(ann), &["live"], Origin::Console).await;
    add("c-three", None, &["live", "live"], file.clone()).await;
    add("d-four", None, &[], file.clone()).await;
    let block = Block { reason: "spam".to_owned(), by: None, at: now() };
    commit(store, vec![ChangeDraft::block_site(a, Expected::Any, Some(block))]).await.unwrap();

    let all = SiteFilter::default();
    let live = SiteFilter { tag: Some("live".to_owned()), ..all.clone() };
    let from_file = SiteFilter { origin: Some(file), ..all.clone() };
    for (filter, names) in [
        (live.clone(), &["a-one", "b-two", "c-three"][..]),
        (SiteFilter { owner: Some(ann), ..live.clone() }, &["a-one", "b-two"]),
        (SiteFilter { text: Some("one".to_owned()), ..live.clone() }, &["a-one"]),
        (SiteFilter { text: Some("e".to_owned()), ..live }, &["a-one", "b-two", "c-three"]),
        (from_file.clone(), &["a-one", "c-three", "d-four"]),
        (SiteFilter { blocked: Some(false), ..from_file.clone() }, &["c-three", "d-four"]),
        (SiteFilter { blocked: Some(true), ..from_file }, &["a-one"]),
        (
            SiteFilter { host: Some(hosts(&["b-two.example.org"]).remove(0)), ..all.clone() },
            &["b-two"],
        ),
        (SiteFilter { tag: Some("nothing".to_owned()), ..all }, &[]),
    ] {
        assert_eq!(site_names(store, Visible::All, &filter).await, names, "{filter:?}");
    }
    assert_eq!(store.sites().tags(Visible::All, 10).await.unwrap(), ["eu", "live"]);
    assert_eq!(store.sites().tags(Visible::Owner(id()), 10).await.unwrap(), [""; 0]);
}

pub(crate) async fn pages_show_every_site_once(db: &TestDb) {
    let store = &db.store;
    add_many(store, "page", 23).await;
    add_site(store, site("page-00004.1", None, &[])).await;
    add_site(store, site("page_0", None, &[])).await;

    for limit in [1, 5, 24, 25, 26] {
        let rows = all_pages(limit, |page| {
            let store = store.clone();
            async move { store.sites().list(Visible::All, &SiteFilter::default(), &page).await }
        });
        let names: Vec<String> = rows.await.into_iter().map(|row| row.name.to_string()).collect();
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(names, sorted, "limit {limit}");
        assert_eq!(names.len(), 25, "limit {limit}");
    }
}

pub(crate) async fn an_owner_has_no_more_sites_than_permitted(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let try_add = async |site_name: &str| {
        let change = ChangeDraft::site(id(), Expected::New, site(site_name, Some(ann), &[]));
        let mut draft = draft(vec![change]);
        draft.site_limits = [(ann, 2)].into();
        store.revisions().commit(&draft, Visible::Owner(ann), now()).await
    };

    try_add("one").await.unwrap();
    let (second, third) = tokio::join!(try_add("two"), try_add("three"));

    let refused = match (second, third) {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused, CommitError::TooManySites { limit: 2, owner } if owner == ann));
}

pub(crate) async fn a_blocked_site_stays_blocked(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let shop = add_site(store, site("shop", Some(ann), &["shop.example"])).await;
    let other = add_site(store, site("other", Some(ann), &["other.example"])).await;
    let block = Block { reason: "phishing".to_owned(), by: Some(ann), at: now() };
    let blocked = vec![
        ChangeDraft::block_site(shop, Expected::Any, Some(block.clone())),
        ChangeDraft::block_site(other, Expected::Any, Some(block.clone())),
    ];
    let number = commit(store, blocked).await.unwrap();

    let row = store.sites().get(Visible::All, shop).await.unwrap().unwrap();
    assert_eq!((row.blocked.as_ref(), row.revision), (Some(&block), number));
    let since = RevisionNumber(number.0 - 1);
    let changed = store.revisions().changes_since(since, &PageRequest::first(10)).await.unwrap();
    assert_eq!(changed.items.len(), 2);
    assert_eq!(changed.items[0].spec.as_ref(), Some(&row.spec));

    let edit = ChangeDraft::site(shop, Expected::Any, site("shop", Some(ann), &["new.example"]));
    store.revisions().commit(&draft(vec![edit]), Visible::Owner(ann), now()).await.unwrap();
    let delete = draft(vec![ChangeDraft::delete_site(shop, Expected::Any)]);
    let refused = store.revisions().commit(&delete, Visible::Owner(ann), now()).await;
    assert!(matches!(refused, Err(CommitError::Blocked { .. })), "{refused:?}");
    let row = store.sites().get(Visible::All, shop).await.unwrap().unwrap();
    assert_eq!(row.blocked, Some(block));

    commit(store, vec![ChangeDraft::block_site(shop, Expected::Any, None)]).await.unwrap();
    store.revisions().commit(&delete, Visible::Owner(ann), now()).await.unwrap();
}

pub(crate) async fn a_deleted_site_leaves_only_its_history(db: &TestDb) {
    let store = &db.store;
    let shop = add_site(store, site("shop", None, &["shop.example"])).await;

    let number =
        commit(store, vec![ChangeDraft::delete_site(shop, Expected::At(RevisionNumber(1)))])
            .await
            .unwrap();

    assert_eq!(store.sites().get(Visible::All, shop).await.unwrap(), None);
    assert!(store.sites().using_hosts(&hosts(&["shop.example"])).await.unwrap().is_empty());
    assert!(site_names(store, Visible::All, &text("shop")).await.is_empty());
    let version =
        |at| store.revisions().version_at(Visible::All, ResourceKind::Site, shop.uuid(), at);
    let gone = version(number).await.unwrap().unwrap();
    assert_eq!((gone.name.as_str(), gone.spec), ("shop", None));
    assert!(version(RevisionNumber(1)).await.unwrap().unwrap().spec.is_some());

    let stale = commit(store, vec![ChangeDraft::delete_site(shop, Expected::At(number))]).await;
    assert!(matches!(stale, Err(CommitError::Stale { found: None, .. })), "{stale:?}");
    let again = ChangeDraft::site(shop, Expected::New, site("shop", None, &["shop.example"]));
    commit(store, vec![again]).await.unwrap();
}
