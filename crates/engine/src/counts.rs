//! What an engine counts itself: its connections and requests, as it tells them on the probe's port.
//!
//! nginx does by `stub_status`, Caddy and Traefik in Prometheus' text format. What they are told to
//! count stands partly in their own configuration, which Portway never changes; where it lacks
//! something, the reason names the line.

use std::collections::BTreeMap;

use portway_model::EngineKind;

/// A number, or why there is none.
pub type Counted = Result<u64, String>;

/// The longest text that is read of an engine, in bytes.
pub const COUNTS_MOST: usize = 4 << 20;

/// What an engine counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The connections that are open.
    pub connections: Counted,
    /// The requests since it began to count.
    pub requests: Counted,
}

impl Counts {
    /// Returns that nothing is known, and why.
    pub fn unknown(why: impl Into<String>) -> Self {
        let why = why.into();
        Self { connections: Err(why.clone()), requests: Err(why) }
    }
}

/// Returns where an engine tells what it counts, on the port of the probe; nothing where it does not.
pub const fn counts_path(engine: EngineKind) -> Option<&'static str> {
    match engine {
        EngineKind::Nginx => Some("/portway/status"),
        EngineKind::Caddy => Some("/portway/metrics"),
        EngineKind::Traefik => Some("/metrics"),
        EngineKind::Edge => None,
    }
}

/// Reads what an engine answers there.
pub fn read_counts(engine: EngineKind, status: u16, body: &str) -> Counts {
    match (engine, status) {
        (EngineKind::Nginx, 200) => nginx(body),
        (EngineKind::Nginx, 404) => Counts::unknown(
            "nginx was built without `http_stub_status_module`, so it does not count",
        ),
        (EngineKind::Caddy, 200) => caddy(body),
        (EngineKind::Traefik, 200) => traefik(body),
        (EngineKind::Traefik, 403 | 404 | 418) => Counts::unknown(
            "Traefik's own configuration has it count nothing; add `metrics: {prometheus: {entryPoint: portway}}` there and start it again",
        ),
        (EngineKind::Edge, _) => Counts::unknown("the edge is asked in another way"),
        (EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik, other) => {
            Counts::unknown(format!("it answers with status {other} where it tells what it counts"))
        }
    }
}

/// Reads `stub_status`. The connection by which it is asked is no client's.
fn nginx(body: &str) -> Counts {
    let unreadable = || format!("nginx's status is not understood: `{}`", first_line(body));
    let connections = body
        .lines()
        .find_map(|line| {
            line.trim().strip_prefix("Active connections:")?.trim().parse::<u64>().ok()
        })
        .map(|active| active.saturating_sub(1));
    let mut lines = body.lines().skip_while(|line| !line.contains("requests"));
    let numbers = lines.nth(1).unwrap_or_default();
    let requests = numbers.split_whitespace().nth(2).and_then(|number| number.parse().ok());
    Counts {
        connections: connections.ok_or_else(unreadable),
        requests: requests.ok_or_else(unreadable),
    }
}

/// Reads Caddy's metrics. Requests to the server that is asked are ours; it is the one with a handler
/// for metrics. Every other server wraps its sites in one `subroute`, unless it has a single one for
/// every host.
fn caddy(body: &str) -> Counts {
    let samples: Vec<_> = samples(body, "caddy_http_requests_total").collect();
    let in_flight: Vec<_> = samples_of(body, "caddy_http_requests_in_flight");
    let connections = Err("Caddy does not count connections".to_owned());
    if samples.is_empty() && in_flight.is_empty() {
        let why = "Caddy's own configuration has it count no requests; add `metrics` to its global options (before Caddy 2.9: `servers { metrics }`) and reload it";
        return Counts { connections, requests: Err(why.to_owned()) };
    }
    let is_ours = |server: &str| {
        let all = samples.iter().chain(&in_flight);
        all.into_iter().any(|one| one.is("server", server) && one.is("handler", "metrics"))
    };
    let mut servers: BTreeMap<&str, Vec<&Sample<'_>>> = BTreeMap::new();
    for sample in &samples {
        servers.entry(sample.label("server").unwrap_or_default()).or_default().push(sample);
    }
    let of_server = |samples: &Vec<&Sample<'_>>| {
        let whole = samples.iter().find(|sample| sample.is("handler", "subroute"));
        let most = samples.iter().map(|sample| sample.value).fold(0.0, f64::max);
        whole.map_or(most, |sample| sample.value)
    };
    let servers = servers.iter().filter(|(server, _)| !is_ours(server));
    let requests = servers.map(|(_, samples)| of_server(samples)).sum();
    Counts { connections, requests: Ok(whole(requests)) }
}

