//! Users, their sessions, links, tokens and attempts to log in.

use portway_model::{Bounds, Id, Role, User};
use portway_store::{
    ChangeDraft, CommitError, Expected, Link, LinkKind, LoginRefused, SessionKind, SessionRow,
    Store, StoreError, TokenRow, Visible,
};
use serde_json::json;

use crate::support::{
    TestDb, add_site, add_user, all_pages, audit_entry, commit, id, later, now, site, user,
};

pub(crate) async fn a_user_is_read_back_and_found_by_name(db: &TestDb) {
    let store = &db.store;
    let mut version = user("ann", Role::Client);
    version.email = Some("ann@example.org".to_owned());
    version.bounds = Bounds { max_sites: 3, ..Bounds::default() };
    let ann = add_user(store, version.clone()).await;
    for name in ["cid", "bob", "dan"] {
        add_user(store, user(name, Role::Viewer)).await;
    }

    let row = store.users().get(ann).await.unwrap().unwrap();

    assert_eq!(row.user.id, ann);
    assert_eq!(row.user.bounds, version.bounds);
    assert_eq!(row.user.email, version.email);
    assert_eq!((row.password_hash.as_ref(), row.user.created_at), (None, now()));
    let by_name = store.users().by_name(&"ann".parse().unwrap()).await.unwrap();
    assert_eq!(by_name, Some(row));
    let names = all_pages(2, |page| {
        let store = store.clone();
        async move { store.users().list(&page).await }
    });
    let names: Vec<String> = names.await.into_iter().map(|row| row.user.name.to_string()).collect();
    assert_eq!(names, ["ann", "bob", "cid", "dan"]);
    let twin = ChangeDraft::user(id(), Expected::New, user("ann", Role::Admin));
    let twin = commit(store, vec![twin]).await;
    assert!(matches!(twin, Err(CommitError::NameTaken { .. })), "{twin:?}");
    assert_eq!(store.users().count_active().await.unwrap(), 4);
}

pub(crate) async fn users_are_read_by_their_ids(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Viewer)).await;
    let mut ids: Vec<Id<User>> = (0..1000).map(|_| id()).collect();
    ids.extend([bob, ann]);

    let found = store.users().by_ids(&ids).await.unwrap();

    let names: Vec<_> = found.iter().map(|(id, row)| (*id, row.user.name.as_str())).collect();
    assert_eq!(names, [(ann, "ann"), (bob, "bob")]);
    assert!(store.users().by_ids(&[]).await.unwrap().is_empty());
}

pub(crate) async fn the_last_administrator_stays(db: &TestDb) {
    let store = &db.store;
    let root = add_user(store, user("root", Role::Admin)).await;
    let inactive = {
        let mut version = user("root", Role::Admin);
        version.active = false;
        version
    };
    let ways = [
        ChangeDraft::delete_user(root, Expected::Any),
        ChangeDraft::user(root, Expected::Any, user("root", Role::Viewer)),
        ChangeDraft::user(root, Expected::Any, inactive),
    ];

    for way in &ways {
        let result = commit(store, vec![way.clone()]).await;
        assert!(matches!(result, Err(CommitError::LastAdmin)), "{way:?}: {result:?}");
    }
    let other = add_user(store, user("other", Role::Admin)).await;
    let (first, second) = tokio::join!(
        commit(store, vec![ChangeDraft::delete_user(root, Expected::Any)]),
        commit(store, vec![ChangeDraft::delete_user(other, Expected::Any)]),
    );
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);

    assert!(!store.users().has_administrator().await.unwrap());
    let left = if first.is_ok() { other } else { root };
    let entry = audit_entry("user.password");
    assert!(store.users().set_password(left, "$argon2id$", &entry, now()).await.unwrap());
    assert!(store.users().has_administrator().await.unwrap());
}

pub(crate) async fn a_user_with_sites_stays(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let shop = add_site(store, site("shop", Some(ann), &[])).await;

    let kept = commit(store, vec![ChangeDraft::delete_user(ann, Expected::Any)]).await;

    assert!(matches!(kept, Err(CommitError::OwnsSites { name }) if name == "ann"));
    let both = vec![
        ChangeDraft::delete_user(ann, Expected::Any),
        ChangeDraft::delete_site(shop, Expected::Any),
    ];
    commit(store, both).await.unwrap();
    assert_eq!(store.users().get(ann).await.unwrap(), None);
}

