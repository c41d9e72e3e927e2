//! An application that can be told to fail in every way: to be slow, to drop requests, to close
//! connections at will, to die and to come back on the same port. It speaks HTTP/1.1; one that answers
//! what it was asked is [`crate::origin::Origin`].

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::anyhow;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

/// An application on a free port of 127.0.0.1.
pub struct Backend {
    address: SocketAddr,
    state: Arc<State>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How an application behaves.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The status of its answers.
    pub status: u16,
    /// How long it thinks.
    pub thinks: Duration,
    /// What every answer takes a permit of.
    pub gate: Option<Arc<Semaphore>>,
    /// Whether it closes the connection instead of answering.
    pub drops: bool,
    /// After how many answers it closes a connection, without having said so.
    pub closes_after: Option<usize>,
}

/// What an application counts.
#[derive(Default)]
struct State {
    seen: Mutex<BTreeMap<String, usize>>,
    requests: AtomicUsize,
    in_flight: AtomicUsize,
    most: AtomicUsize,
    behaviour: Mutex<Behaviour>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { status: 200, thinks: Duration::ZERO, gate: None, drops: false, closes_after: None }
    }
}

impl Backend {
    /// Starts an application that answers everything with 200 at once.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::<State>::default();
        let task = tokio::spawn(Arc::clone(&state).accept(listener));
        Ok(Self { address, state, task: Mutex::new(Some(task)) })
    }

    /// Starts several.
    pub async fn several<const N: usize>() -> anyhow::Result<[Self; N]> {
        let mut all = Vec::new();
        for _ in 0..N {
            all.push(Self::start().await?);
        }
        all.try_into().map_err(|_| anyhow!("there are not {N}"))
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it behave so from the next request on. Those that it has go on as they began.
    pub fn behave(&self, behaviour: Behaviour) {
        *locked(&self.state.behaviour) = behaviour;
    }

    /// Returns how many requests came.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Returns how many requests came since it was asked last.
    pub fn requests_since(&self) -> usize {
        self.state.requests.swap(0, Ordering::SeqCst)
    }

    /// Returns how often each request came, by its method and path.
    pub fn seen(&self) -> BTreeMap<String, usize> {
        locked(&self.state.seen).clone()
    }

    /// Returns the most requests that it had at once.
    pub fn most(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }

    /// Ends it with all its connections.
    pub async fn die(&self) {
        let task = locked(&self.task).take();
        if let Some(task) = task {
            task.abort();
            // Its sockets are closed when it has ended.
            drop(task.await);
        }
        self.state.in_flight.store(0, Ordering::SeqCst);
    }

    /// Starts it again on its port.
    pub async fn revive(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let task = tokio::spawn(Arc::clone(&self.state).accept(listener));
        *locked(&self.task) = Some(task);
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = locked(&self.task).take() {
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

    async fn converse(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut answered = 0;
        while let Some(asked) = read(&mut stream).await? {
            self.requests.fetch_add(1, Ordering::SeqCst);
            *locked(&self.seen).entry(asked).or_default() += 1;
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let behaviour = locked(&self.behaviour).clone();
            let answer = behaviour.answer().await;
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
}

impl Behaviour {
    async fn answer(&self) -> Option<String> {
        tokio::time::sleep(self.thinks).await;
        if let Some(gate) = &self.gate {
            // A gate that was closed lets nobody through.
            gate.acquire().await.ok()?.forget();
        }
        let status = self.status;
        (!self.drops).then(|| format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"))
    }
}

/// Reads a request and returns its method and path; nothing at the end of the connection.
async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
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
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(first.rsplit_once(' ').map(|(asked, _)| asked.to_owned()))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
