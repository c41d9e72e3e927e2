//! What is not declared: audit, secrets, certificates, deployments, tasks.

use portway_model::{
    Certificate, CertificateSource, Finding, FindingCode, Id, Location, ResourceKind,
    RevisionNumber, Role, Severity, Site, Stage,
};
use portway_store::{
    Advanced, AuditFilter, AuditOutcome, Backend, ChangeDraft, Claim, CommitError, DeploymentRow,
    Due, EndedRun, Expected, IdempotencyKey, Lease, LocalRoot, NodeRow, NodeSiteRow, PageRequest,
    Resealed, SealedCertificate, SealedItem, SealedSecret, SecretKind, TaskKey, TaskOutcome,
    Visible,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    TestDb, add_site, add_user, all_pages, audit_entry, commit, draft, hosts, id, later, name, now,
    site, user,
};

fn page() -> PageRequest {
    PageRequest::first(100)
}

pub(crate) async fn the_audit_log_is_filtered_and_paged(db: &TestDb) {
    let store = &db.store;
    let (ann, bob, thing) = (id(), id(), Uuid::now_v7());
    for (number, actor) in [ann, bob, ann, bob, ann].into_iter().enumerate() {
        let mut entry = audit_entry(if number < 3 { "site.update" } else { "login" });
        entry.at = later(i64::try_from(number).unwrap());
        entry.actor = Some(actor);
        entry.owner = (number == 3).then_some(ann);
        entry.resource_id = (number == 1).then_some(thing);
        entry.resource_kind = (number != 4).then_some(ResourceKind::Site);
        entry.outcome = if number == 2 { AuditOutcome::Refused } else { AuditOutcome::Done };
        entry.detail = json!({ "number": number, "odd": "nul \0 text" });
        store.audit().append(&entry).await.unwrap();
    }
    let numbers = async |visible, filter: AuditFilter| {
        let rows = all_pages(2, |page| {
            let (store, filter) = (store.clone(), filter.clone());
            async move { store.audit().list(visible, &filter, &page).await }
        });
        let numbers = rows.await.into_iter().map(|row| row.entry.detail["number"].clone());
        numbers.map(|number| number.as_i64().unwrap()).collect::<Vec<_>>()
    };
    let all = AuditFilter::default();

    assert_eq!(numbers(Visible::All, all.clone()).await, [4, 3, 2, 1, 0]);
    assert_eq!(numbers(Visible::Owner(ann), all.clone()).await, [4, 3, 2, 0]);
    assert_eq!(numbers(Visible::Owner(bob), all.clone()).await, [3, 1]);
    assert_eq!(numbers(Visible::Owner(id()), all.clone()).await, [0_i64; 0]);
    for (filter, expected) in [
        (AuditFilter { actor: Some(bob), ..all.clone() }, &[3, 1][..]),
        (AuditFilter { resource_id: Some(thing), ..all.clone() }, &[1]),
        (AuditFilter { resource_kind: Some(ResourceKind::Site), ..all.clone() }, &[3, 2, 1, 0]),
        (AuditFilter { action: Some("login".to_owned()), ..all.clone() }, &[4, 3]),
        (AuditFilter { outcome: Some(AuditOutcome::Refused), ..all.clone() }, &[2]),
        (AuditFilter { since: Some(later(1)), until: Some(later(3)), ..all.clone() }, &[2, 1]),
    ] {
        assert_eq!(numbers(Visible::All, filter.clone()).await, expected, "{filter:?}");
    }
    let row = store.audit().list(Visible::All, &all, &page()).await.unwrap().items.remove(0);
    assert_eq!(row.entry.detail["odd"], "nul \0 text");
    assert_eq!((row.entry.at, row.revision), (later(4), None));
}

fn secret(reference: &str, site: Option<Id<Site>>, sealed: &[u8]) -> SealedSecret {
    SealedSecret {
        reference: reference.to_owned(),
        kind: SecretKind::PasswordHash,
        owner: None,
        site,
        sealed: sealed.to_vec(),
        key_id: "first".to_owned(),
        created_at: now(),
    }
}

