//! A name server that changes its mind.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// As much of a query is read.
const QUERY: usize = 1_500;
/// The header of a message (RFC 1035 §4.1.1), and what follows the name of a question.
const HEADER: usize = 12;
const TYPE_AND_CLASS: usize = 4;

/// A name server on a free port of 127.0.0.1 that says the same of all names, for a second.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// What a name server says.
#[derive(Clone, Debug)]
pub enum Says {
    /// The name has these addresses; with none, there is no such name.
    Addresses(Vec<Ipv4Addr>),
    /// It cannot say.
    Failure,
}

struct State {
    says: Says,
    asked: usize,
}

impl NameServer {
    /// Starts a name server.
    pub async fn start(says: Says) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let state = Arc::new(Mutex::new(State { says, asked: 0 }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut query = [0; QUERY];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                let says = {
                    let mut state = locked(&shared);
                    state.asked += 1;
                    state.says.clone()
                };
                let answer = query.get(..length).and_then(|query| says.answer(query));
                // Who asked may be gone; what is no query gets no answer.
                if let Some(answer) = answer {
                    drop(socket.send_to(&answer, from).await);
                }
            }
        });
        Ok(Self { address, state, task })
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it say something else from now on.
    pub fn say(&self, says: Says) {
        locked(&self.state).says = says;
    }

    /// Returns how often it was asked.
    pub fn asked(&self) -> usize {
        locked(&self.state).asked
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Says {
    /// Answers a query with one question (RFC 1035 §4).
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let id = query.get(..2)?;
        let name = query.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
        let question = query.get(HEADER..HEADER + name + TYPE_AND_CLASS)?;
        let is_for_v4 = question.get(name..name + 2)? == [0, 1];
        let (code, addresses) = match self {
            Self::Failure => (2, &[][..]),
            Self::Addresses(addresses) if addresses.is_empty() => (3, &[][..]),
            Self::Addresses(addresses) => (0, addresses.as_slice()),
        };
        let addresses = if is_for_v4 { addresses } else { &[] };
        let [high, low] = u16::try_from(addresses.len()).ok()?.to_be_bytes();
        let mut answer = id.to_vec();
        answer.extend([0x81, 0x80 | code, 0, 1, high, low, 0, 0, 0, 0]);
        answer.extend(question);
        for address in addresses {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x01a\0\0\x01\0\x01";

    #[test]
    fn an_answer_repeats_id_and_question() {
        let query = [&b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0"[..], QUESTION].concat();
        let answer = Says::Addresses(vec![Ipv4Addr::LOCALHOST]).answer(&query).unwrap();
        let begins = [&b"\xab\xcd\x81\x80\0\x01\0\x01\0\0\0\0"[..], QUESTION].concat();
        assert_eq!(answer[..begins.len()], begins);
        assert_eq!(answer[begins.len() + 6..], [0, 0, 0, 1, 0, 4, 127, 0, 0, 1], "for a second");
        assert_eq!(Says::Failure.answer(&query).unwrap()[3] & 15, 2);
        assert_eq!(Says::Failure.answer(b"nonsense"), None);
    }
}
