//! What hyper makes of the same bytes. Whatever is accepted here, hyper accepts with the same
//! meaning; whatever it accepts beyond that is refused here for a reason that is listed.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use portway_http1::{
    Kind, Limits,
    request::RequestHead,
    response::{Answer, Asked},
};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    corpus, generate,
    outcome::{Outcome, read_request, read_response},
};

/// What hyper read: the head, and the body with its trailers if it came to its end.
struct Theirs<H> {
    head: H,
    body: Option<(Bytes, usize)>,
}

#[test]
fn hyper_agrees_on_the_requests_of_the_corpus() {
    for case in corpus::read("requests") {
        compare_request(&case.message);
    }
}

#[test]
fn hyper_agrees_on_the_responses_of_the_corpus() {
    for case in corpus::read("responses") {
        compare_response(&case.message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn hyper_agrees_on_generated_requests(bytes in generate::requests()) {
        compare_request(&bytes);
    }

    #[test]
    fn hyper_agrees_on_generated_responses(bytes in generate::responses()) {
        compare_response(&bytes);
    }
}

fn compare_request(bytes: &[u8]) {
    let ours = read_request([bytes], &Limits::default());
    let theirs = block_on(serve(bytes));
    match (&ours.head, theirs) {
        (Some(head), Some(theirs)) if ours.refused.is_none() => {
            same_request(head, &theirs.head, bytes);
            same_body(&ours, theirs.body, bytes);
        }
        (Some(_), Some(theirs)) => refused_for_a_reason(&ours, theirs.body.is_some(), bytes),
        (None, Some(_)) => refused_for_a_reason(&ours, true, bytes),
        (Some(_), None) => panic!("only hyper refuses {}", bytes.escape_ascii()),
        (None, None) => {}
    }
}

fn compare_response(bytes: &[u8]) {
    let ours = read_response([bytes], &Asked::plain(http::Method::GET), &Limits::default());
    let theirs = block_on(ask(bytes));
    match (&ours.head, theirs) {
        (Some(Answer::Final(head)), Some(theirs)) if ours.refused.is_none() => {
            assert_eq!(head.status, theirs.head.status(), "{}", bytes.escape_ascii());
            assert_eq!(&head.headers, theirs.head.headers(), "{}", bytes.escape_ascii());
            same_body(&ours, theirs.body, bytes);
        }
        (Some(_), Some(theirs)) => refused_for_a_reason(&ours, theirs.body.is_some(), bytes),
        (None, Some(_)) => refused_for_a_reason(&ours, true, bytes),
        (Some(Answer::Final(_)), None) if ours.refused.is_none() => {
            panic!("only hyper refuses {}", bytes.escape_ascii());
        }
        (Some(_) | None, None) => {}
    }
}

fn same_request(ours: &RequestHead, theirs: &Request<()>, bytes: &[u8]) {
    let bytes = bytes.escape_ascii();
    assert_eq!(ours.method, theirs.method(), "{bytes}");
    assert_eq!(ours.target.clone().into_uri(), *theirs.uri(), "{bytes}");
    assert_eq!(http::Version::from(ours.version), theirs.version(), "{bytes}");
    assert_eq!(ours.headers, *theirs.headers(), "{bytes}");
}

fn same_body<H>(ours: &Outcome<H>, theirs: Option<(Bytes, usize)>, bytes: &[u8]) {
    let Some((data, trailers)) = theirs else {
        assert!(!ours.ended, "hyper fails in the body of {}", bytes.escape_ascii());
        return;
    };
    assert_eq!(ours.data, data, "{}", bytes.escape_ascii());
    let count = ours.trailers.as_ref().map_or(0, http::HeaderMap::len);
    assert_eq!(count, trailers, "{}", bytes.escape_ascii());
}

/// Where hyper takes a whole message and we do not, the rule that refuses it is one of those in
/// which hyper is lenient, repairs, or leaves it to its user.
fn refused_for_a_reason<H>(ours: &Outcome<H>, whole: bool, bytes: &[u8]) {
    let Some(reject) = ours.refused else {
        // A body until the end of the connection, or what follows an interim answer, has no end here.
        return;
    };
    assert!(!whole || is_listed(reject.kind), "{}: {}", reject, bytes.escape_ascii());
}

fn is_listed(kind: Kind) -> bool {
    match kind {
        // Line ends and control characters that httparse passes over or takes for others.
        Kind::BareLf
        | Kind::BareCr
        | Kind::Control
        | Kind::LeadingEmptyLine
        | Kind::BadStatusLine
        // The target and the host are not looked at.
        | Kind::BadTargetForm | Kind::NonAsciiTarget | Kind::Fragment | Kind::BadTargetByte
        | Kind::UnexpectedAsterisk | Kind::BadConnectTarget
        | Kind::MissingHost | Kind::SeveralHosts | Kind::BadHost | Kind::HostMismatch
        // Bounds that hyper sets elsewhere or not at all.
        | Kind::HeadTooLarge | Kind::TooManyFields | Kind::MethodTooLong | Kind::TargetTooLong
        | Kind::ChunkExtensionTooLong | Kind::ChunkOverhead
        | Kind::TrailerTooLarge | Kind::TooManyTrailers | Kind::TooManyInterim
        // Framing that is repaired: equal lengths joined, a length beside an encoding removed.
        | Kind::SeveralLengths | Kind::BadLength | Kind::LengthOverflow | Kind::LengthAndEncoding
        | Kind::BadEncoding | Kind::UnknownEncoding | Kind::SeveralEncodings
        | Kind::EncodingInHttp10 | Kind::BodyForbidden | Kind::BodyOfConnect
        // Lists that are searched for the words that matter.
        | Kind::BadConnection | Kind::BadUpgrade | Kind::BadExpectation | Kind::UnexpectedUpgrade
        // Chunk lines and trailers that are passed over.
        | Kind::BadChunkSize | Kind::ChunkSizeOverflow | Kind::BadChunkExtension
        | Kind::ForbiddenTrailer
        // httparse takes spaces behind a version, a status of any three digits, a name with a space
        // behind it in an answer, and folded lines there.
        | Kind::BadVersion | Kind::BadStatus | Kind::BadReason => true,
        Kind::Nul
        | Kind::BadMethod
        | Kind::MissingTarget
        | Kind::MissingVersion
        | Kind::UnsupportedVersion
        | Kind::ObsFold
        | Kind::EmptyName
        | Kind::SpaceInName
        | Kind::BadName
        | Kind::MissingColon
        | Kind::MissingChunkEnd
        | Kind::BodyTooLarge
        | Kind::Truncated => false,
    }
}

/// Has hyper read a request from a connection that ends after it.
async fn serve(bytes: &[u8]) -> Option<Theirs<Request<()>>> {
    let seen = Rc::new(RefCell::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let body = collect(body).await;
            let head = Request::from_parts(parts, ());
            seen.borrow_mut().get_or_insert(Theirs { head, body });
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(peer(bytes).await), service);
    // That the connection fails is expected of malformed messages; what was seen before counts.
    drop(connection.await);
    seen.take()
}

/// Has hyper read the answer to a GET from a connection that ends after it.
async fn ask(bytes: &[u8]) -> Option<Theirs<Response<()>>> {
    let (near, mut far) = tokio::io::duplex(bytes.len() + 1024);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    let request = Request::builder().uri("/").header("host", "a.org").body(Empty::<Bytes>::new());
    let ask = async {
        let (parts, body) = sender.send_request(request.unwrap()).await.ok()?.into_parts();
        let body = collect(body).await;
        Some(Theirs { head: Response::from_parts(parts, ()), body })
    };
    let answer = async {
        // The request is read first, as hyper takes bytes that come before it for a fault.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut request).await.unwrap();
        }
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let (theirs, _, ()) = tokio::join!(ask, connection, answer);
    theirs
}

async fn collect(body: Incoming) -> Option<(Bytes, usize)> {
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().map_or(0, http::HeaderMap::len);
    Some((body.to_bytes(), trailers))
}

/// Returns our end of a connection whose other end has sent these bytes and nothing more.
async fn peer(bytes: &[u8]) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {
    let (near, mut far) = tokio::io::duplex(bytes.len() + 1);
    far.write_all(bytes).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(far);
    writer.shutdown().await.unwrap();
    tokio::task::spawn_local(async move {
        // Takes what is written until the near end is gone.
        drop(tokio::io::copy(&mut reader, &mut tokio::io::sink()).await);
    });
    near
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
