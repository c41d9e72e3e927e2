//! The codec's corpus of requests, sent to the real edge over a socket: what the codec refuses is
//! refused, and the rest is answered. Where nginx is installed it gets the same requests, and the table
//! in `docs/benchmarks.md` is written anew to the folder for temporary files of the build. The corpus
//! of answers is played by upstreams ([`answers`]).

mod answers;
mod nginx;

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, path::Path, time::Duration};

use portway_http1::Kind;
use portway_model::{ByteSize, site::Limits};
use portway_testkit::{
    corpus::{self, Case},
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use self::nginx::Nginx;
use crate::support::{TestEdge, route, site, to};

/// How long an answer may take; what is not complete gets none.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many requests are under way at once.
const AT_ONCE: usize = 16;

#[tokio::test]
async fn what_the_codec_refuses_never_passes_and_the_rest_is_answered() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut site = site("a", &["*"], vec![route("/", to(&origin))]);
    // The corpus was written for these.
    site.limits = Limits {
        header_bytes: ByteSize(32 * 1024),
        headers: 100,
        target_bytes: ByteSize(8 * 1024),
        ..Limits::default()
    };
    edge.put(vec![site]).await;
    let cases = corpus::requests().unwrap();
    assert!(cases.len() >= 300, "{} cases", cases.len());

    let ours = send_all(edge.http(), &cases).await;

    let wrong: Vec<_> =
        cases.iter().zip(&ours).filter(|(case, found)| !is_right(case, **found)).collect();
    let wrong: Vec<_> =
        wrong.iter().map(|(case, found)| (&case.name, &case.expect, found)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let passes_on = format!(
        "location / {{ proxy_pass http://{}; proxy_http_version 1.1; }}",
        origin.address().unwrap()
    );
    if let Some(nginx) = Nginx::start("", &passes_on).await {
        let theirs = send_all(nginx.address, &cases).await;
        let table = compare(&cases, &ours, &theirs);
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("strict.md"), table).unwrap();
    }
}

/// Tells whether the edge did what the codec said. A body that is malformed is noticed when the
/// application asks for it, and a head that is too large may be waited for to its end.
fn is_right(case: &Case, found: Option<u16>) -> bool {
    if case.message.starts_with(b"PRI * HTTP/2.0") {
        // Declined in its own language, which has no such status.
        return found.is_none();
    }
    let Some(kind) = fault(case) else {
        let waits = case.expect == "incomplete" || case.expect.contains(" unfinished");
        return found.is_some() || waits;
    };
    let too_much = matches!(kind, Kind::HeadTooLarge | Kind::TooManyFields | Kind::TargetTooLong);
    match found {
        Some(status) => status == kind.status().as_u16() || status == 400,
        None => too_much,
    }
}

fn fault(case: &Case) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind.name() == case.expect)
}

/// Returns the table of what nginx lets through that is refused here, by rule, and the other way
/// round.
fn compare(cases: &[Case], ours: &[Option<u16>], theirs: &[Option<u16>]) -> String {
    let passes = |status: Option<u16>| status.is_some_and(|status| (200..300).contains(&status));
    let (mut same, mut looser) = (0, BTreeMap::<&str, Vec<&str>>::new());
    let mut stricter = Vec::new();
    for ((case, ours), theirs) in cases.iter().zip(ours).zip(theirs) {
        match (passes(*ours), passes(*theirs)) {
            (false, true) => looser.entry(&case.expect).or_default().push(&case.name),
            (true, false) => stricter.push((&case.name, theirs)),
            (true, true) | (false, false) => same += 1,
        }
    }
    let mut table = format!("{} requests, {same} with the same outcome.\n\n", cases.len());
    table += "| refused here, passed on by nginx | cases |\n|---|---|\n";
    for (rule, names) in looser {
        writeln!(table, "| {rule} ({}) | {} |", names.len(), names.join("; ")).unwrap();
    }
    table += "\n| passed on here, not by nginx | its answer |\n|---|---|\n";
    for (name, status) in stricter {
        let status = status.map_or("none".to_owned(), |status| status.to_string());
        writeln!(table, "| {name} | {status} |").unwrap();
    }
    table
}

async fn send_all(address: SocketAddr, cases: &[Case]) -> Vec<Option<u16>> {
    let mut found = vec![None; cases.len()];
    let mut waiting = cases.iter().enumerate();
    let mut sending = JoinSet::new();
    loop {
        for (index, case) in waiting.by_ref().take(AT_ONCE - sending.len()) {
            let message = case.message.clone();
            sending.spawn(async move { (index, status(address, &message).await) });
        }
        let Some(sent) = sending.join_next().await else { return found };
        let (index, status) = sent.unwrap();
        found[index] = status;
    }
}

/// Sends a message and returns the status of the first answer that is final.
async fn status(address: SocketAddr, message: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // What is refused early may be closed before all of it was taken.
    drop(stream.write_all(message).await);
    let mut answer = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text);
            if let Some(status) = text.get(9..12).filter(|_| text.starts_with("HTTP/1.")) {
                return status.parse().ok();
            }
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    };
    timeout(PATIENCE, read).await.ok().flatten()
}
