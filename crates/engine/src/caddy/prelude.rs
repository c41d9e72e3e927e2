//! What happens to every request of a site before its route is looked for: one form for its path, or
//! 400 where there is none, and methods that are never forwarded.

use super::syntax::Directive;

/// Takes every escape apart that may stand in a path: ASCII but for control characters, the percent
/// sign, the slash and the backslash; and what is UTF-8 (RFC 3629 §4).
const SANE: &str = concat!(
    r"^/(?:[^%?]|%25",
    r"|%(?:2[0-46-9A-Ea-e]|[346][0-9A-Fa-f]|5[0-9ABDEFabdef]|7[0-9A-Ea-e])",
    r"|%[Cc][2-9A-Fa-f]%[89ABab][0-9A-Fa-f]",
    r"|%[Dd][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]",
    r"|%[Ee]0%[ABab][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]",
    r"|%[Ee][1-9A-CEFa-cef](?:%[89ABab][0-9A-Fa-f])(?:%[89ABab][0-9A-Fa-f])",
    r"|%[Ee][Dd]%[89][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]",
    r"|%[Ff]0%[9ABab][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f])(?:%[89ABab][0-9A-Fa-f])",
    r"|%[Ff][1-3](?:%[89ABab][0-9A-Fa-f])(?:%[89ABab][0-9A-Fa-f])(?:%[89ABab][0-9A-Fa-f])",
    r"|%[Ff]4%8[0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f])(?:%[89ABab][0-9A-Fa-f])",
    r")*(?:\?|$)",
);

/// A percent sign that begins another escape once it is decoded; its digits may be escaped too.
const ENCODED_TWICE: &str = concat!(
    "^[^?]*%25",
    "(?:[0-9A-Fa-f]|%3[0-9]|%4[1-6]|%6[1-6])",
    "(?:[0-9A-Fa-f]|%3[0-9]|%4[1-6]|%6[1-6])",
);

/// `..;x`, which servers that know path parameters take for `..`.
const DOT_PARAMETERS: &str = r"^[^?]*/(?:\.|%2[Ee])(?:\.|%2[Ee])?(?:;|%3[Bb])";

/// The methods that the edge forwards.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Stripping a prefix makes Caddy remove dot segments and double slashes. No path begins with this one,
/// as it is refused before.
const CLEANING: &str = "/portway\\cleans";

/// The target of the request as it was sent, with every byte escaped that needs it.
const URI: &str = "{http.request.uri}";

/// Returns the directives.
pub(super) fn prelude() -> Vec<Directive> {
    let mut directives = vec![
        Directive::new(["@portway_insane", "not", "vars_regexp", URI, SANE]),
        respond("@portway_insane", BAD_REQUEST),
        Directive::new(["@portway_twice", "vars_regexp", URI, ENCODED_TWICE]),
        respond("@portway_twice", BAD_REQUEST),
        Directive::new(["@portway_dots", "vars_regexp", URI, DOT_PARAMETERS]),
        respond("@portway_dots", BAD_REQUEST),
        Directive::new(["@portway_method", "method", "CONNECT", "TRACE"]),
        Directive::new(["header", "@portway_method", "Allow", METHODS]),
        respond("@portway_method", ("405 Method not allowed", "405")),
    ];
    directives.extend(one_form());
    directives
}

/// Brings the path into its one form: dots are no escapes, a dot segment at the end leaves a folder,
/// then dot segments and double slashes go.
fn one_form() -> [Directive; 3] {
    [
        Directive::new(["uri", "*", "path_regexp", "(?i)%2e", "."]),
        Directive::new(["uri", "*", "path_regexp", r"/\.\.?$", "$0/"]),
        Directive::new(["uri", "*", "strip_prefix", CLEANING]),
    ]
}

const BAD_REQUEST: (&str, &str) = ("400 Bad request", "400");

/// Returns a plain answer of ours to what a matcher takes.
pub(super) fn respond(
    matcher: &'static str,
    (body, status): (&'static str, &'static str),
) -> Directive {
    Directive::new(["respond", matcher, body, status])
}
