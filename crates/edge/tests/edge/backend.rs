//! An application that can be told to fail in every way: to be slow, to drop requests, to close
//! connections at will, to die and to come back on the same port.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

/// An application on a free port.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What an application counts, and how it behaves.
pub(crate) struct State {
    /// How often each request came, by its method and path.
    pub(crate) seen: Mutex<BTreeMap<String, usize>>,
    /// How many requests came.
    pub(crate) requests: AtomicUsize,
    in_flight: AtomicUsize,
    /// The most requests at once.
    pub(crate) most: AtomicUsize,
    behaviour: Mutex<Behaviour>,
}

/// How an application behaves.
#[derive(Clone)]
pub(crate) struct Behaviour {
    /// The status of its answers.
    pub(crate) status: u16,
    /// How long it thinks.
    pub(crate) thinks: Duration,
    /// What every answer takes a permit of.
    pub(crate) gate: Option<Arc<Semaphore>>,
    /// Whether it closes the connection instead of answering.
    pub(crate) drops: bool,
    /// After how many answers it closes a connection, without having said so.
    pub(crate) closes_after: Option<usize>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { status: 200, thinks: Duration::ZERO, gate: None, drops: false, closes_after: None }
    }
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            seen: Mutex::default(),
            requests: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            behaviour: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&state).accept(listener));
        Self { address, state, task: Mutex::new(Some(task)) }
    }

    pub(crate) async fn several<const N: usize>() -> [Self; N] {
        let mut all = Vec::new();
        for _ in 0..N {
            all.push(Self::start().await);
        }
        all.try_into().ok().unwrap()
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Returns how many requests came since it was asked last.
    pub(crate) fn requests_since(&self) -> usize {
        self.state.requests.swap(0, Ordering::SeqCst)
    }

    /// Ends it with all its connections.
    pub(crate) async fn die(&self) {
        let task = self.task.lock().unwrap().take();
        if let Some(task) = task {
            task.abort();
            // Its sockets are closed when it has ended.
            drop(task.await);
        }
        self.state.in_flight.store(0, Ordering::SeqCst);
    }

    /// Starts it again on its port.
    pub(crate) async fn revive(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let task = tokio::spawn(Arc::clone(&self.state).accept(listener));
        *self.task.lock().unwrap() = Some(task);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }
}

impl State {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(Arc::clone(&self).converse(stream));
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut answered = 0;
        while let Some(asked) = read(&mut stream).await? {
            self.requests.fetch_add(1, Ordering::SeqCst);
            *self.seen.lock().unwrap().entry(asked).or_default() += 1;
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let behaviour = self.behaviour.lock().unwrap().clone();
            let answer = self.answer(&behaviour).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            let Some(answer) = answer else { return Ok(()) };
            stream.write_all(answer.as_bytes()).await?;
            answered += 1;
            if behaviour.closes_after.is_some_and(|most| answered >= most) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn answer(&self, behaviour: &Behaviour) -> Option<String> {
        tokio::time::sleep(behaviour.thinks).await;
        if let Some(gate) = &behaviour.gate {
            gate.acquire().await.unwrap().forget();
        }
        let status = behaviour.status;
        (!behaviour.drops).then(|| format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"))
    }
}

/// Reads a request and returns its method and path.
async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(first.rsplit_once(' ').map(|(asked, _)| asked.to_owned()))
}