pub(crate) async fn secrets_are_kept_once_and_forgotten_when_nothing_refers_to_them(db: &TestDb) {
    let store = &db.store;
    let shop = id();
    let mut version = site("shop", None, &["shop.example"]);
    version.spec = json!({ "access": { "basic": "secret:used" } });
    let mut write = draft(vec![ChangeDraft::site(shop, Expected::New, version)]);
    write.secrets = vec![secret("secret:used", Some(shop), b"one")];
    store.revisions().commit(&write, Visible::All, now()).await.unwrap();
    let secrets = store.secrets();
    secrets
        .put_if_absent(&[
            secret("secret:used", Some(shop), b"two"),
            secret("secret:lost", Some(shop), b"three"),
            secret("secret:own", None, b"four"),
        ])
        .await
        .unwrap();

    let found = secrets.get(&["secret:used", "secret:lost", "nothing"]).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found["secret:used"], secret("secret:used", Some(shop), b"one"));
    assert_eq!(secrets.delete_unreferenced(now()).await.unwrap(), 0);
    // The version that refers to it is no longer current, but can be restored.
    let plain = ChangeDraft::site(shop, Expected::Any, site("shop", None, &[]));
    commit(store, vec![plain]).await.unwrap();
    assert_eq!(secrets.delete_unreferenced(later(1)).await.unwrap(), 1);
    let left = secrets.get(&["secret:used", "secret:lost", "secret:own"]).await.unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), ["secret:own", "secret:used"]);
}

pub(crate) async fn an_installation_is_made_once(db: &TestDb) {
    let installation = db.store.installation();
    assert_eq!(installation.get().await.unwrap(), None);

    let (one, two) = tokio::join!(
        installation.init(Uuid::now_v7(), "one", b"1", now()),
        installation.init(Uuid::now_v7(), "two", b"2", now()),
    );

    let row = one.unwrap();
    assert_eq!(row, two.unwrap());
    assert_eq!((&row.settings, row.revision), (&json!({}), RevisionNumber(0)));
    let settings = json!({ "approval": true });
    let change = ChangeDraft::settings(row.id, Expected::At(RevisionNumber(0)), settings.clone());
    let number = commit(&db.store, vec![change.clone()]).await.unwrap();
    let row = installation.get().await.unwrap().unwrap();
    assert_eq!((row.settings, row.revision), (settings, number));
    assert!(commit(&db.store, vec![change]).await.is_err());
}

pub(crate) async fn a_rotation_seals_everything_or_nothing(db: &TestDb) {
    let store = &db.store;
    store.installation().init(Uuid::now_v7(), "first", b"check", now()).await.unwrap();
    let many: Vec<_> =
        (0..1001).map(|n| secret(&format!("s{n}"), None, format!("old{n}").as_bytes())).collect();
    store.secrets().put_if_absent(&many).await.unwrap();
    let certificate = certificate("a.example", 100);
    store.certificates().put(&certificate, &[], now()).await.unwrap();
    let anew = |item: SealedItem<'_>| {
        let (SealedItem::Secret { sealed, .. } | SealedItem::CertificateKey { sealed, .. }) = item;
        String::from_utf8(sealed.to_vec()).unwrap().replace("old", "new").into_bytes()
    };

    let failing = |item: SealedItem<'_>| match item {
        SealedItem::Secret { reference: "s1000", .. } => Err("no"),
        item @ (SealedItem::Secret { .. } | SealedItem::CertificateKey { .. }) => Ok(anew(item)),
    };
    let undone = store.reseal("second", b"check2", failing).await.unwrap();
    assert!(matches!(undone, Resealed::Undone("no")), "{undone:?}");
    let found = store.secrets().get(&["s7"]).await.unwrap();
    assert_eq!(
        (found["s7"].sealed.as_slice(), found["s7"].key_id.as_str()),
        (&b"old7"[..], "first")
    );

    let done = store.reseal("second", b"check2", |item| Ok::<_, ()>(anew(item))).await.unwrap();
    assert!(matches!(done, Resealed::Done(1002)), "{done:?}");
    let found = store.secrets().get(&["s7", "s1000"]).await.unwrap();
    assert_eq!(
        (found["s7"].sealed.as_slice(), found["s7"].key_id.as_str()),
        (&b"new7"[..], "second")
    );
    assert_eq!(found["s1000"].sealed, b"new1000");
    let resealed = store.certificates().get(certificate.certificate.id).await.unwrap().unwrap();
    assert_eq!((resealed.sealed_key.as_slice(), resealed.key_id.as_str()), (&b"new"[..], "second"));
    let installation = store.installation().get().await.unwrap().unwrap();
    assert_eq!(
        (installation.key_id.as_str(), installation.key_check),
        ("second", b"check2".into())
    );
}

