//! Applications that fail, each behind a proxy of its own, and clients that count what that costs.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use portway_testkit::client::{Outcome, Speech, Web};
use portway_wire::site::NewSite;
use rand::RngExt as _;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;

use super::Settings;
use crate::{
    peer::{Content, Peer, Programs},
    portway::Portway,
    report::say,
};

/// How many clients each proxy has.
pub(super) const CLIENTS: usize = 8;
/// The longest pause of a client between two requests, in milliseconds.
pub(super) const LONGEST_PAUSE: u64 = 30;
/// The host that the peers pass on.
const HOST: &str = "app.bench.test";

/// How an application behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How long it thinks.
    pub(super) thinks: Duration,
    /// It closes a connection that was idle for up to this long, without having said so.
    pub(super) closes: Option<Duration>,
}

/// An application that can die.
pub(super) struct Application {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    task: Option<JoinHandle<()>>,
}

struct State {
    manner: Manner,
    in_flight: AtomicU64,
    closed: AtomicU64,
    /// How often each POST came.
    posts: Mutex<HashMap<String, u64>>,
}

/// A request that is being answered; whoever answers it may be ended at any moment.
struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A proxy before its applications, and the clients before it.
pub(super) struct Front {
    pub(super) name: &'static str,
    pub(super) protocol: &'static str,
    pub(super) applications: Vec<Application>,
    pub(super) tally: Arc<Tally>,
    host: &'static str,
    port: u16,
    speech: Speech,
}

/// What the clients of a proxy saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stop: AtomicBool,
    /// Requests that wait for their answer.
    pub(super) waiting: AtomicU64,
    pub(super) gets: AtomicU64,
    pub(super) posts: AtomicU64,
    pub(super) failed_gets: AtomicU64,
    pub(super) failed_posts: AtomicU64,
    example: Mutex<Option<String>>,
}

/// All proxies.
pub(super) struct Fronts {
    pub(super) all: Vec<Front>,
    portway: Portway,
    peers: Vec<Peer>,
    clients: JoinSet<anyhow::Result<()>>,
}

impl Fronts {
    /// Starts each proxy with as many applications, and its clients.
    pub(super) async fn start(
        settings: &Settings,
        programs: &Programs,
        applications: usize,
        manner: Manner,
    ) -> anyhow::Result<Self> {
        let portway = Portway::start(&settings.program, None).await?;
        let client = portway.client()?;
        let mut fronts = Vec::new();
        for (protocol, host, https, ejects) in [
            ("HTTP/1.1", "app.bench.test", false, true),
            ("HTTP/2, TLS", "tls.bench.test", true, true),
            ("HTTP/1.1, `eject: false`", "all.bench.test", false, false),
        ] {
            // Where there is one target, none is taken out.
            if applications == 1 && !ejects {
                continue;
            }
            let behind = Application::several(applications, manner).await?;
            let targets: Vec<_> = behind.iter().map(|one| one.address.to_string()).collect();
            let to = if ejects {
                json!({ "targets": targets })
            } else {
                json!({ "targets": targets, "eject": false })
            };
            let spec = json!({ "hosts": [host], "https": https, "to": to });
            let new = NewSite { name: None, owner: None, spec, message: None, rollout: None };
            let view = client.create_site(&new, Uuid::now_v7()).await?;
            portway.wait(&client, view.summary.revision, Duration::from_secs(30)).await?;
            let (port, speech) = if https {
                (portway.https_port(), Speech::http2(&client.local_root().await?)?)
            } else {
                (portway.http_port(), Speech::Http1)
            };
            let tally = Arc::default();
            let name = "Portway";
            let applications = behind;
            fronts.push(Front { name, protocol, applications, tally, host, port, speech });
        }
        let mut peers = Vec::new();
        for (kind, program) in programs.found() {
            let behind = Application::several(applications, manner).await?;
            let addresses = behind.iter().map(|one| one.address).collect();
            let content = Content {
                names: vec!["first.bench.test".to_owned()],
                proxied: Some((HOST.to_owned(), addresses)),
            };
            let peer = Peer::start(kind, program, &content).await?;
            fronts.push(Front {
                name: kind.name(),
                protocol: "HTTP/1.1",
                applications: behind,
                tally: Arc::default(),
                host: HOST,
                port: peer.port(),
                speech: Speech::Http1,
            });
            peers.push(peer);
        }
        let mut clients = JoinSet::new();
        for front in &fronts {
            for number in 0..CLIENTS {
                clients.spawn(front.client(number));
            }
        }
        Ok(Self { all: fronts, portway, peers, clients })
    }

