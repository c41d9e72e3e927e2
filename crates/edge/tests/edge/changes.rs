//! Changes of what is served: nothing is lost, nothing is half done, everything survives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use portway_model::{FindingCode, site::PathMatch};
use portway_policy::{
    CertificateObject, Claim, Digest, Owner,
    bundle::{Change, Conflict},
};
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::net::TcpStream;

use crate::support::{
    TestEdge, certificate, change, client, id, request, respond, route, send, site, tls, to,
    with_https,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_changes_under_load_lose_no_request() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let (stop, asked, http) = (Arc::clone(&stop), Arc::clone(&asked), edge.http());
            tokio::spawn(async move {
                let mut client = client(TcpStream::connect(http).await.unwrap()).await;
                while !stop.load(Ordering::SeqCst) {
                    let body = format!("{number} {}", asked.fetch_add(1, Ordering::SeqCst));
                    let answer = send(&mut client, request("POST", "a.example", "/", &body)).await;
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.echoed().body, body);
                }
            })
        })
        .collect();

    for n in 0..50 {
        let changed = vec![route("/", to(&origin)), route(&format!("/new{n}"), respond("x"))];
        edge.put(vec![site("a", &["a.example"], changed)]).await;
        assert_eq!(edge.get("a.example", &format!("/new{n}")).await.body, "x");
    }

    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let posts = origin.seen().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, asked.load(Ordering::SeqCst));
}

/// A change is written before it is live. Meanwhile the disk does not have what is served, and what
/// was never asked for is not in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_and_certificates_are_found_while_they_are_replaced() {
    const SITES: usize = 1_000;
    let (edge, ca) = (TestEdge::start().await, Arc::new(TestCa::new().unwrap()));
    let replaced = |body: String| {
        let certificate = certificate(&ca, &["*.many.example"]);
        let put = (0..SITES).map(|n| {
            let routes = vec![route("/", respond(&body))];
            with_https(
                site(&format!("s{n}"), &[&format!("s{n}.many.example")], routes),
                &certificate,
            )
        });
        Change { put: put.collect(), certificates: vec![certificate.clone()], ..change() }
    };
    edge.change(replaced("first".to_owned())).await;
    let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (stop, asked, ca) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&ca));
            let (http, https) = (edge.http(), edge.https());
            tokio::spawn(async move {
                let mut kept = client(TcpStream::connect(http).await.unwrap()).await;
                while !stop.load(Ordering::SeqCst) {
                    let turn = asked.fetch_add(1, Ordering::SeqCst);
                    let host = format!("s{}.many.example", turn * 7 % SITES);
                    let asked = request("GET", &host, "/", "");
                    let answer = if number % 2 == 0 {
                        send(&mut kept, asked).await
                    } else {
                        let stream = tls(https, &ca, &host, &[]).await.unwrap();
                        send(&mut client(stream).await, asked).await
                    };
                    // Over plain HTTP it is sent on to HTTPS.
                    assert_eq!(answer.status, if number % 2 == 0 { 301 } else { 200 }, "{host}");
                }
            })
        })
        .collect();

    for n in 0..10 {
        edge.change(replaced(format!("changed {n}"))).await;
    }

    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let own = certificate(&ca, &["a.example"]);
    let put = vec![with_https(site("a", &["a.example"], vec![route("/", respond("a"))]), &own)];
    edge.change(Change { put, certificates: vec![own.clone()], ..change() }).await;
    let before = edge.index().await;
    let dir = edge.dir.clone();
    let _temporary = edge.stop().await;

    let edge = TestEdge::start_in(dir, |_| {}).await;

    assert_eq!(edge.index().await, before);
    assert_eq!(before.certificates, [own.digest()]);
    let stream = tls(edge.https(), &ca, "a.example", &[]).await.unwrap();
    let answer = send(&mut client(stream).await, request("GET", "a.example", "/", "")).await;
    assert_eq!(answer.body, "a");
}

