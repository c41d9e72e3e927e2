//! Takes secrets out of texts that are shown: those that are known, and whatever looks like the hash of
//! a password that somebody wrote there by hand. Pure.

use portway_policy::Digest;

/// How hashes of passwords begin, as they are and in base64.
const HASHES: [&str; 14] = [
    "$2a$", "$2b$", "$2x$", "$2y$", "$argon2", "$apr1$", "$1$", "$5$", "$6$", "$y$", "{SHA}",
    "JDJhJ", "JDJiJ", "JDJ5J",
];
/// What ends a word in any of the files.
const ENDS: [char; 8] = ['"', '\'', '`', ',', ';', '}', ']', ')'];

/// What is not to be seen.
pub(super) struct Veil {
    secrets: Vec<String>,
}

impl Veil {
    pub(super) fn over(mut secrets: Vec<String>) -> Self {
        secrets.retain(|secret| !secret.is_empty());
        // One that has another one in it goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// Returns a text without secrets: the first digits of each one's digest stand in its place, so that
    /// another one is seen to be another one.
    pub(super) fn cover(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), &called(secret));
            }
        }
        without_hashes(&text)
    }
}

fn without_hashes(text: &str) -> String {
    let mut covered = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = HASHES.iter().filter_map(|hash| rest.find(hash)).min() {
        let (before, found) = rest.split_at(at);
        // `{SHA}` itself ends in what ends words elsewhere.
        let skipped = found.find('}').filter(|_| found.starts_with('{')).map_or(0, |at| at + 1);
        let tail = found.get(skipped..).unwrap_or_default();
        let end = tail.find(|c: char| c.is_whitespace() || ENDS.contains(&c));
        let end = end.map(|end| end + skipped);
        let (secret, after) = found.split_at(end.unwrap_or(found.len()));
        covered.push_str(before);
        covered.push_str(&called(secret));
        rest = after;
    }
    covered.push_str(rest);
    covered
}

fn called(secret: &str) -> String {
    let digits: String = Digest::of(secret.as_bytes()).to_string().chars().take(12).collect();
    format!("(the secret {digits})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_known_secrets_nor_hashes_that_somebody_wrote_are_shown() {
        let veil = Veil::over(vec!["s3cret".to_owned(), "s3cret-longer".to_owned()]);
        let text = "key \"s3cret-longer\"; pass s3cret;\nann:$2y$05$abc/def., bob:{SHA}qUq=\n\"JDJhJDA1\"\n";

        let covered = veil.cover(text);

        for secret in ["s3cret", "abc/def", "qUq", "JDJhJ"] {
            assert!(!covered.contains(secret), "{covered}");
        }
        assert!(covered.starts_with("key \"(the secret "), "{covered}");
        assert_eq!(covered.matches("(the secret ").count(), 5, "{covered}");
        assert_eq!(covered.lines().count(), 3);
    }

    #[test]
    fn another_secret_is_seen_to_be_another_one() {
        let veil = Veil::over(Vec::new());
        assert_ne!(veil.cover("$2b$05$one"), veil.cover("$2b$05$two"));
        assert_eq!(veil.cover("proxy_pass http://$host;"), "proxy_pass http://$host;");
    }
}