/// Reads Traefik's metrics. Its own entry points are no client's.
fn traefik(body: &str) -> Counts {
    let is_client = |sample: &Sample<'_>| {
        !matches!(sample.label("entrypoint"), Some("portway" | "traefik") | None)
    };
    let sum = |name: &str| {
        let samples = samples_of(body, name);
        samples.iter().filter(|sample| is_client(sample)).map(|sample| sample.value).sum::<f64>()
    };
    let is_there = |name: &str| !samples_of(body, name).is_empty();
    let connections = if is_there("traefik_open_connections") {
        Ok(whole(sum("traefik_open_connections")))
    } else {
        Err("this Traefik does not count connections".to_owned())
    };
    // A counter is there once something was counted.
    let requests = if is_there("traefik_config_reloads_total") {
        Ok(whole(sum("traefik_entrypoint_requests_total")))
    } else {
        Err(format!("Traefik's metrics are not understood: `{}`", first_line(body)))
    };
    Counts { connections, requests }
}

/// A line of Prometheus' text format.
#[derive(Debug)]
struct Sample<'a> {
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

impl Sample<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.label(name) == Some(value)
    }
}

fn samples_of<'a>(body: &'a str, name: &'a str) -> Vec<Sample<'a>> {
    samples(body, name).collect()
}

/// Returns the samples of a metric. The labels that are looked at hold no quotes and no commas.
fn samples<'a>(body: &'a str, name: &'a str) -> impl Iterator<Item = Sample<'a>> {
    body.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value = value.strip_prefix(' ')?.split_whitespace().next()?.parse().ok()?;
        let pair = |pair: &'a str| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim(), value.trim().trim_matches('"')))
        };
        Some(Sample { labels: labels.split(',').filter_map(pair).collect(), value })
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole, and a cast keeps within bounds"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

fn first_line(body: &str) -> &str {
    body.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_tells_its_connections_but_for_ours_and_its_requests() {
        let body = "Active connections: 3 \nserver accepts handled requests\n 16 16 31 \nReading: 0 Writing: 1 Waiting: 2 \n";
        let counts = read_counts(EngineKind::Nginx, 200, body);
        assert_eq!(counts, Counts { connections: Ok(2), requests: Ok(31) });
        let without = read_counts(EngineKind::Nginx, 404, "").requests.unwrap_err();
        assert!(without.contains("http_stub_status_module"), "{without}");
        assert!(read_counts(EngineKind::Nginx, 200, "<html>").requests.is_err());
    }

    #[test]
    fn caddy_tells_the_requests_of_sites_and_not_those_of_probes() {
        let body = "# HELP caddy_http_requests_total Counter of HTTP(S) requests made.\n\
                    caddy_http_requests_in_flight{handler=\"metrics\",server=\"srv0\"} 1\n\
                    caddy_http_requests_in_flight{handler=\"subroute\",server=\"srv1\"} 0\n\
                    caddy_http_requests_total{handler=\"metrics\",server=\"srv0\"} 7\n\
                    caddy_http_requests_total{handler=\"static_response\",server=\"srv0\"} 7\n\
                    caddy_http_requests_total{handler=\"subroute\",server=\"srv1\"} 5\n\
                    caddy_http_requests_total{handler=\"reverse_proxy\",server=\"srv1\"} 9\n\
                    caddy_http_requests_total{handler=\"static_response\",server=\"srv2\"} 2\n";
        let counts = read_counts(EngineKind::Caddy, 200, body);
        assert_eq!(counts.requests, Ok(7));
        assert!(counts.connections.unwrap_err().contains("does not count connections"));
    }

    #[test]
    fn a_caddy_that_counts_nothing_says_which_line_it_lacks() {
        let body = "caddy_config_last_reload_successful 1\ngo_goroutines 12\n";
        let why = read_counts(EngineKind::Caddy, 200, body).requests.unwrap_err();
        assert!(why.contains("`metrics`"), "{why}");
    }

    #[test]
    fn traefik_tells_what_clients_do_at_its_entry_points() {
        let body = "traefik_config_reloads_total 1\n\
                    traefik_entrypoint_requests_total{code=\"200\",entrypoint=\"web\",method=\"GET\",protocol=\"http\"} 3\n\
                    traefik_entrypoint_requests_total{code=\"404\",entrypoint=\"websecure\",method=\"GET\",protocol=\"http\"} 4\n\
                    traefik_entrypoint_requests_total{code=\"418\",entrypoint=\"portway\",method=\"GET\",protocol=\"http\"} 90\n\
                    traefik_open_connections{entrypoint=\"portway\",protocol=\"TCP\"} 1\n\
                    traefik_open_connections{entrypoint=\"web\",protocol=\"TCP\"} 2\n";
        let counts = read_counts(EngineKind::Traefik, 200, body);
        assert_eq!(counts, Counts { connections: Ok(2), requests: Ok(7) });
        let why = read_counts(EngineKind::Traefik, 403, "").requests.unwrap_err();
        assert!(why.contains("entryPoint: portway"), "{why}");
    }
}
