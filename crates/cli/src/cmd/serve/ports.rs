//! The ports that an edge was given by the system, where it was told to take any that is free.

use std::{net::SocketAddr, time::Duration};

use portway_control::EdgeClient;
use portway_policy::bundle::ListenerStatus;
use tracing::warn;

use crate::config::{ListenerSettings, Settings};

/// An edge that is started listens at once; one that cannot is told of by its keeper.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked.
const EVERY: Duration = Duration::from_millis(50);

/// Replaces port 0 by the real ports, once the edge listens.
pub(super) async fn learn(settings: &mut Settings) {
    let listeners = &mut settings.listeners;
    if listeners.http.iter().chain(&listeners.https).all(|address| address.port() != 0) {
        return;
    }
    let client = EdgeClient::new(settings.edge_socket.clone());
    let bound = async {
        loop {
            match client.status().await {
                Ok(status) if !status.listeners.is_empty() => return status.listeners,
                Ok(_) | Err(_) => tokio::time::sleep(EVERY).await,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, bound).await {
        Ok(bound) => fill_in(listeners, &bound),
        Err(_) => warn!("the edge does not say on which ports it listens; they are not known"),
    }
}

fn fill_in(listeners: &mut ListenerSettings, bound: &[ListenerStatus]) {
    let fill = |wanted: &mut Vec<SocketAddr>, tls: bool| {
        for address in wanted.iter_mut().filter(|address| address.port() == 0) {
            let found = bound
                .iter()
                .find(|listener| listener.tls == tls && listener.address.ip() == address.ip());
            *address = found.map_or(*address, |listener| listener.address);
        }
    };
    fill(&mut listeners.http, false);
    fill(&mut listeners.https, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_open_is_filled_in() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut listeners = ListenerSettings {
            http: vec![at("127.0.0.1:0"), at("[::1]:0")],
            https: vec![at("127.0.0.1:8443"), at("[::1]:0")],
            public_https_port: None,
            workers: None,
            name_servers: vec![],
        };
        let listener = |address: &str, tls| ListenerStatus { address: at(address), tls };
        let bound = [
            listener("127.0.0.1:1000", false),
            listener("[::1]:1001", false),
            listener("127.0.0.1:1002", true),
            listener("[::1]:1003", true),
        ];
        fill_in(&mut listeners, &bound);
        assert_eq!(listeners.http, [at("127.0.0.1:1000"), at("[::1]:1001")]);
        assert_eq!(listeners.https, [at("127.0.0.1:8443"), at("[::1]:1003")]);
    }
}