fn certificate(host: &str, days: i64) -> SealedCertificate {
    SealedCertificate {
        certificate: Certificate {
            id: id(),
            source: CertificateSource::Local,
            names: hosts(&[host, "z.example"]),
            not_before: now(),
            not_after: later(days * 86_400),
            fingerprint: Uuid::now_v7().simple().to_string(),
            chain_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
        },
        sealed_key: b"old".to_vec(),
        key_id: "first".to_owned(),
    }
}

pub(crate) async fn certificates_follow_their_sites(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let of_ann = add_site(store, site("ann", Some(ann), &["a.example"])).await;
    let other = add_site(store, site("other", None, &["z.example"])).await;
    let (first, second) = (certificate("a.example", 10), certificate("a.example", 90));
    let ids = (first.certificate.id, second.certificate.id);
    let mut root = certificate("root.example", 3650);
    root.certificate.source = CertificateSource::LocalRoot;
    let certificates = store.certificates();
    let root = LocalRoot { place: 1, activated_at: Some(now()), sealed: root };
    assert!(certificates.put_root(&root, None, now()).await.unwrap());
    certificates.put(&first, &[of_ann, other], now()).await.unwrap();

    assert_eq!(certificates.get(ids.0).await.unwrap(), Some(first.clone()));
    assert_eq!(certificates.by_names(&first.certificate.names).await.unwrap(), Some(first.clone()));
    assert_eq!(certificates.by_names(&hosts(&["a.example"])).await.unwrap(), None);
    let due = certificates.expiring(later(11 * 86_400), &page()).await.unwrap();
    assert_eq!(due.items, std::slice::from_ref(&first.certificate));
    assert!(certificates.expiring(later(86_400), &page()).await.unwrap().items.is_empty());

    certificates.put(&second, &[of_ann], now()).await.unwrap();
    let used = certificates.of_sites(&[of_ann, other, id()]).await.unwrap();
    assert_eq!(used, [(of_ann, ids.1), (other, ids.0)].into());
    assert_eq!(certificates.sites_of(ids.1, &page()).await.unwrap().items, [of_ann]);
    let seen = certificates.list(Visible::Owner(ann), &page()).await.unwrap().items;
    assert_eq!(seen, std::slice::from_ref(&second.certificate));
    let all = all_pages(1, |page| {
        let store = store.clone();
        async move { store.certificates().list(Visible::All, &page).await }
    });
    assert_eq!(all.await.len(), 3);
    assert_eq!(certificates.by_names(&second.certificate.names).await.unwrap(), Some(second));

    certificates.assign(ids.1, &[other]).await.unwrap();
    assert_eq!(certificates.sites_using(&[ids.0, ids.1]).await.unwrap().len(), 2);
    assert_eq!(certificates.delete_ended(later(10 * 86_400)).await.unwrap(), 0);
    assert_eq!(certificates.delete_ended(later(11 * 86_400)).await.unwrap(), 1);
    assert_eq!(certificates.by_ids(&[ids.0, ids.1]).await.unwrap().len(), 1);
    let gone = [of_ann, other].map(|id| ChangeDraft::delete_site(id, Expected::Any));
    commit(store, gone.into()).await.unwrap();
    assert_eq!(certificates.delete_ended(later(91 * 86_400)).await.unwrap(), 1);
    assert_eq!(certificates.delete_ended(later(9000 * 86_400)).await.unwrap(), 0);
    assert_eq!(certificates.roots().await.unwrap(), [root]);
}

