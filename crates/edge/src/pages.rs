//! What visitors read when a request cannot be answered: which side it is on, in one plain
//! sentence, and the id under which the operator finds the rest. Never names internals: no address,
//! no socket path, no version.

pub(crate) mod accept;
mod html;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER,
        VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};
use portway_http1::Kind;
use portway_model::site::Maintenance;
use serde::Serialize;

use self::accept::Media;
pub(crate) use self::html::escape;
use crate::{
    admission::{Kind as LimitKind, Told},
    body::{self, Body},
    canonical::RequestFault,
};

/// How long clients are asked to stay away from a site that is full.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Why a request gets no answer of its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request has no safe meaning.
    BadRequest(RequestFault),
    /// What arrived is no request, or could be read in more than one way.
    Malformed(Kind),
    /// The body of the request is broken.
    BadBody,
    /// Name and password are missing or wrong.
    Unauthorized {
        /// What the browser shows.
        realm: String,
    },
    /// The client's address may not.
    AddressDenied,
    /// An administrator blocked the site, for a reason that visitors read.
    Blocked {
        /// The reason.
        reason: String,
    },
    /// The site is being worked on.
    Maintenance(Box<Maintenance>),
    /// No site has this host.
    NoSite,
    /// The site has no route for this request.
    NoRoute,
    /// There is no such file.
    NoFile,
    /// The method is not allowed here.
    MethodNotAllowed {
        /// The methods that are, as the `Allow` header lists them.
        allow: &'static str,
    },
    /// The request took too long to arrive.
    RequestTimeout,
    /// The body is larger than the route takes.
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The client sends more requests in a time, or at the same time, than it may.
    TooMany(Box<TooMany>),
    /// The connection was made for another site.
    Misdirected,
    /// Something is wrong with the edge or its machine.
    Internal,
    /// The client wanted only what is kept, and nothing is.
    NotCached,
    /// No target accepts connections.
    UpstreamRefused,
    /// No target can be reached, or none may be.
    UpstreamUnreachable,
    /// A target answered with nonsense or broke off.
    UpstreamInvalid,
    /// As many requests are in flight as the upstream takes.
    UpstreamFull,
    /// A target did not answer in time.
    UpstreamTimeout,
}

/// What a client is told that sends too many requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Whether they come in a time or at the same time.
    pub(crate) kind: LimitKind,
    /// After how many seconds it may come again.
    pub(crate) retry_after: u64,
    /// What is left of its limits.
    pub(crate) told: Option<Told>,
}

/// Returns the answer to a request that failed, in the form that its `Accept` header prefers.
pub(crate) fn error(
    fault: &Fault,
    request_id: &str,
    accept: Option<&HeaderValue>,
) -> Response<Body> {
    let media = accept::choose(accept);
    let text = match media {
        Media::Html => html::page(fault, request_id),
        Media::Problem => problem(fault, request_id),
        Media::Plain => plain(fault, request_id),
    };
    let length = text.len();
    let mut response = Response::new(body::full(text));
    *response.status_mut() = fault.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if media == Media::Html {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(html::POLICY));
    }
    add_fault_headers(fault, headers);
    response
}

/// The members of a problem (RFC 9457); `code` and `request_id` are ours.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    request_id: &'a str,
}

fn problem(fault: &Fault, request_id: &str) -> String {
    let problem = Problem {
        r#type: "about:blank",
        title: fault.title(),
        status: fault.status().as_u16(),
        detail: &fault.sentence(),
        code: fault.code(),
        request_id,
    };
    serde_json::to_string(&problem).unwrap_or_else(|_| "{}".to_owned())
}

fn plain(fault: &Fault, request_id: &str) -> String {
    let (status, title) = (fault.status().as_u16(), fault.title());
    format!("{status} {title}\n{}\nrequest id: {request_id}\n", fault.sentence())
}