    /// Ends the clients, then the proxies. Returns what they were.
    pub(super) async fn stop(mut self) -> anyhow::Result<Vec<Front>> {
        for front in &self.all {
            front.tally.stop.store(true, Relaxed);
        }
        while let Some(ended) = self.clients.join_next().await {
            ended??;
        }
        self.portway.stop().await?;
        for peer in self.peers {
            peer.stop().await?;
        }
        Ok(self.all)
    }
}

impl Front {
    fn client(&self, number: usize) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let web = Web::new(self.port, self.speech.clone());
        ask(web, self.host, number, Arc::clone(&self.tally))
    }

    /// Tells one failure to those who wait.
    pub(super) fn tell(&self) {
        let example = self.tally.example.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(example) = &*example {
            say(&format!("  {}, {}, for example: {example}", self.name, self.protocol));
        }
    }
}

/// Sends GET and POST in turn until told to stop, each with a path of its own.
async fn ask(mut web: Web, host: &str, client: usize, tally: Arc<Tally>) -> anyhow::Result<()> {
    let mut number = client;
    while !tally.stop.load(Relaxed) {
        number += 1;
        let posts = number.is_multiple_of(2);
        let (method, body) = if posts { (Method::POST, "pay") } else { (Method::GET, "") };
        let path = format!("/{client}/{number}");
        tally.waiting.fetch_add(1, Relaxed);
        let outcome = web.ask(method.clone(), host, &path, Bytes::from(body)).await?;
        tally.waiting.fetch_sub(1, Relaxed);
        let failure = match outcome {
            Outcome::NotSent => continue,
            Outcome::Answered(answer) if answer.is(&path) => None,
            Outcome::Answered(answer) => Some(answer.status.to_string()),
            Outcome::Lost(reason) => Some(reason),
        };
        tally.note(posts, failure.map(|failure| format!("{method} {path}: {failure}")));
        let pause = rand::rng().random_range(0..=LONGEST_PAUSE);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(())
}

impl Tally {
    fn note(&self, posts: bool, failure: Option<String>) {
        let (all, failed) =
            if posts { (&self.posts, &self.failed_posts) } else { (&self.gets, &self.failed_gets) };
        all.fetch_add(1, Relaxed);
        if let Some(failure) = failure {
            failed.fetch_add(1, Relaxed);
            let mut example = self.example.lock().unwrap_or_else(PoisonError::into_inner);
            example.get_or_insert(failure);
        }
    }
}

impl Application {
    async fn several(count: usize, manner: Manner) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Self::start(manner).await?);
        }
        Ok(all)
    }

    async fn start(manner: Manner) -> anyhow::Result<Self> {
        // No connection of this machine comes from this address, so that none takes the port while
        // the application is dead.
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            manner,
            in_flight: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            posts: Mutex::default(),
        });
        let task = Some(tokio::spawn(Arc::clone(&state).accept(listener)));
        Ok(Self { address, state, task })
    }

    /// Ends it with all its connections. Returns how many requests it had.
    pub(super) async fn die(&mut self) -> u64 {
        let Some(task) = self.task.take() else { return 0 };
        let in_flight = self.state.in_flight.load(Relaxed);
        task.abort();
        // Its sockets are closed when it has ended.
        drop(task.await);
        in_flight
    }

    /// Starts it again at its address.
    pub(super) async fn revive(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await.context("its port was taken")?;
        self.task = Some(tokio::spawn(Arc::clone(&self.state).accept(listener)));
        Ok(())
    }

    /// Returns how many idle connections it closed.
    pub(super) fn closed(&self) -> u64 {
        self.state.closed.load(Relaxed)
    }

    /// Returns how many POSTs came more than once, to the same application or to another one.
    pub(super) fn duplicated(all: &[Self]) -> usize {
        let mut times = HashMap::<String, u64>::new();
        for application in all {
            let posts = application.state.posts.lock().unwrap_or_else(PoisonError::into_inner);
            for (path, count) in &*posts {
                *times.entry(path.clone()).or_default() += count;
            }
        }
        times.values().filter(|times| **times > 1).count()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl State {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(Arc::clone(&self).converse(stream));
                    }
                    Err(_) => return,
                },
                // Those that have ended take no memory.
                Some(ended) = connections.join_next() => drop(ended),
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        // A connection is idle when it has had a request.
        let mut closes = None;
        loop {
            let Some(first) = self.wait(&mut stream, closes).await? else { return Ok(()) };
            closes = self.manner.closes;
            let path = read(&mut stream, &first).await?;
            if first.starts_with("POST ") {
                let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
                *posts.entry(path.clone()).or_default() += 1;
            }
            let in_flight = InFlight::new(&self.in_flight);
            tokio::time::sleep(self.manner.thinks).await;
            let length = path.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
            stream.write_all(answer.as_bytes()).await?;
            drop(in_flight);
        }
    }

    /// Waits for the first line of a request, but not for ever if it closes.
    async fn wait(
        &self,
        stream: &mut BufReader<TcpStream>,
        closes: Option<Duration>,
    ) -> anyhow::Result<Option<String>> {
        let mut first = String::new();
        let Some(longest) = closes else {
            let read = stream.read_line(&mut first).await?;
            return Ok((read > 0).then_some(first));
        };
        let patience = longest.mul_f64(rand::rng().random_range(0.0..1.0));
        let Ok(read) = tokio::time::timeout(patience, stream.read_line(&mut first)).await else {
            self.closed.fetch_add(1, Relaxed);
            return Ok(None);
        };
        Ok((read? > 0).then_some(first))
    }
}