fn session(user: Id<User>, secret: &str) -> SessionRow {
    SessionRow {
        id: id(),
        user,
        kind: SessionKind::Browser,
        token_hash: secret.as_bytes().to_vec(),
        generation: 0,
        created_at: now(),
        expires_at: later(3600),
        last_seen_at: now(),
        revoked_at: None,
        user_agent: "Mozilla/5.0\0".to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

async fn is_valid(store: &Store, session: &SessionRow) -> bool {
    let by_id = store.sessions().valid(session.id, now()).await.unwrap();
    let by_token = store.sessions().valid_by_token(&session.token_hash, now()).await.unwrap();
    assert_eq!(by_id, by_token);
    by_id.is_some()
}

pub(crate) async fn a_session_is_valid_until_one_of_its_ends(db: &TestDb) {
    let store = &db.store;
    add_user(store, user("root", Role::Admin)).await;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Client)).await;
    let sessions: Vec<SessionRow> =
        ["a", "b", "c"].iter().map(|secret| session(ann, secret)).collect();
    for session in &sessions {
        store.sessions().create(session).await.unwrap();
    }
    let first = &sessions[0];

    let (row, of) = store.sessions().valid(first.id, now()).await.unwrap().unwrap();
    assert_eq!((row.id, of.user.id), (first.id, ann));
    assert_eq!(row.user_agent, "Mozilla/5.0\u{fffd}");
    assert_eq!(store.sessions().count_open(now()).await.unwrap(), 3);
    assert!(store.sessions().valid(first.id, later(3601)).await.unwrap().is_none());
    store.sessions().touch(first.id, later(7200), later(3500)).await.unwrap();
    assert!(store.sessions().valid(first.id, later(3601)).await.unwrap().is_some());

    assert!(!store.sessions().revoke(Visible::Owner(bob), first.id, now()).await.unwrap());
    assert!(store.sessions().revoke(Visible::Owner(ann), first.id, now()).await.unwrap());
    assert!(!is_valid(store, first).await);
    assert!(is_valid(store, &sessions[1]).await);
    let mut inactive = user("ann", Role::Client);
    inactive.active = false;
    commit(store, vec![ChangeDraft::user(ann, Expected::Any, inactive)]).await.unwrap();
    assert!(!is_valid(store, &sessions[1]).await);
    let active = user("ann", Role::Client);
    commit(store, vec![ChangeDraft::user(ann, Expected::Any, active)]).await.unwrap();
    assert!(is_valid(store, &sessions[1]).await);
    let entry = audit_entry("user.password");
    store.users().set_password(ann, "$argon2id$1", &entry, now()).await.unwrap();
    assert!(!is_valid(store, &sessions[1]).await);
    // A session that begins with the old password does not live either.
    let late = session(ann, "late");
    store.sessions().create(&late).await.unwrap();
    assert!(!is_valid(store, &late).await);

    let row = store.users().get(ann).await.unwrap().unwrap();
    assert_eq!((row.generation, row.password_hash.as_deref()), (1, Some("$argon2id$1")));
    assert!(store.users().rehash_password(ann, "$argon2id$1", "$argon2id$2").await.unwrap());
    assert!(!store.users().rehash_password(ann, "$argon2id$1", "$argon2id$3").await.unwrap());
    let current = SessionRow { generation: 1, ..session(ann, "current") };
    store.sessions().create(&current).await.unwrap();
    let page = portway_store::PageRequest::first(10);
    let open = store.sessions().list(ann, &page, now()).await.unwrap().items;
    assert!(open.iter().any(|row| row.id == current.id));
    assert_eq!(store.sessions().revoke_all(ann, now()).await.unwrap(), 2);
    assert_eq!(store.sessions().prune(later(10)).await.unwrap(), 5);
    commit(store, vec![ChangeDraft::delete_user(ann, Expected::Any)]).await.unwrap();
}

