//! What Caddy and Traefik count, as they tell it on the port of the probe.

use std::time::{Duration, Instant};

use portway_engine::{Counts, caddy::Caddy, counts_path, read_counts, traefik::Traefik};
use portway_model::EngineKind;
use portway_policy::{CompileInput, SitePolicy};

use crate::{
    bed::{Bed, Certificates, site},
    caddy,
    client::{get, send},
    origin, traefik,
};

const ASKED: u64 = 7;

fn shop() -> SitePolicy {
    let spec = format!(
        r#"{{"hosts": ["a.example"], "https": false, "to": "{}", "compress": true}}"#,
        origin::start()
    );
    site("shop", &spec, &CompileInput::default())
}

/// Asks sites, and then for what was counted until it is all there.
fn counted(bed: &Bed, engine: EngineKind) -> Counts {
    for _ in 0..ASKED {
        assert_eq!(get(bed.facts.ports.http, "a.example", "/").status, 200);
    }
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let counts = ask(bed, engine);
        if counts.requests.as_ref().map_or(true, |count| *count >= ASKED) || Instant::now() > end {
            return counts;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn ask(bed: &Bed, engine: EngineKind) -> Counts {
    let path = counts_path(engine).unwrap();
    let port = bed.facts.ports.probe;
    let head = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}");
    let answer = send(port, &head, "").unwrap();
    read_counts(engine, answer.status, &answer.body)
}

#[test]
fn caddy_counts_requests_where_it_is_told_to() {
    let Some(bed) = caddy::serve(&[shop()], &Certificates::new()) else { return };
    let why = counted(&bed, EngineKind::Caddy).requests.unwrap_err();
    assert!(why.contains("`metrics`"), "{why}");
    drop(bed);

    let Some(mut bed) = Bed::new("caddy", "Caddyfile", "home/current.caddy") else { return };
    let release = bed.release(&Caddy, &[shop()], &Certificates::new());
    bed.put(&release);
    let text = caddy::top_level(&bed).replacen("{\n", "{\n\tmetrics\n", 1);
    caddy::start_by(&mut bed, &release, &text);
    assert_eq!(counted(&bed, EngineKind::Caddy).requests, Ok(ASKED), "probes are not counted");
}

#[test]
fn traefik_counts_requests_where_it_is_told_to() {
    let Some(mut bed) = traefik::bed() else { return };
    let release = bed.release(&Traefik, &[shop()], &Certificates::new());
    let text = traefik::top_level(&bed);
    traefik::start_by(&mut bed, &release, &text);
    let why = counted(&bed, EngineKind::Traefik).requests.unwrap_err();
    assert!(why.contains("entryPoint: portway"), "{why}");
    drop(bed);

    let Some(mut bed) = traefik::bed() else { return };
    let release = bed.release(&Traefik, &[shop()], &Certificates::new());
    let text = traefik::top_level(&bed) + "metrics: {prometheus: {entryPoint: portway}}\n";
    traefik::start_by(&mut bed, &release, &text);
    let counts = counted(&bed, EngineKind::Traefik);
    assert_eq!(counts.requests, Ok(ASKED), "probes are not counted");
    assert!(counts.connections.is_ok(), "{counts:?}");
}