pub(crate) async fn a_place_among_the_roots_is_had_once(db: &TestDb) {
    let certificates = db.store.certificates();
    let root = |place, activated_at| {
        let mut sealed = certificate("root.example", 3650);
        sealed.certificate.source = CertificateSource::LocalRoot;
        LocalRoot { place, activated_at, sealed }
    };
    let firsts = [root(1, Some(now())), root(1, Some(now()))];
    let entry = audit_entry("ca.renew");

    let (one, two) = tokio::join!(
        certificates.put_root(&firsts[0], None, now()),
        certificates.put_root(&firsts[1], Some(&entry), now())
    );
    assert!(one.unwrap() != two.unwrap(), "of two that make a root, one does");
    assert_eq!(certificates.roots().await.unwrap().len(), 1);
    assert_eq!(certificates.active_root().await.unwrap(), Some(1));

    assert!(certificates.put_root(&root(2, None), Some(&entry), now()).await.unwrap());
    assert_eq!(certificates.active_root().await.unwrap(), Some(1), "it is only prepared");
    let (one, two) = tokio::join!(
        certificates.activate_root(2, &entry, later(5)),
        certificates.activate_root(2, &entry, later(5))
    );
    assert!(one.unwrap() != two.unwrap(), "it is activated once");
    assert_eq!(certificates.active_root().await.unwrap(), Some(2));
    let roots = certificates.roots().await.unwrap();
    assert_eq!(roots[1].activated_at, Some(later(5)));
    let log = db.store.audit().list(Visible::All, &AuditFilter::default(), &page()).await.unwrap();
    assert!((2..=3).contains(&log.items.len()), "what was not done is not in the log");
}

pub(crate) async fn new_certificates_are_listed_in_the_order_of_their_making(db: &TestDb) {
    let certificates = db.store.certificates();
    let made: Vec<SealedCertificate> = (0..5).map(|_| certificate("a.example", 90)).collect();
    for (at, one) in (0..).zip(&made) {
        certificates.put(one, &[], later(at)).await.unwrap();
    }
    let list = async |since| {
        all_pages(2, |page| {
            let store = db.store.clone();
            async move { store.certificates().made_since(since, &page).await }
        })
        .await
    };
    let ids: Vec<_> = made.iter().map(|one| one.certificate.id).collect();
    assert_eq!(list(now()).await, ids);
    assert_eq!(list(later(3)).await, ids[3..]);
    assert!(list(later(5)).await.is_empty());
}

fn node() -> NodeRow {
    NodeRow {
        id: id(),
        name: name("local"),
        engine: "edge".to_owned(),
        deployed: RevisionNumber(0),
        digest: None,
        created_at: now(),
        updated_at: now(),
        declared: None,
    }
}

fn finding(text: &str) -> Finding {
    Finding {
        code: FindingCode::Held,
        severity: Severity::Error,
        at: Location::Installation,
        text: text.to_owned(),
        remedy: None,
    }
}