fn add_fault_headers(fault: &Fault, headers: &mut HeaderMap) {
    match fault {
        Fault::Unauthorized { realm } => {
            headers.insert(WWW_AUTHENTICATE, challenge(realm));
        }
        Fault::MethodNotAllowed { allow } => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        Fault::UpstreamFull => {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        Fault::Maintenance(maintenance) => {
            if let Some(time) = maintenance.retry_after {
                headers.insert(RETRY_AFTER, HeaderValue::from(time.0));
            }
        }
        Fault::TooMany(too_many) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(too_many.retry_after));
            if let Some(told) = &too_many.told {
                told.clone().add(headers);
            }
        }
        Fault::BadRequest(_)
        | Fault::Malformed(_)
        | Fault::BadBody
        | Fault::AddressDenied
        | Fault::Blocked { .. }
        | Fault::NoSite
        | Fault::NoRoute
        | Fault::NoFile
        | Fault::RequestTimeout
        | Fault::BodyTooLarge { .. }
        | Fault::Misdirected
        | Fault::Internal
        | Fault::NotCached
        | Fault::UpstreamRefused
        | Fault::UpstreamUnreachable
        | Fault::UpstreamInvalid
        | Fault::UpstreamTimeout => {}
    }
}

/// Returns the challenge of RFC 7617 with the realm as a quoted string; what a header cannot carry
/// becomes a question mark.
fn challenge(realm: &str) -> HeaderValue {
    let mut text = String::from("Basic realm=\"");
    for c in realm.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
    text.push_str("\", charset=\"UTF-8\"");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Basic"))
}

