//! What listens on the ports that a node is to have.

use std::collections::BTreeSet;

use portway_engine::Rights;
use portway_model::node::Ports;
use portway_transport::Transport;

use super::{Eye, Seen, words};

/// Something that listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The program, where whoever logs in may know it.
    pub program: Option<String>,
}

pub(super) async fn see<T: Transport>(eye: &Eye<'_, T>, ports: &Ports) -> Seen<Vec<Listener>> {
    let said =
        eye.said(&["ss", "-H", "-l", "-t", "-n", "-p"], Rights::Login).await.map_err(words)?;
    let wanted = [ports.http, ports.https, ports.probe];
    Ok(listeners(&said).into_iter().filter(|listener| wanted.contains(&listener.port)).collect())
}

/// Reads lines of `ss -Hltnp`:
/// `LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=7,fd=6),("nginx",pid=1,fd=6))`.
fn listeners(said: &str) -> BTreeSet<Listener> {
    let line = |line: &str| {
        let local = line.split_whitespace().nth(3)?;
        let port = local.rsplit(':').next()?.parse().ok()?;
        let program = line.split("users:((\"").nth(1).and_then(|rest| rest.split('"').next());
        Some(Listener { port, program: program.map(str::to_owned) })
    };
    said.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_with_their_programs_where_those_are_told() {
        let said = "LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:((\"nginx\",pid=7,fd=6),(\"nginx\",pid=1,fd=6))\n\
                    LISTEN 0 4096 [::1]:8911 [::]:*\n\
                    LISTEN 0 128 127.0.0.1%lo:53 0.0.0.0:*\n";
        let found: Vec<_> = listeners(said).into_iter().collect();
        assert_eq!(found.len(), 3);
        assert!(found.contains(&Listener { port: 80, program: Some("nginx".to_owned()) }));
        assert!(found.contains(&Listener { port: 8911, program: None }));
    }
}