pub(crate) async fn a_changed_password_keeps_one_session_and_ends_the_links(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Client)).await;
    let (here, there, of_bob) = (session(ann, "here"), session(ann, "there"), session(bob, "bob"));
    for session in [&here, &there, &of_bob] {
        store.sessions().create(session).await.unwrap();
    }
    store.links().issue(&reset(ann, b"old")).await.unwrap();
    store.links().issue(&reset(bob, b"bob")).await.unwrap();
    let entry = audit_entry("user.password");
    let users = store.users();

    assert!(users.change_password(ann, "$argon2id$1", here.id, &entry, now()).await.unwrap());

    assert!(is_valid(store, &here).await && is_valid(store, &of_bob).await);
    assert!(!is_valid(store, &there).await);
    assert!(store.links().peek(b"old", now()).await.unwrap().is_none());
    assert!(store.links().peek(b"bob", now()).await.unwrap().is_some());
    // A session that is not the user's is not kept alive, nor is one of an earlier password.
    assert!(users.change_password(ann, "$argon2id$2", of_bob.id, &entry, now()).await.unwrap());
    assert!(!is_valid(store, &here).await && is_valid(store, &of_bob).await);
    assert!(users.change_password(ann, "$argon2id$3", there.id, &entry, now()).await.unwrap());
    assert!(!is_valid(store, &there).await);
}

pub(crate) async fn a_link_sets_one_password(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Client)).await;
    store.links().issue(&reset(ann, b"link")).await.unwrap();
    let entry = audit_entry("user.password");
    let users = store.users();
    let by_link = |hash| users.set_password_by_link(ann, hash, b"link", &entry, now());

    assert!(!users.set_password_by_link(bob, "$b", b"link", &entry, now()).await.unwrap());
    let late = users.set_password_by_link(ann, "$late", b"link", &entry, later(60)).await;
    assert!(!late.unwrap());
    let (left, right) = tokio::join!(by_link("$left"), by_link("$right"));

    let (left, right) = (left.unwrap(), right.unwrap());
    assert!(left != right, "{left} {right}");
    let row = users.get(ann).await.unwrap().unwrap();
    let kept = if left { "$left" } else { "$right" };
    assert_eq!((row.password_hash.as_deref(), row.generation), (Some(kept), 1));
    assert!(!by_link("$again").await.unwrap());
    assert_eq!(users.get(bob).await.unwrap().unwrap().password_hash, None);
}

pub(crate) async fn names_of_many_users_are_read_at_once(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Client)).await;

    let names = store.users().names([ann, bob, ann, id()]).await.unwrap();

    let names: Vec<(Id<User>, &str)> =
        names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    assert_eq!(names, [(ann, "ann"), (bob, "bob")]);
    assert!(store.users().names([]).await.unwrap().is_empty());
}

fn reset(user: Id<User>, hash: &[u8]) -> Link {
    Link {
        token_hash: hash.to_vec(),
        kind: LinkKind::Reset,
        user: Some(user),
        created_at: now(),
        expires_at: later(60),
    }
}

pub(crate) async fn a_session_changes_its_secret_once(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let first = session(ann, "one");
    store.sessions().create(&first).await.unwrap();
    let sessions = store.sessions();
    let rotate = |new: &'static [u8]| sessions.rotate(first.id, b"one", new, later(60), now());

    let (left, right) = tokio::join!(rotate(b"two"), rotate(b"three"));

    let (left, right) = (left.unwrap(), right.unwrap());
    assert!(left != right, "{left} {right}");
    let current: &[u8] = if left { b"two" } else { b"three" };
    assert!(sessions.valid_by_token(current, now()).await.unwrap().is_some());
    assert!(sessions.valid_by_token(b"one", now()).await.unwrap().is_none());
}

pub(crate) async fn a_link_works_once(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let link = |secret: &str, kind, user| Link {
        token_hash: secret.as_bytes().to_vec(),
        kind,
        user,
        created_at: now(),
        expires_at: later(1800),
    };
    let links = store.links();
    links.issue(&link("old", LinkKind::Setup, None)).await.unwrap();
    links.issue(&link("setup", LinkKind::Setup, None)).await.unwrap();
    links.issue(&link("invite", LinkKind::Invite, Some(ann))).await.unwrap();

    assert_eq!(links.peek(b"old", now()).await.unwrap(), None);
    assert_eq!(links.peek(b"setup", later(1800)).await.unwrap(), None);
    assert_eq!(links.redeem(b"setup", later(1800)).await.unwrap(), None);
    let peeked = links.peek(b"setup", now()).await.unwrap();
    assert_eq!(peeked, Some(link("setup", LinkKind::Setup, None)));
    let (one, two) = tokio::join!(links.redeem(b"setup", now()), links.redeem(b"setup", now()));
    let used = [one.unwrap(), two.unwrap()];
    assert_eq!(used.iter().flatten().count(), 1);
    assert_eq!(links.peek(b"setup", now()).await.unwrap(), None);

    let invited = links.redeem(b"invite", now()).await.unwrap().unwrap();
    assert_eq!((invited.kind, invited.user), (LinkKind::Invite, Some(ann)));
    assert_eq!(links.prune(later(1)).await.unwrap(), 2);
}

