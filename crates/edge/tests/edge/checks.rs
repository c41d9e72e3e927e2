//! Targets that are asked whether they are well.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use portway_model::{
    Seconds,
    site::{Action, BodyMatch, Health, HttpProbe, Probe, Target, Upstream, UpstreamTls},
};
use portway_policy::bundle::{Change, TargetStatus};
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{Sent, TestEdge, change, eventually, id, route, sent, site, tcp, upstream2};

/// How long it may take until a target is out or back: two questions of a second, each a tenth later
/// than it should be, the time an answer may take, and that of a busy machine.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_target_that_says_it_is_ill_is_taken_out_and_comes_back_without_a_failed_request() {
    let edge = TestEdge::start().await;
    let [one, two] = [App::start(None).await, App::start(None).await];
    edge.put(vec![site("a", &["a.example"], vec![route("/", both(&one, &two, path("/health")))])])
        .await;
    ask_until(&edge, "both are used", || one.asked() > 0 && two.asked() > 0).await;

    one.well.store(false, Ordering::SeqCst);
    edge.log_has_while("is out", "target_down", SOON).await;
    let before = (one.asked(), two.asked());
    ask_until(&edge, "the other is used", || two.asked() >= before.1 + 20).await;
    assert_eq!(one.asked(), before.0, "nothing goes to the one that is ill");

    one.well.store(true, Ordering::SeqCst);
    edge.log_has_while("is back", "target_up", SOON).await;
    ask_until(&edge, "it is used again", || one.asked() > before.0).await;

    let line = edge.log_has("main.error.log", "target_down").await;
    assert!(line.contains("fails its checks: it answered 503 Service Unavailable"), "{line}");
}

#[tokio::test]
async fn a_target_that_is_ill_from_the_start_is_out_with_the_first_answer() {
    let edge = TestEdge::start().await;
    let [one, two] = [App::start(None).await, App::start(None).await];
    one.well.store(false, Ordering::SeqCst);
    let mut slow = path("/health");
    (slow.interval, slow.fall) = (Seconds(3600), 100);
    edge.put(vec![site("a", &["a.example"], vec![route("/", both(&one, &two, slow))])]).await;
    assert_eq!(edge.get("a.example", "/").await.status, 200);

    let targets = asked_targets(&edge, 2).await;

    let status = |app: &App| targets.iter().find(|t| t.target == app.address.to_string()).unwrap();
    assert!(!status(&one).healthy && status(&two).healthy, "{targets:?}");
    let problem = status(&one).problem.as_deref();
    assert_eq!(problem, Some("it answered 503 Service Unavailable"));
    let before = one.asked();
    for _ in 0..6 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    assert_eq!(one.asked(), before);
}

#[tokio::test]
async fn host_scheme_port_and_body_are_as_declared() {
    let edge = TestEdge::start().await;
    let ca = TestCa::new().unwrap();
    let app = App::start(None).await;
    let secure = App::start(Some(&ca)).await;
    let mut health = path("/health?deep=1");
    health.port = Some(secure.address.port());
    let Probe::Http(probe) = &mut health.probe else { panic!("a request") };
    probe.host = Some("app.internal".to_owned());
    probe.over_tls = Some(true);
    probe.body = Some(BodyMatch::Regex("^all is w.ll$".to_owned()));
    let mut usual = Upstream::of(tcp(app.address));
    usual.health = Some(health.clone());
    // The authority of the other port is not one of the machine's.
    let untrusted = Action::Proxy(usual);
    let mut trusted = Upstream::of(tcp(secure.address));
    let tls = UpstreamTls {
        verify: true,
        ca_pem: Some(ca.root_pem()),
        server_name: Some("app.internal".to_owned()),
    };
    (trusted.tls, trusted.health) = (Some(tls), Some(health.clone()));
    let mut other = trusted.clone();
    let Probe::Http(probe) = &mut health.probe else { panic!("a request") };
    probe.body = Some(BodyMatch::Contains("all is ill".to_owned()));
    other.health = Some(health);
    let put =
        [("untrusted", untrusted), ("good", Action::Proxy(trusted)), ("bad", Action::Proxy(other))]
            .map(|(name, action)| {
                site(name, &[&format!("{name}.example")], vec![route("/", action)])
            });
    edge.put(put.to_vec()).await;
    for name in ["untrusted", "good", "bad"] {
        edge.get(&format!("{name}.example"), "/").await;
    }

    let targets = asked_targets(&edge, 3).await;

    let of = |name: &str| targets.iter().find(|target| target.site == id(name)).unwrap();
    assert!(of("good").healthy, "{targets:?}");
    assert_eq!(
        of("bad").problem.as_deref(),
        Some("it answered 200 OK, but the body is another one")
    );
    let untrusted = of("untrusted").problem.as_deref().unwrap();
    assert!(untrusted.contains("its certificate is not accepted"), "{untrusted}");
    assert!(secure.heard("app.internal /health?deep=1"));
}

