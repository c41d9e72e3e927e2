//! The page that visitors see.

use super::Fault;

/// The page needs its own style and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Returns the page for a fault.
pub(super) fn page(fault: &Fault, request_id: &str) -> String {
    let status = fault.status().as_u16();
    let title = fault.title();
    let sentence = escape(&fault.sentence());
    let request_id = escape(request_id);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{status} {title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<p class="status">{status}</p>
<h1>{title}</h1>
<p>{sentence}</p>
<footer>Request id <code>{request_id}</code></footer>
</main>
</body>
</html>
"#
    )
}

const STYLE: &str = "\
:root{--ink:#1b2430;--soft:#5a6675;--ground:#f4f6f9;--card:#fff;--line:#dfe4ea;--accent:#2f6fde}\
@media(prefers-color-scheme:dark){:root{--ink:#e8edf3;--soft:#9aa7b6;--ground:#10151c;\
--card:#18202a;--line:#2a3542;--accent:#7aa9ff}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;\
background:var(--ground);color:var(--ink);font:1rem/1.6 system-ui,sans-serif}\
main{max-width:34rem;width:100%;padding:2.5rem;background:var(--card);\
border:1px solid var(--line);border-top:4px solid var(--accent);border-radius:.75rem}\
.status{margin:0;color:var(--accent);font-weight:600;letter-spacing:.08em}\
h1{margin:.1em 0 .5em;font-size:1.75rem;line-height:1.25}\
p{margin:0 0 1rem;overflow-wrap:anywhere}\
footer{margin-top:2rem;padding-top:1rem;border-top:1px solid var(--line);\
color:var(--soft);font-size:.875rem}\
code{font:.875rem ui-monospace,monospace;user-select:all;overflow-wrap:anywhere}";

/// Returns text as it stands in a page.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