impl Fault {
    /// Returns the status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::BadBody => StatusCode::BAD_REQUEST,
            Self::Malformed(kind) => kind.status(),
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::AddressDenied | Self::Blocked { .. } => StatusCode::FORBIDDEN,
            Self::NoSite | Self::NoRoute | Self::NoFile => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UpstreamRefused | Self::UpstreamUnreachable | Self::UpstreamInvalid => {
                StatusCode::BAD_GATEWAY
            }
            Self::UpstreamFull | Self::Maintenance(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotCached | Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Returns the stable name for programs and logs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Malformed(_) => "malformed_request",
            Self::BadBody => "bad_body",
            Self::Unauthorized { .. } => "unauthorized",
            Self::AddressDenied => "address_denied",
            Self::Blocked { .. } => "blocked",
            Self::Maintenance(_) => "maintenance",
            Self::NoSite => "no_site",
            Self::NoRoute => "no_route",
            Self::NoFile => "no_file",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::TooMany(too_many) => match too_many.kind {
                LimitKind::Rate => "rate_limited",
                LimitKind::Connections => "connection_limited",
            },
            Self::Misdirected => "misdirected",
            Self::Internal => "internal",
            Self::NotCached => "not_in_cache",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::UpstreamFull => "upstream_full",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// Returns the heading that visitors read.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::Malformed(_) | Self::BadBody => "Bad request",
            Self::Unauthorized { .. } => "Login required",
            Self::AddressDenied => "Access denied",
            Self::Blocked { .. } => "Site blocked",
            Self::Maintenance(_) => "Back soon",
            Self::NoSite => "No such site",
            Self::NoRoute | Self::NoFile => "Page not found",
            Self::MethodNotAllowed { .. } => "Method not allowed",
            Self::RequestTimeout => "Request timed out",
            Self::BodyTooLarge { .. } => "Upload too large",
            Self::TooMany(_) => "Too many requests",
            Self::Misdirected => "Wrong connection",
            Self::Internal => "Server error",
            Self::NotCached => "Not in the cache",
            Self::UpstreamRefused | Self::UpstreamUnreachable => "Application not reachable",
            Self::UpstreamInvalid => "Invalid answer",
            Self::UpstreamFull => "Too busy",
            Self::UpstreamTimeout => "No answer in time",
        }
    }

    /// Returns the one sentence that visitors read: what happened, and on whose side.
    pub(crate) fn sentence(&self) -> String {
        let fixed = match self {
            Self::BadRequest(fault) => {
                return format!("Your client sent a request that cannot be served: {fault}.");
            }
            Self::Malformed(kind) => {
                return format!("Your client sent a request that cannot be served: {kind}.");
            }
            Self::Blocked { reason } => {
                return format!("This site was blocked by its administrator: {reason}");
            }
            Self::Maintenance(maintenance) => return maintenance.message.clone(),
            Self::BodyTooLarge { limit } => {
                return format!(
                    "What your client sent is larger than the {limit} bytes accepted here."
                );
            }
            Self::BadBody => "Your client sent a body that is broken or incomplete.",
            Self::Unauthorized { .. } => {
                "This page is protected; log in with a valid name and password."
            }
            Self::AddressDenied => "This page may not be used from your network address.",
            Self::NoSite => "No site answers to this name here; check the address you entered.",
            Self::NoRoute | Self::NoFile => {
                "There is nothing at this address; check the address you entered."
            }
            Self::MethodNotAllowed { .. } => {
                "Your client used a method that this address does not support."
            }
            Self::RequestTimeout => "Your client took too long to send its request.",
            Self::TooMany(too_many) => match too_many.kind {
                LimitKind::Rate => {
                    let seconds = too_many.retry_after;
                    return format!(
                        "Your client sends more requests than it may; try again in {seconds} s."
                    );
                }
                LimitKind::Connections => {
                    "Your client sends more requests at the same time than it may; \
                     try again when the others are answered."
                }
            },
            Self::Misdirected => {
                "Your client reused a connection that belongs to another site; try again."
            }
            Self::Internal => "Something went wrong on our side; it is not your fault.",
            Self::NotCached => "Your client asked only for what is stored here, and nothing is.",
            Self::UpstreamRefused => {
                "The application behind this site is not running or refuses connections; \
                 it is not your fault. Try again in a moment."
            }
            Self::UpstreamUnreachable => {
                "The application behind this site cannot be reached; \
                 it is not your fault. Try again in a moment."
            }
            Self::UpstreamInvalid => {
                "The application behind this site sent an answer that cannot be understood; \
                 it is not your fault."
            }
            Self::UpstreamFull => {
                "The application behind this site is busy with other requests; \
                 it is not your fault. Try again in a moment."
            }
            Self::UpstreamTimeout => {
                "The application behind this site did not answer in time; \
                 it is not your fault. Try again in a moment."
            }
        };
        fixed.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::tests::read;

    const ID: &str = "0193a7";

    #[tokio::test]
    async fn a_browser_reads_html_without_any_outside_resource() {
        let accept = HeaderValue::from_static("text/html,application/xml;q=0.9,*/*;q=0.8");
        let response = error(&Fault::UpstreamRefused, ID, Some(&accept));
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(
            header(&response, CONTENT_SECURITY_POLICY.as_str()),
            "default-src 'none'; style-src 'unsafe-inline'"
        );
        assert_eq!(header(&response, "cache-control"), "no-store");
        let html = read(response.into_body()).await.unwrap();
        assert!(html.contains("Application not reachable") && html.contains(ID));
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("src="));
    }

    #[tokio::test]
    async fn a_program_reads_a_problem() {
        let accept = HeaderValue::from_static("application/json");
        let response = error(&Fault::UpstreamTimeout, ID, Some(&accept));
        assert_eq!(header(&response, "content-type"), "application/problem+json");
        let length: usize = header(&response, "content-length").parse().unwrap();
        let text = read(response.into_body()).await.unwrap();
        assert_eq!(text.len(), length);
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["status"], 504);
        assert_eq!(problem["code"], "upstream_timeout");
        assert_eq!(problem["request_id"], ID);
    }

    #[tokio::test]
    async fn a_terminal_reads_plain_text() {
        let accept = HeaderValue::from_static("*/*");
        let response = error(&Fault::NoSite, ID, Some(&accept));
        assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
        let text = read(response.into_body()).await.unwrap();
        assert!(text.starts_with("404 No such site\n"), "{text}");
    }

    #[tokio::test]
    async fn a_reason_cannot_smuggle_markup_into_the_page() {
        let fault = Fault::Blocked { reason: "<script>alert('1')</script> & \"more\"".to_owned() };
        let accept = HeaderValue::from_static("text/html");
        let html = read(error(&fault, "<b>", Some(&accept)).into_body()).await.unwrap();
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;more"));
    }

    #[test]
    fn headers_that_a_status_demands_are_there() {
        let fault = Fault::Unauthorized { realm: "Say \"hi\"\r\nä".to_owned() };
        let response = error(&fault, ID, None);
        assert_eq!(
            header(&response, "www-authenticate"),
            "Basic realm=\"Say \\\"hi\\\"???\", charset=\"UTF-8\""
        );
        let response = error(&Fault::MethodNotAllowed { allow: "GET, HEAD" }, ID, None);
        assert_eq!(header(&response, "allow"), "GET, HEAD");
        assert_eq!(header(&error(&Fault::UpstreamFull, ID, None), "retry-after"), "5");
    }

    #[tokio::test]
    async fn the_reason_of_a_refusal_is_said() {
        let response = error(&Fault::BadRequest(RequestFault::EncodedSlash), ID, None);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let text = read(response.into_body()).await.unwrap();
        assert!(text.contains("the path has an encoded slash"), "{text}");
    }

    fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
        response.headers().get(name).unwrap().to_str().unwrap()
    }
}