#[tokio::test]
async fn a_connection_or_a_handshake_can_be_enough_and_http2_is_spoken_where_requests_speak_it() {
    let edge = TestEdge::start().await;
    let ca = TestCa::new().unwrap();
    let plain = App::start(None).await;
    let secure = App::start(Some(&ca)).await;
    let shared = Origin::tcp(Speaks::H2c).await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let anyone = Some(UpstreamTls { verify: false, ca_pem: None, server_name: None });
    let with = |address, tls, probe| {
        let health = Some(Health { interval: Seconds(3600), ..Health::by(probe) });
        Action::Proxy(Upstream { tls, health, ..Upstream::of(tcp(address)) })
    };
    let h2c = Upstream { health: Some(path("/health")), ..upstream2(&shared) };
    let put = [
        ("tcp", with(plain.address, None, Probe::Tcp)),
        ("closed", with(closed, None, Probe::Tcp)),
        ("tls", with(secure.address, anyone.clone(), Probe::Tls)),
        ("no-tls", with(plain.address, anyone, Probe::Tls)),
        ("h2c", Action::Proxy(h2c)),
    ]
    .map(|(name, action)| site(name, &[&format!("{name}.example")], vec![route("/", action)]));
    edge.put(put.to_vec()).await;
    for name in ["tcp", "closed", "tls", "no-tls", "h2c"] {
        edge.get(&format!("{name}.example"), "/").await;
    }

    let targets = asked_targets(&edge, 5).await;

    for (name, healthy) in
        [("tcp", true), ("closed", false), ("tls", true), ("no-tls", false), ("h2c", true)]
    {
        let target = targets.iter().find(|target| target.site == id(name)).unwrap();
        assert_eq!(target.healthy, healthy, "{name}: {target:?}");
    }
    assert!(shared.seen().iter().any(|seen| seen.target == "/health"));
}

#[tokio::test]
async fn checks_go_on_through_changes_and_end_with_their_site() {
    let edge = TestEdge::start().await;
    let app = App::start(None).await;
    app.well.store(false, Ordering::SeqCst);
    let checked = |body: &str| {
        let checked = Upstream { health: Some(path("/health")), ..Upstream::of(tcp(app.address)) };
        let routes =
            vec![route("/", Action::Proxy(checked)), route("/x", crate::support::respond(body))];
        site("a", &["a.example"], routes)
    };
    edge.put(vec![checked("one")]).await;
    edge.get("a.example", "/").await;
    asked_targets(&edge, 1).await;

    // Nobody asks for the site after the change, and still its checks go on.
    edge.put(vec![checked("two")]).await;
    let targets = targets(&edge).await;
    assert!(!targets[0].healthy, "what was known is known");
    let before = app.checked();
    eventually("checks go on", || (app.checked() >= before + 2).then_some(())).await;

    edge.change(Change { remove: vec![id("a")], ..change() }).await;
    assert!(crate::checks::targets(&edge).await.is_empty());
    let mut last = app.checked();
    let mut since = Instant::now();
    eventually("checks end", || {
        if app.checked() > last {
            (last, since) = (app.checked(), Instant::now());
        }
        (since.elapsed() > Duration::from_secs(3)).then_some(())
    })
    .await;
}