#[tokio::test]
async fn sites_that_cannot_be_taken_leave_their_last_version_and_the_others() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("old"))])]).await;
    let ca = TestCa::new().unwrap();
    let mixed = CertificateObject {
        key_pem: certificate(&ca, &["c.example"]).key_pem,
        ..certificate(&ca, &["c.example"])
    };
    let mut regex = site("a", &["a.example"], vec![route("/", respond("new"))]);
    regex.routes[0].matches.path = PathMatch::Regex("(".into());
    let mut later = site("e", &["e.example"], vec![route("/", respond("e"))]);
    later.format = 99;
    let put = vec![
        regex,
        site("b", &["b.example"], vec![route("/", respond("b"))]),
        with_https(site("c", &["c.example"], vec![route("/", respond("c"))]), &mixed),
        site("d", &["b.example"], vec![route("/", respond("d"))]),
        later,
    ];

    let report = edge.change(Change { put, certificates: vec![mixed], ..change() }).await;

    let code = |name: &str| {
        let refused = report.refused.iter().find(|refused| refused.site == id(name));
        refused.map(|refused| refused.findings[0].code)
    };
    assert_eq!(code("a"), Some(FindingCode::InvalidPath));
    assert_eq!(code("b"), None);
    assert_eq!(code("c"), Some(FindingCode::CertificateFailed));
    assert_eq!(code("d"), Some(FindingCode::RouteTaken));
    assert_eq!(code("e"), Some(FindingCode::Held));
    assert_eq!(edge.get("a.example", "/").await.body, "old");
    assert_eq!(edge.get("b.example", "/").await.body, "b");
    let index = edge.index().await;
    assert_eq!(index.sites.len(), 2);
    assert_eq!(index.digest, report.digest);
    assert!(index.certificates.is_empty());
}

#[tokio::test]
async fn a_site_that_cannot_even_be_read_is_refused_alone() {
    let edge = TestEdge::start().await;
    let good = site("good", &["good.example"], vec![route("/", respond("good"))]);
    let mut sent = serde_json::to_value(Change { put: vec![good], ..change() }).unwrap();
    let bad = serde_json::json!({ "id": id("bad"), "name": "bad", "routes": "none" });
    sent["put"].as_array_mut().unwrap().push(bad);

    let (status, body) =
        edge.control("POST", "/v1/change", serde_json::to_vec(&sent).unwrap()).await;

    assert_eq!(status, 200, "{body}");
    assert!(body.contains(&id("bad").to_string()), "{body}");
    assert_eq!(edge.get("good.example", "/").await.body, "good");
}

#[tokio::test]
async fn a_change_for_other_content_is_a_conflict_and_changes_nothing() {
    let edge = TestEdge::start().await;
    let before = edge.status().await;
    let put = vec![site("a", &["a.example"], vec![route("/", respond("a"))])];
    let wrong = Change { base: Some(Digest::of(b"other")), put: put.clone(), ..change() };

    let (status, body) =
        edge.control("POST", "/v1/change", serde_json::to_vec(&wrong).unwrap()).await;

    assert_eq!(status, 409);
    assert_eq!(serde_json::from_str::<Conflict>(&body).unwrap().digest, before.digest);
    assert_eq!(edge.get("a.example", "/").await.status, 404);
    let right = edge.change(Change { base: Some(before.digest), put, ..change() }).await;
    assert_eq!(edge.status().await.digest, right.digest);
    assert_eq!(edge.get("a.example", "/").await.body, "a");
}

