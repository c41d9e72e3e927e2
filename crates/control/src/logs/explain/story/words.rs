//! What the names in records mean, in words.

use portway_telemetry::access::Stage;

/// Returns what a stage judges.
pub(super) fn at(stage: Stage) -> &'static str {
    match stage {
        Stage::Read => "reading",
        Stage::Method => "the method",
        Stage::Host => "the host",
        Stage::Head => "the size of the head",
        Stage::Path => "the path",
        Stage::Connection => "the connection",
        Stage::Blocked | Stage::Maintenance => "the site",
        Stage::Https => "the scheme",
        Stage::Route => "the route",
        Stage::Access => "access",
        Stage::Limit => "how many requests may come",
        Stage::Body => "the size of the body",
        Stage::Cache => "what is kept of earlier answers",
        Stage::Upstream | Stage::Files | Stage::Redirect | Stage::Respond => "the action",
    }
}

/// Returns who answered in the place of a target.
pub(super) fn by(stage: Stage) -> &'static str {
    match stage {
        Stage::Https => "plain HTTP is sent on to HTTPS",
        Stage::Cache => "answered from the cache",
        Stage::Files => "answered from files",
        Stage::Redirect => "sent on by the route's redirect",
        Stage::Respond => "answered with the route's fixed answer",
        Stage::Upstream => "no target answered",
        Stage::Read
        | Stage::Method
        | Stage::Host
        | Stage::Head
        | Stage::Path
        | Stage::Connection
        | Stage::Blocked
        | Stage::Maintenance
        | Stage::Route
        | Stage::Access
        | Stage::Limit
        | Stage::Body => "the request came no further",
    }
}

/// Says why an answer was not kept, by the word that the log has.
pub(super) fn not_kept(word: &str) -> String {
    let text = match word {
        "method" => "only GET and HEAD are answered from what is kept",
        "request-body" => "the request has a body",
        "upgrade" => "the request leaves HTTP",
        "bypass-cookie" => "the rules name one of its cookies",
        "bypass-header" => "the rules name one of its headers",
        "request-no-store" => "the request wants nothing kept",
        "precondition" => "the request is only for a certain state of the resource",
        "connection-header" => "the request has headers dropped on the way",
        "override-header" => "a header of the request says that it is for another URL or method",
        "status" => "answers with this status never are",
        "no-store" => "the answer says no-store",
        "private" => "the answer says private",
        "set-cookie" => "the answer sets a cookie",
        "personal" => {
            "the request says who asks, by a cookie or Authorization, and the answer does not say \
             that it is for others too (public or s-maxage)"
        }
        "vary" => "the answer depends on what each client has of its own",
        "origin" => "the answer names the site that asked, and has no `Vary: Origin`",
        "no-time" => "neither the answer nor the rules say how long it is fresh",
        "expired" => "the answer is over at once, and has no ETag or Last-Modified to ask by",
        "too-large" => "the body is larger than is kept",
        "no-end" => "nobody can tell whether the body is whole: it ends with its connection",
        "part" => "only a part was asked for, and nothing is kept that it could be a part of",
        "head" => "only the headers were asked for",
        "beside" => "another request was fetching the same answer",
        other => return other.to_owned(),
    };
    format!("{text} ({word})")
}

/// Returns the reason of what is too common for the error log.
pub(super) fn reason_of(code: &str) -> &'static str {
    match code {
        "no_file" => "there is no such file",
        "maintenance" => "the site is being worked on",
        "not_in_cache" => "the client wanted only what is kept already",
        _ => "nothing more is known",
    }
}