/// Asks until a condition holds; no request may fail.
async fn ask_until(edge: &TestEdge, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
        assert!(Instant::now() < deadline, "waited in vain until {what}");
    }
}

impl TestEdge {
    /// Asks until a line is in the log, which must be soon; no request may fail.
    async fn log_has_while(&self, what: &str, code: &str, soon: Duration) {
        let deadline = Instant::now() + soon;
        let logs = self.dir.join("logs");
        let is_there = || {
            let folders = std::fs::read_dir(&logs).into_iter().flatten().flatten();
            let texts = folders
                .filter_map(|f| std::fs::read_to_string(f.path().join("main.error.log")).ok());
            texts.into_iter().any(|text| text.contains(code))
        };
        while !is_there() {
            assert_eq!(self.get("a.example", "/").await.status, 200);
            assert!(Instant::now() < deadline, "waited in vain until it {what}");
        }
    }
}

/// Waits until so many targets were asked, and returns how they are.
async fn asked_targets(edge: &TestEdge, count: usize) -> Vec<TargetStatus> {
    let deadline = Instant::now() + SOON;
    loop {
        let found = targets(edge).await;
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < deadline, "{count} targets, but {found:?}");
        tokio::task::yield_now().await;
    }
}

async fn targets(edge: &TestEdge) -> Vec<TargetStatus> {
    let (status, body) = edge.control("GET", "/v1/targets", vec![]).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// A check by a request every second, of which one good and two bad ones count.
fn path(path: &str) -> Health {
    let mut health = Health::http(path);
    (health.interval, health.timeout) = (Seconds(1), Seconds(1));
    (health.rise, health.fall) = (1, 2);
    let Probe::Http(HttpProbe { .. }) = &health.probe else { panic!("a request") };
    health
}

fn both(one: &App, two: &App, health: Health) -> Action {
    let targets: Vec<_> = [one, two].map(|app| Target::into(tcp(app.address))).to_vec();
    let protocol = portway_model::site::UpstreamProtocol::Http1;
    Action::Proxy(Upstream { health: Some(health), ..Upstream::new(targets, protocol) })
}

/// An application that says how it is.
struct App {
    address: SocketAddr,
    well: Arc<AtomicBool>,
    state: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    asked: AtomicUsize,
    checked: AtomicUsize,
    heard: std::sync::Mutex<Vec<String>>,
}

impl App {
    async fn start(ca: Option<&TestCa>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Self { address, well: Arc::new(true.into()), state: Arc::default() };
        let tls = ca.map(|ca| TlsAcceptor::from(ca.server("app.internal", &[]).unwrap()));
        let (well, state) = (Arc::clone(&app.well), Arc::clone(&app.state));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, well, state) = (tls.clone(), Arc::clone(&well), Arc::clone(&state));
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, well, state).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            converse(stream, well, state).await;
                        }
                    }
                });
            }
        });
        app
    }

    fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    fn checked(&self) -> usize {
        self.state.checked.load(Ordering::SeqCst)
    }

    fn heard(&self, text: &str) -> bool {
        self.state.heard.lock().unwrap().iter().any(|heard| heard == text)
    }
}

async fn converse<S>(stream: S, well: Arc<AtomicBool>, state: Arc<Counts>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let is_check = request.uri().path() == "/health";
        let host = request.headers().get("host").and_then(|host| host.to_str().ok());
        let heard = format!("{} {}", host.unwrap_or_default(), request.uri());
        state.heard.lock().unwrap().push(heard);
        let counter = if is_check { &state.checked } else { &state.asked };
        counter.fetch_add(1, Ordering::SeqCst);
        let mut response: Response<Sent> = Response::new(sent(b"all is well".to_vec()));
        if is_check && !well.load(Ordering::SeqCst) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        async move { Ok::<_, std::io::Error>(response) }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}