#[tokio::test]
async fn a_change_by_another_owner_is_refused_whole_and_the_owner_outlives_the_edge() {
    let edge = TestEdge::start().await;
    let owner = |installation: u128, turn| Owner {
        installation: uuid::Uuid::from_u128(installation),
        node: uuid::Uuid::nil(),
        manager: "box".to_owned(),
        turn,
    };
    let change_by = |claim, name: &str, host: &str| Change {
        put: vec![site(name, &[host], vec![route("/", respond(name))])],
        claim: Some(claim),
        ..change()
    };
    edge.change(change_by(Claim::Hold(owner(1, 7)), "a", "a.example")).await;
    let dir = edge.dir.clone();
    let _temporary = edge.stop().await;
    let edge = TestEdge::start_in(dir, |_| {}).await;
    assert_eq!(edge.status().await.owner, Some(owner(1, 7)));

    for other in [owner(2, 9), owner(1, 6)] {
        // What cannot be read as a whole is held to the same.
        let mut sent =
            serde_json::to_value(change_by(Claim::Hold(other), "b", "b.example")).unwrap();
        for _ in 0..2 {
            let bytes = serde_json::to_vec(&sent).unwrap();
            let (status, body) = edge.control("POST", "/v1/change", bytes).await;
            assert_eq!(status, 423, "{body}");
            assert_eq!(serde_json::from_str::<Owner>(&body).unwrap(), owner(1, 7));
            let bad = serde_json::json!({ "id": id("bad"), "name": "bad", "routes": "none" });
            sent["put"].as_array_mut().unwrap().push(bad);
        }
        assert_eq!(edge.get("b.example", "/").await.status, 404);
    }
    edge.change(change_by(Claim::TakeOver(owner(2, 1)), "b", "b.example")).await;
    assert_eq!(edge.status().await.owner, Some(owner(2, 1)));
    edge.change(Change { claim: Some(Claim::GiveUp), ..change() }).await;
    assert_eq!(edge.status().await.owner, None);
    assert_eq!(edge.get("a.example", "/").await.body, "a");
}

#[tokio::test]
async fn sites_may_swap_their_hosts_in_one_change_and_be_removed() {
    let edge = TestEdge::start().await;
    let (a, b) = (vec![route("/", respond("a"))], vec![route("/", respond("b"))]);
    edge.put(vec![site("a", &["a.example"], a.clone()), site("b", &["b.example"], b.clone())])
        .await;
    edge.put(vec![site("a", &["b.example"], a), site("b", &["a.example"], b)]).await;
    assert_eq!(edge.get("a.example", "/").await.body, "b");
    assert_eq!(edge.get("b.example", "/").await.body, "a");

    edge.change(Change { remove: vec![id("a")], ..change() }).await;
    assert_eq!(edge.get("b.example", "/").await.status, 404);
    assert_eq!(edge.get("a.example", "/").await.body, "b");
    assert_eq!(edge.status().await.sites, 1);
}

#[tokio::test]
async fn a_certificate_is_kept_while_a_site_has_it_and_renewed_without_a_restart() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let with = |certificate: &CertificateObject| {
        let site =
            with_https(site("a", &["a.example"], vec![route("/", respond("a"))]), certificate);
        Change { put: vec![site], certificates: vec![certificate.clone()], ..change() }
    };
    let (old, new) = (certificate(&ca, &["a.example"]), certificate(&ca, &["a.example"]));
    edge.change(with(&old)).await;
    let stream = tls(edge.https(), &ca, "a.example", &[]).await.unwrap();
    let mut kept = client(stream).await;

    edge.change(with(&new)).await;

    assert_eq!(edge.index().await.certificates, [new.digest()]);
    assert_eq!(send(&mut kept, request("GET", "a.example", "/", "")).await.body, "a");
    let stream = tls(edge.https(), &ca, "a.example", &[]).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let pem = rustls_pki_types::pem::PemObject::from_pem_slice(new.chain_pem.as_bytes());
    assert_eq!(shown, pem.unwrap());
}

/// The targets with room for a debug build on a busy machine; `make bench` measures.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are of interest beyond the assertion")]
async fn ten_thousand_sites_start_fast_and_one_change_among_them_is_cheap() {
    let edge = TestEdge::start().await;
    let sites = (0..10_000).map(|n| {
        let (name, host) = (format!("s{n}"), format!("s{n}.example"));
        site(&name, &[&host], vec![route("/", respond(&name))])
    });
    edge.put(sites.collect()).await;
    let dir = edge.dir.clone();
    let _temporary = edge.stop().await;

    let begun = Instant::now();
    let edge = TestEdge::start_in(dir, |_| {}).await;
    let started = begun.elapsed();
    let begun = Instant::now();
    edge.put(vec![site("s77", &["s77.example"], vec![route("/", respond("changed"))])]).await;
    let changed = begun.elapsed();

    assert_eq!(edge.get("s77.example", "/").await.body, "changed");
    assert_eq!(edge.get("s9999.example", "/").await.body, "s9999");
    assert!(started.as_secs() < 5, "started in {started:?}");
    assert!(changed.as_millis() < 500, "changed in {changed:?}");
    println!("10,000 sites: started in {started:?}, changed one in {changed:?}");
}
