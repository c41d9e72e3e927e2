//! The page of a listing. It needs its own style and nothing else, no script.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Column, Item, Kind, Listing, Order};
use crate::pages::escape;

/// What the page may load.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Returns the page of a listing.
pub(super) fn of(listing: &Listing) -> String {
    let path = escape(&listing.path);
    let heads: String = Column::ALL.iter().map(|column| head(*column, listing.order)).collect();
    let mut rows = String::new();
    if listing.has_parent {
        rows.push_str(PARENT);
    }
    for item in &listing.entries {
        row(&mut rows, item);
    }
    let note = note(listing);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{path}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{path}</h1>
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table>
<p>{note}</p>
</main>
</body>
</html>
"#
    )
}

const PARENT: &str =
    "<tr class=\"folder\"><td><a href=\"../\">..</a></td><td></td><td></td></tr>\n";

/// A click on the column that orders turns the order around.
fn head(column: Column, order: Order) -> String {
    let title = match column {
        Column::Name => "Name",
        Column::Size => "Size",
        Column::Time => "Modified (UTC)",
    };
    let is_own = column == order.by;
    let next = if is_own && !order.descending { "desc" } else { "asc" };
    let sorted = match (is_own, order.descending) {
        (false, _) => "",
        (true, false) => " aria-sort=\"ascending\"",
        (true, true) => " aria-sort=\"descending\"",
    };
    let name = column.name();
    format!("<th scope=\"col\"{sorted}><a href=\"?sort={name}&amp;order={next}\">{title}</a></th>")
}

fn row(rows: &mut String, item: &Item) {
    let (class, slash) = match item.kind {
        Kind::Folder => ("folder", "/"),
        Kind::File => ("file", ""),
    };
    let (name, link) = (escape(&item.name), encode(&item.name));
    let size = item.size.map(size_cell).unwrap_or_default();
    let time = item.modified.map(time_cell).unwrap_or_default();
    let row = writeln!(
        rows,
        "<tr class=\"{class}\"><td><a href=\"{link}{slash}\">{name}{slash}</a></td>\
         <td>{size}</td><td>{time}</td></tr>"
    );
    // Writing to a string does not fail.
    row.unwrap_or_default();
}

fn size_cell(bytes: u64) -> String {
    format!("<data value=\"{bytes}\">{}</data>", size(bytes))
}

fn time_cell(time: Timestamp) -> String {
    format!("<time datetime=\"{time}\">{}</time>", time.strftime("%Y-%m-%d %H:%M"))
}

fn note(listing: &Listing) -> String {
    let count = |kind| listing.entries.iter().filter(|item| item.kind == kind).count();
    let named = |count: usize, one: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {one}{plural}")
    };
    let counts =
        format!("{}, {}", named(count(Kind::Folder), "folder"), named(count(Kind::File), "file"));
    if listing.complete { counts } else { format!("{counts}; there are more, not shown") }
}

/// Returns a size with three digits at most that count.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let rounded = |divisor: u64| bytes.saturating_add(divisor / 2) / divisor;
    let whole = |unit: u32| rounded(10_u64.saturating_pow(3 * (unit + 1)));
    let mut unit = 0;
    while whole(unit) >= 1000 && unit < 5 {
        unit += 1;
    }
    let name = usize::try_from(unit).ok().and_then(|unit| UNITS.get(unit)).unwrap_or(&"EB");
    match rounded(10_u64.saturating_pow(3 * (unit + 1) - 1)) {
        tenths if tenths < 100 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        _ => format!("{} {name}", whole(unit)),
    }
}

/// Returns a name as it stands in an address.
fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

const STYLE: &str = "\
:root{--ink:#1b2430;--soft:#5a6675;--ground:#f4f6f9;--card:#fff;--line:#dfe4ea;--accent:#2f6fde;\
--hover:#f0f4fb}\
@media(prefers-color-scheme:dark){:root{--ink:#e8edf3;--soft:#9aa7b6;--ground:#10151c;\
--card:#18202a;--line:#2a3542;--accent:#7aa9ff;--hover:#1f2935}}\
*{box-sizing:border-box}\
body{margin:0;padding:2rem 1rem;background:var(--ground);color:var(--ink);\
font:1rem/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto}\
h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25;overflow-wrap:anywhere}\
table{width:100%;border-collapse:separate;border-spacing:0;background:var(--card);\
border:1px solid var(--line);border-radius:.75rem;overflow:hidden}\
th,td{padding:.5rem 1rem;text-align:left;vertical-align:baseline}\
th{font-size:.875rem;font-weight:600;white-space:nowrap}\
td{border-top:1px solid var(--line)}\
th:nth-child(2),td:nth-child(2){text-align:right}\
td:nth-child(n+2){color:var(--soft);white-space:nowrap;font-variant-numeric:tabular-nums}\
td:first-child{width:100%;overflow-wrap:anywhere}\
tbody tr:hover{background:var(--hover)}\
a{color:var(--accent);text-decoration:none}\
a:hover,a:focus-visible{text-decoration:underline}\
th a{color:var(--soft)}\
th[aria-sort] a{color:var(--ink)}\
th[aria-sort=ascending] a::after{content:' \\2191'}\
th[aria-sort=descending] a::after{content:' \\2193'}\
.folder a{font-weight:600}\
p{margin:1rem 0 0;color:var(--soft);font-size:.875rem}\
@media(max-width:40rem){th:nth-child(3),td:nth-child(3){display:none}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1449, "1.4 kB"),
            (1450, "1.5 kB"),
            (9_949, "9.9 kB"),
            (12_400, "12 kB"),
            (999_499, "999 kB"),
            (999_960, "1.0 MB"),
            (1_500_000, "1.5 MB"),
            (64_000_000_000, "64 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn a_name_is_a_name_in_the_text_and_in_the_address() {
        let mut rows = String::new();
        let item = Item {
            name: "<b>&\"' ä?#%:.html".to_owned(),
            kind: Kind::File,
            size: Some(5),
            modified: Timestamp::from_second(0).ok(),
        };
        row(&mut rows, &item);
        assert_eq!(
            rows,
            "<tr class=\"file\"><td><a href=\"%3Cb%3E%26%22%27%20%C3%A4%3F%23%25%3A.html\">\
             &lt;b&gt;&amp;&quot;&#39; ä?#%:.html</a></td><td><data value=\"5\">5 B</data></td>\
             <td><time datetime=\"1970-01-01T00:00:00Z\">1970-01-01 00:00</time></td></tr>\n"
        );
    }
}