pub(crate) async fn a_token_is_valid_until_one_of_its_ends(db: &TestDb) {
    let store = &db.store;
    add_user(store, user("root", Role::Admin)).await;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let bob = add_user(store, user("bob", Role::Client)).await;
    let token = |name: &str, secret: &str| TokenRow {
        id: id(),
        user: ann,
        name: name.to_owned(),
        token_hash: secret.as_bytes().to_vec(),
        prefix: "pw_abc".to_owned(),
        scopes: json!(["sites:read"]),
        created_at: now(),
        expires_at: Some(later(100)),
        last_used_at: None,
        revoked_at: None,
    };
    let (tokens, entry) = (store.tokens(), audit_entry("token.create"));
    let ci = token("ci", "one");
    tokens.create(&ci, &entry).await.unwrap();

    let twin = tokens.create(&token("ci", "two"), &entry).await;
    assert!(matches!(twin, Err(StoreError::Conflict { .. })), "{twin:?}");
    let (row, of) = tokens.valid(b"one", now()).await.unwrap().unwrap();
    assert_eq!((&row, of.user.id), (&ci, ann));
    assert!(tokens.valid(b"one", later(100)).await.unwrap().is_none());
    assert!(tokens.valid(b"two", now()).await.unwrap().is_none());
    tokens.touch(ci.id, now(), later(1)).await.unwrap();
    tokens.touch(ci.id, later(-9), later(5)).await.unwrap();
    let row = tokens.get(Visible::Owner(ann), ci.id).await.unwrap().unwrap();
    assert_eq!(row.last_used_at, Some(later(1)));

    assert_eq!(tokens.get(Visible::Owner(bob), ci.id).await.unwrap(), None);
    assert!(!tokens.revoke(Visible::Owner(bob), ci.id, &entry, now()).await.unwrap());
    assert!(tokens.revoke(Visible::Owner(ann), ci.id, &entry, now()).await.unwrap());
    assert!(tokens.valid(b"one", now()).await.unwrap().is_none());
    tokens.create(&token("ci", "three"), &entry).await.unwrap();
    let page = portway_store::PageRequest::first(10);
    assert_eq!(tokens.list(Visible::Owner(ann), &page).await.unwrap().items.len(), 2);
    assert!(tokens.list(Visible::Owner(bob), &page).await.unwrap().items.is_empty());
    let mut inactive = user("ann", Role::Client);
    inactive.active = false;
    commit(store, vec![ChangeDraft::user(ann, Expected::Any, inactive)]).await.unwrap();
    assert!(tokens.valid(b"three", now()).await.unwrap().is_none());
}

pub(crate) async fn guessing_a_password_is_limited_also_in_parallel(db: &TestDb) {
    let store = &db.store;
    let window = later(-900);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let store = store.clone();
        tasks.spawn(async move {
            store.login_attempts().begin("ann\0", "10.0.0.1", 10, window, now()).await
        });
    }
    let results = tasks.join_all().await;

    let permitted = results.iter().filter(|result| result.is_ok()).count();
    assert!(permitted <= 10, "{permitted} attempts were permitted");
    for result in &results {
        let fine = matches!(result, Ok(_) | Err(LoginRefused::TooMany { .. }));
        assert!(fine, "{result:?}");
    }
    let attempts = store.login_attempts();
    let count = attempts.failures("ann\0", "10.0.0.1", window).await.unwrap();
    assert_eq!(count, permitted as u64);
    // Another address and another account are not touched; success does not count; time heals.
    for (account, address) in [("ann\0", "10.0.0.2"), ("bob", "10.0.0.1")] {
        for _ in 0..12 {
            let attempt = attempts.begin(account, address, 10, window, now()).await.unwrap();
            attempts.succeeded(attempt).await.unwrap();
        }
    }
    attempts.begin("ann\0", "10.0.0.1", 10, later(1), later(2)).await.unwrap();
    assert_eq!(attempts.prune(later(1)).await.unwrap(), permitted as u64 + 24);
    let long = "x".repeat(100_000);
    attempts.begin(&long, &long, 10, window, now()).await.unwrap();
}
