//! Names of upstreams, looked up by the machine's resolver and kept for a short while. When the
//! resolver fails, the last good answer is used on, so that its outage is not ours.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use portway_model::HostPort;
use tokio::time::Instant;

/// How long an answer is good.
const TTL: Duration = Duration::from_secs(10);

/// The number of names that are kept.
const CAPACITY: usize = 1024;

/// The names that one worker has looked up.
#[derive(Default)]
pub(crate) struct Dns {
    answers: RefCell<HashMap<String, Answer>>,
}

struct Answer {
    addresses: Rc<[IpAddr]>,
    good_until: Instant,
}

impl Dns {
    /// Returns the addresses of a target, at least one.
    pub(crate) async fn resolve(&self, target: &HostPort) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = target.ip() {
            return Ok(vec![SocketAddr::new(address, target.port)]);
        }
        let with_port =
            |addresses: &[IpAddr]| addresses.iter().map(|ip| (*ip, target.port).into()).collect();
        if let Some(fresh) = self.kept(&target.host, Some(Instant::now())) {
            return Ok(with_port(&fresh));
        }
        match look_up(target).await {
            Ok(addresses) => {
                let found = with_port(&addresses);
                self.keep(&target.host, addresses.into());
                Ok(found)
            }
            Err(error) => match self.kept(&target.host, None) {
                Some(stale) => {
                    tracing::warn!(host = %target.host, %error, "cannot look up a name, its last addresses are used on");
                    Ok(with_port(&stale))
                }
                None => Err(error),
            },
        }
    }

    fn kept(&self, host: &str, now: Option<Instant>) -> Option<Rc<[IpAddr]>> {
        let answers = self.answers.borrow();
        let answer = answers.get(host)?;
        let good = now.is_none_or(|now| now < answer.good_until);
        good.then(|| Rc::clone(&answer.addresses))
    }

    fn keep(&self, host: &str, addresses: Rc<[IpAddr]>) {
        let mut answers = self.answers.borrow_mut();
        let now = Instant::now();
        if answers.len() >= CAPACITY {
            answers.retain(|_, answer| now < answer.good_until);
        }
        if answers.len() < CAPACITY {
            answers.insert(host.to_owned(), Answer { addresses, good_until: now + TTL });
        }
    }
}

async fn look_up(target: &HostPort) -> io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await?;
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