pub(crate) async fn a_deployment_advances_once(db: &TestDb) {
    let store = &db.store;
    let node = store.nodes().ensure(&node()).await.unwrap();
    let mut deployment = DeploymentRow {
        id: id(),
        node: node.id,
        from: RevisionNumber(0),
        to: RevisionNumber(3),
        stage: Stage::Queued,
        started_at: now(),
        finished_at: None,
        findings: Vec::new(),
        digest: None,
        release: None,
        before: None,
        fence: None,
    };
    let deployments = store.deployments();
    deployments.record(&deployment).await.unwrap();

    let advance = async |from, to, at| {
        deployments.advance(&deployment, from, to, later(100), later(at)).await.unwrap()
    };
    let not_held = advance(Stage::Queued, Stage::Staging, 1).await;
    assert_eq!(not_held, Advanced::NotHeld, "the node is held under another number");
    let lease = Lease { holder: Uuid::now_v7(), manager: "box", until: later(9) };
    deployment.fence = store.nodes().hold(node.id, lease, now()).await.unwrap();
    let advance = async |from, to, at| {
        deployments.advance(&deployment, from, to, later(100), later(at)).await.unwrap()
    };

    let (one, two) = tokio::join!(
        advance(Stage::Queued, Stage::Staging, 1),
        advance(Stage::Queued, Stage::Staging, 1)
    );

    assert!([[one, two], [two, one]].contains(&[Advanced::Yes, Advanced::GoneOn]));
    let held = store.nodes().lease(node.id).await.unwrap().unwrap();
    assert_eq!(held.until, later(100), "the node is held for longer");
    let unfinished = deployments.unfinished(&page()).await.unwrap().items;
    assert_eq!(unfinished[0].stage, Stage::Staging);
    assert_eq!(advance(Stage::Staging, Stage::Rejected, 2).await, Advanced::Yes);
    assert!(deployments.unfinished(&page()).await.unwrap().items.is_empty());
    let row = deployments.get(deployment.id).await.unwrap().unwrap();
    assert_eq!((row.stage, row.finished_at), (Stage::Rejected, Some(later(2))));
    deployment = DeploymentRow { findings: vec![finding("no")], ..row };
    deployments.record(&deployment).await.unwrap();
    assert_eq!(deployments.get(deployment.id).await.unwrap(), Some(deployment.clone()));
    for _ in 0..4 {
        let next = DeploymentRow { id: id(), finished_at: None, ..deployment.clone() };
        deployments.record(&next).await.unwrap();
    }
    let all = all_pages(2, |page| {
        let store = store.clone();
        async move { store.deployments().list(Some(node.id), &page).await }
    });
    let all = all.await;
    assert_eq!(all.len(), 5);
    assert_eq!(all[4].id, deployment.id);
    assert_eq!(deployments.prune(later(3)).await.unwrap(), 1);
}

pub(crate) async fn a_node_keeps_what_was_proven_there(db: &TestDb) {
    let store = &db.store;
    let ann = add_user(store, user("ann", Role::Client)).await;
    let shop = add_site(store, site("shop", Some(ann), &[])).await;
    let other = add_site(store, site("other", None, &[])).await;
    let nodes = store.nodes();
    let first = nodes.ensure(&node()).await.unwrap();
    assert_eq!(nodes.ensure(&node()).await.unwrap(), first);
    let at = |site, revision| NodeSiteRow {
        site,
        revision: Some(RevisionNumber(revision)),
        digest: Some("d1".to_owned()),
        held: None,
        findings: Vec::new(),
        updated_at: now(),
    };
    let both = [at(shop, 2), at(other, 3)];

    nodes.deployed(first.id, RevisionNumber(3), "n1", &both, &[], later(1)).await.unwrap();
    let held = NodeSiteRow {
        held: Some(RevisionNumber(4)),
        findings: vec![finding("refused")],
        ..at(shop, 2)
    };
    nodes.put_sites(first.id, std::slice::from_ref(&held)).await.unwrap();

    let row = nodes.by_name(&name("local")).await.unwrap().unwrap();
    assert_eq!((row.deployed, row.digest.as_deref()), (RevisionNumber(3), Some("n1")));
    assert_eq!(row.updated_at, later(1));
    assert_eq!(nodes.list(&page()).await.unwrap().items, [row]);
    let sites = all_pages(1, |page| {
        let store = store.clone();
        async move { store.nodes().sites(first.id, &page).await }
    });
    assert_eq!(sites.await, [held.clone(), at(other, 3)]);
    let seen = nodes.held(Visible::Owner(ann), first.id, &page()).await.unwrap().items;
    assert_eq!(seen, std::slice::from_ref(&held));
    assert!(nodes.held(Visible::Owner(id()), first.id, &page()).await.unwrap().items.is_empty());
    let of_sites = nodes.of_sites(&[shop]).await.unwrap();
    assert_eq!(of_sites, [((shop, first.id), held)].into());
    nodes.deployed(first.id, RevisionNumber(5), "n2", &[], &[shop], later(2)).await.unwrap();
    assert_eq!(nodes.sites(first.id, &page()).await.unwrap().items, [at(other, 3)]);
}

fn lease(holder: Uuid, manager: &str, until: i64) -> Lease<'_> {
    Lease { holder, manager, until: later(until) }
}

fn ended(at: i64, next: i64) -> EndedRun {
    EndedRun {
        at: later(at),
        outcome: TaskOutcome::Failed,
        message: "no network".to_owned(),
        next: Some(later(next)),
    }
}

