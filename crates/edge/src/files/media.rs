//! Media types of files, by their names.

use http::HeaderValue;

use crate::compress;

/// Returns the media type that a file's name tells. Text is UTF-8.
pub(super) fn of(name: &str) -> HeaderValue {
    let media = mime_guess::from_path(name).first_or_octet_stream();
    let essence = match media.essence_str() {
        "application/javascript" => "text/javascript", // RFC 9239 §6
        essence => essence,
    };
    let is_text =
        essence.starts_with("text/") || essence.ends_with("+xml") || essence == "application/xml";
    let text = if is_text { format!("{essence}; charset=utf-8") } else { essence.to_owned() };
    HeaderValue::try_from(text)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// Tells whether files of this type are compressed in themselves, so that nobody puts compressed
/// forms beside them.
pub(super) fn is_packed(media: &HeaderValue) -> bool {
    let Ok(media) = media.to_str() else { return false };
    let essence = media.split(';').next().unwrap_or_default().trim();
    if compress::gains(essence) {
        return false;
    }
    match essence.split_once('/') {
        Some(("image" | "audio" | "video" | "font", _)) => true,
        Some(("application", subtype)) => matches!(
            subtype,
            "zip"
                | "gzip"
                | "x-gzip"
                | "zstd"
                | "x-brotli"
                | "x-bzip2"
                | "x-xz"
                | "x-7z-compressed"
                | "x-rar-compressed"
                | "vnd.rar"
                | "java-archive"
                | "pdf"
        ),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_from_the_name() {
        for (name, media) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.PNG", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.woff2", "font/woff2"),
            ("a.webmanifest", "application/manifest+json"),
            ("token", "application/octet-stream"),
        ] {
            assert_eq!(of(name), media, "{name}");
        }
    }

    #[test]
    fn only_what_is_not_compressed_in_itself_has_compressed_forms() {
        for name in ["a.js", "a.svg", "a.ico", "a.ttf", "a.wasm", "build.data", "token", "a.json"] {
            assert!(!is_packed(&of(name)), "{name}");
        }
        for name in ["a.png", "a.mp4", "a.ogg", "a.woff2", "a.zip", "a.gz", "a.pdf"] {
            assert!(is_packed(&of(name)), "{name}");
        }
    }
}
