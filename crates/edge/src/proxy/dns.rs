//! Names of upstreams and their addresses, kept for as long as the name's servers say. Requests for
//! the same name wait for one question. When no name server answers, the last good answer is used
//! on, so that their outage is not ours.

mod source;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{LocalBoxFuture, Shared},
};
use portway_model::HostPort;
use tokio::time::{Instant, timeout};

use self::source::{Found, Source};
pub(crate) use self::source::{LookupError, NameServers};

/// How long a request waits for a new answer while there is an old one.
const PATIENCE: Duration = Duration::from_secs(2);

/// The time after a failure in which the old answer is used without asking again.
const RESPITE: Duration = Duration::from_secs(5);

/// How long after its end an answer is used on when the name is said to have no address any more:
/// zones that are being rewritten say so for a moment.
const HOLD: Duration = Duration::from_secs(30);

/// The number of names that are kept.
const CAPACITY: usize = 4096;

/// The names that one thread has looked up.
pub(crate) struct Dns {
    source: Source,
    answers: RefCell<HashMap<Box<str>, Answer>>,
    questions: RefCell<HashMap<Box<str>, Question>>,
}

/// The last good answer for a name.
struct Answer {
    addresses: Rc<[IpAddr]>,
    good_until: Instant,
    /// When the name is asked for again.
    ask_at: Instant,
    /// The address that is tried first next.
    turn: Cell<usize>,
}

/// A question on its way, with all that wait for it.
type Question = Shared<LocalBoxFuture<'static, Result<Found, Arc<LookupError>>>>;

impl Dns {
    /// Returns an empty memory of what name servers say.
    pub(crate) fn new(servers: &NameServers) -> Self {
        Self {
            source: Source::new(servers),
            answers: RefCell::default(),
            questions: RefCell::default(),
        }
    }

    /// Returns the addresses of a target in the order in which they are to be tried, at least one.
    pub(crate) async fn resolve(
        &self,
        target: &HostPort,
    ) -> Result<Vec<SocketAddr>, Arc<LookupError>> {
        if let Some(address) = target.ip() {
            return Ok(vec![SocketAddr::new(address, target.port)]);
        }
        let host = target.host.as_str();
        self.make_fresh(host).await?;
        let answers = self.answers.borrow();
        let answer = answers.get(host).ok_or(LookupError::Full)?;
        Ok(answer.in_turn().map(|address| SocketAddr::new(address, target.port)).collect())
    }

    /// Looks a name up again if its time is over.
    pub(crate) async fn refresh(&self, name: &HostPort) {
        if let Err(error) = self.make_fresh(&name.host).await {
            let error = crate::body::chain(&*error);
            tracing::warn!(host = name.host, error, "a name has no address any more");
        }
    }

    /// Tells whether an address is one of a name's, as far as is known.
    pub(crate) fn is_current(&self, name: &HostPort, address: IpAddr) -> bool {
        let answers = self.answers.borrow();
        answers.get(name.host.as_str()).is_none_or(|answer| answer.addresses.contains(&address))
    }

    async fn make_fresh(&self, host: &str) -> Result<(), Arc<LookupError>> {
        if self.source.has_changed() {
            let now = Instant::now();
            self.answers.borrow_mut().values_mut().for_each(|answer| answer.ask_at = now);
        }
        if self.is_fresh(host) {
            return Ok(());
        }
        match self.renew(host).await {
            Ok(()) => Ok(()),
            Err(error) => self.use_on(host, error),
        }
    }

    fn is_fresh(&self, host: &str) -> bool {
        let now = Instant::now();
        self.answers.borrow().get(host).is_some_and(|answer| now < answer.ask_at)
    }

    /// Asks for a name, or waits for who asks already.
    async fn renew(&self, host: &str) -> Result<(), Arc<LookupError>> {
        let question = self.question(host);
        let asked = if self.answers.borrow().contains_key(host) {
            timeout(PATIENCE, question).await.unwrap_or_else(|_| Err(Arc::new(LookupError::Slow)))
        } else {
            question.await
        };
        self.keep(host, asked?);
        Ok(())
    }

    fn question(&self, host: &str) -> Question {
        let mut questions = self.questions.borrow_mut();
        questions.retain(|_, question| question.peek().is_none());
        if let Some(question) = questions.get(host) {
            return question.clone();
        }
        let question = self.source.look_up(host.to_owned()).boxed_local().shared();
        questions.insert(host.into(), question.clone());
        question
    }

    fn keep(&self, host: &str, found: Found) {
        let Found { addresses, good_until } = found;
        let mut answers = self.answers.borrow_mut();
        if let Some(answer) = answers.get_mut(host) {
            (answer.addresses, answer.good_until, answer.ask_at) =
                (addresses, good_until, good_until);
            return;
        }
        if answers.len() >= CAPACITY {
            let now = Instant::now();
            answers.retain(|_, answer| now < answer.good_until);
        }
        if answers.len() < CAPACITY {
            let turn = Cell::new(0);
            let answer = Answer { addresses, good_until, ask_at: good_until, turn };
            answers.insert(host.into(), answer);
        }
    }

    /// Uses the last good answer for a while longer, if there is one.
    fn use_on(&self, host: &str, error: Arc<LookupError>) -> Result<(), Arc<LookupError>> {
        let mut answers = self.answers.borrow_mut();
        let Some(answer) = answers.get_mut(host) else { return Err(error) };
        let now = Instant::now();
        if error.is_final() && now > answer.good_until + HOLD {
            answers.remove(host);
            return Err(error);
        }
        // Of the requests that waited for the same question, the first says so.
        if answer.ask_at <= now {
            answer.ask_at = now + RESPITE;
            let error = crate::body::chain(&*error);
            tracing::warn!(host, error, "cannot look up a name, its last addresses are used on");
        }
        Ok(())
    }
}

impl Answer {
    /// Returns the addresses, each time another one first, so that a name with several addresses
    /// spreads connections over all of them.
    fn in_turn(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let count = self.addresses.len();
        let first = self.turn.get() % count.max(1);
        self.turn.set(first + 1);
        self.addresses.iter().cycle().skip(first).take(count).copied()
    }
}