pub(crate) async fn a_task_is_run_by_one_manager(db: &TestDb) {
    let tasks = db.store.tasks();
    let (ann, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let key = TaskKey { name: "renew".to_owned(), machine: None };
    let begin = async |holder, name, now: i64| {
        let lease = lease(holder, name, now + 60);
        tasks.begin(&key, lease, Due::OnTime, later(now)).await.unwrap()
    };

    let (one, two) = tokio::join!(begin(ann, "ann", 0), begin(bob, "bob", 0));
    assert!(one != two, "of two that begin at once, one does");
    let (holder, other) = if one { (ann, bob) } else { (bob, ann) };
    assert!(!begin(other, "other", 59).await);
    assert!(tasks.renew(&key, holder, later(120)).await.unwrap());
    assert!(!tasks.renew(&key, other, later(120)).await.unwrap());
    assert!(!begin(other, "other", 119).await, "the lease was renewed");

    assert!(!tasks.finish(&key, other, &ended(20, 80)).await.unwrap());
    assert!(tasks.finish(&key, holder, &ended(20, 80)).await.unwrap());
    let row = tasks.get(&key).await.unwrap().unwrap();
    assert_eq!((row.last_started, row.lease_until), (Some(now()), None));
    assert_eq!(row.last, Some(ended(20, 80)));
    assert!(!begin(other, "other", 79).await, "it is not due");
    assert!(begin(other, "other", 80).await);
    let row = tasks.all().await.unwrap().remove(0);
    assert_eq!((row.manager.as_str(), row.lease_until), ("other", Some(later(140))));
    assert_eq!(row.last, Some(ended(20, 80)), "the run before is still known");
}

pub(crate) async fn a_dead_managers_task_is_taken_over(db: &TestDb) {
    let tasks = db.store.tasks();
    let (ann, bob) = (Uuid::now_v7(), Uuid::now_v7());
    let key = TaskKey { name: "renew".to_owned(), machine: None };
    let at_once = Due::AtOnce;
    assert!(tasks.begin(&key, lease(ann, "ann", 60), at_once, now()).await.unwrap());

    assert!(!tasks.begin(&key, lease(bob, "bob", 119), at_once, later(59)).await.unwrap());
    assert!(tasks.begin(&key, lease(bob, "bob", 120), at_once, later(60)).await.unwrap());

    // It was not dead after all; what it did counts no more.
    assert!(!tasks.renew(&key, ann, later(200)).await.unwrap());
    assert!(!tasks.finish(&key, ann, &ended(70, 80)).await.unwrap());
    assert!(tasks.finish(&key, bob, &ended(70, 80)).await.unwrap());
    // The same manager, started again, knows that it does not run the task.
    assert!(tasks.begin(&key, lease(bob, "bob", 130), at_once, later(71)).await.unwrap());
    assert!(tasks.begin(&key, lease(bob, "bob", 140), at_once, later(72)).await.unwrap());
}

pub(crate) async fn a_machine_has_tasks_of_its_own(db: &TestDb) {
    let tasks = db.store.tasks();
    let of =
        |machine: &str| TaskKey { name: "deploy".to_owned(), machine: Some(machine.to_owned()) };
    tasks.note(&of("web"), "web", now(), &ended(1, 6)).await.unwrap();
    tasks.note(&of("db"), "db", now(), &ended(2, 7)).await.unwrap();
    tasks.note(&of("web"), "web", later(6), &ended(7, 12)).await.unwrap();

    let rows = tasks.all().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>(), [of("db"), of("web")]);
    assert_eq!(rows[1].last, Some(ended(7, 12)));
    assert_eq!(tasks.prune(later(7)).await.unwrap(), 1);
    assert_eq!(tasks.get(&of("db")).await.unwrap(), None);
}

pub(crate) async fn managers_have_different_names(db: &TestDb) {
    let managers = db.store.managers();
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let web = name("web");

    let (first, second) =
        tokio::join!(managers.ensure(one, &web, now()), managers.ensure(two, &web, now()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.id, second.id), (one, two));
    let rows = managers.all().await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["web", "web-2"]);
    let again = managers.ensure(one, &name("renamed"), later(9)).await.unwrap();
    assert_eq!(again, first, "a manager keeps its name");
}