/// Reads the rest of a request, and returns its path.
async fn read(stream: &mut BufReader<TcpStream>, first: &str) -> anyhow::Result<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        anyhow::ensure!(stream.read_line(&mut line).await? > 0, "a head without end");
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(first.split(' ').nth(1).context("a request has a target")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Manner = Manner { thinks: Duration::ZERO, closes: None };

    async fn get(web: &mut Web, method: Method) -> Outcome {
        web.ask(method, "a.test", "/7", Bytes::new()).await.unwrap()
    }

    #[tokio::test]
    async fn an_application_counts_dies_and_comes_back() {
        let mut application = Application::start(CALM).await.unwrap();
        let mut web = Web::at(application.address, Speech::Http1);
        for _ in 0..2 {
            let outcome = get(&mut web, Method::POST).await;
            assert!(matches!(outcome, Outcome::Answered(answer) if answer.is("/7")));
        }
        assert_eq!(Application::duplicated(std::slice::from_ref(&application)), 1);
        application.die().await;
        web.close();
        assert!(web.ask(Method::GET, "a.test", "/", Bytes::new()).await.is_err());
        application.revive().await.unwrap();
        assert!(matches!(get(&mut web, Method::GET).await, Outcome::Answered(_)));
    }

    #[tokio::test]
    async fn an_application_closes_idle_connections() {
        let closes = Some(Duration::from_millis(1));
        let application = Application::start(Manner { closes, ..CALM }).await.unwrap();
        let mut stream = TcpStream::connect(application.address).await.unwrap();
        stream.write_all(b"GET /7 HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\n/7"), "{answer}");
        assert_eq!(application.closed(), 1);
    }
}