fn attempt() -> IdempotencyKey {
    IdempotencyKey {
        actor: "ann".to_owned(),
        key: "k".to_owned(),
        request_digest: b"d".to_vec(),
        attempt: Uuid::now_v7(),
    }
}

pub(crate) async fn an_idempotency_key_is_remembered_for_a_day(db: &TestDb) {
    let idempotency = db.store.idempotency();
    let key = attempt();
    let other = IdempotencyKey { request_digest: b"x".to_vec(), ..attempt() };
    let of_bob = IdempotencyKey { actor: "bob".to_owned(), ..attempt() };
    let rival = attempt();
    let claim = async |key: &IdempotencyKey, at: i64| {
        idempotency.claim(key, later(at + 60), later(at)).await.unwrap()
    };

    let claims = tokio::join!(claim(&key, 0), claim(&rival, 0));
    let claims = [claims.0, claims.1];
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::New).count(), 1, "{claims:?}");
    let key = if claims[0] == Claim::New { key } else { rival };
    assert_eq!(claim(&other, 0).await, Claim::Reused);
    assert_eq!(claim(&of_bob, 0).await, Claim::New);
    idempotency.answer(&key, 201, "made").await.unwrap();
    let Claim::Repeated(record) = claim(&attempt(), 86_399).await else {
        panic!("the key was forgotten")
    };
    assert_eq!((record.status, record.body.as_deref()), (Some(201), Some("made")));
    assert_eq!(claim(&other, 86_401).await, Claim::New);
    idempotency.release(&other).await.unwrap();
    assert_eq!(claim(&attempt(), 86_402).await, Claim::New);
    assert_eq!(idempotency.prune(later(86_402)).await.unwrap(), 1);
}

pub(crate) async fn a_key_whose_attempt_died_is_free_again(db: &TestDb) {
    let idempotency = db.store.idempotency();
    let (dead, next) = (attempt(), attempt());
    let made = || vec![ChangeDraft::site(id(), Expected::New, site("shop", None, &[]))];
    let commit = async |key: &IdempotencyKey, at| {
        let mut draft = draft(made());
        draft.idempotency = Some(key.clone());
        db.store.revisions().commit(&draft, Visible::All, later(at)).await
    };
    assert_eq!(idempotency.claim(&dead, later(60), now()).await.unwrap(), Claim::New);
    let early = idempotency.claim(&next, later(90), later(30)).await.unwrap();
    assert!(matches!(&early, Claim::Repeated(record) if record.held_until == Some(later(60))));
    idempotency.renew(&dead, later(80)).await.unwrap();
    let early = idempotency.claim(&next, later(120), later(60)).await.unwrap();
    assert!(matches!(early, Claim::Repeated(_)), "it was held for longer");
    assert_eq!(idempotency.claim(&next, later(140), later(80)).await.unwrap(), Claim::New);

    // The first attempt comes back to life: it writes nothing any more.
    let late = commit(&dead, 81).await;
    assert!(matches!(late, Err(CommitError::Repeated(_))), "{late:?}");
    idempotency.answer(&dead, 201, "late").await.unwrap();
    idempotency.release(&dead).await.unwrap();

    let number = commit(&next, 82).await.unwrap();
    let after = idempotency.claim(&attempt(), later(9_000), later(8_000)).await.unwrap();
    let Claim::Repeated(record) = after else { panic!("{after:?}") };
    assert_eq!((record.revision, record.status), (Some(number), None), "it is known what was done");
}

pub(crate) async fn health_tells_what_the_database_is(db: &TestDb) {
    let health = db.store.health().await.unwrap();

    assert_eq!(health.backend, db.store.backend());
    assert!(health.size > 10_000, "{health:?}");
    assert!(health.has_text_index);
    assert!(health.schema.starts_with("m0"), "{health:?}");
    let major = if health.backend == Backend::Sqlite { "3." } else { "1" };
    assert!(health.version.starts_with(major), "{health:?}");
    db.store.tidy().await.unwrap();
}
