//! The one place that quotes for a shell.
//!
//! SSH hands a command to the login shell of the far side as one string; there is no list of words on
//! the wire. What is made here means the same word in every shell of the POSIX family. Shells that
//! read quotes in another way (fish, csh) are told apart before anything is run, see
//! [`TransportError::OddLoginShell`](crate::TransportError::OddLoginShell).

/// Returns a word as a shell must be given it to read exactly that word.
pub(crate) fn quote(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('\'');
    for part in word.split_inclusive('\'') {
        match part.strip_suffix('\'') {
            Some(before) => {
                quoted.push_str(before);
                quoted.push_str(r"'\''");
            }
            None => quoted.push_str(part),
        }
    }
    quoted.push('\'');
    quoted
}

/// Returns words as one line for a shell.
pub(crate) fn join(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// What no shell gives a meaning to, wherever it stands: not `=`, which zsh expands at the beginning
/// of a word, and which makes an assignment of a first word.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b',' | b'+')
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// Shells of the POSIX family, as commands that take a line.
    const SHELLS: [&[&str]; 5] = [
        &["sh", "-c"],
        &["dash", "-c"],
        &["bash", "-c"],
        &["busybox", "ash", "-c"],
        &["zsh", "-c"],
    ];

    #[test]
    fn words_without_meaning_stay_readable() {
        assert_eq!(
            join(["nginx", "-t", "-c", "/etc/nginx/a.conf"]),
            "nginx -t -c /etc/nginx/a.conf"
        );
    }

    #[test]
    fn every_other_word_is_quoted() {
        assert_eq!(
            join(["", "a b", "it's", "$x", "=ls", "~"]),
            r"'' 'a b' 'it'\''s' '$x' '=ls' '~'"
        );
    }

    #[test]
    fn hostile_words_arrive_as_they_are_in_every_shell() {
        let hostile = [
            "",
            "'",
            "''",
            "'\\''",
            "\\",
            "\\\\'",
            "\"",
            "$(id)",
            "`id`",
            "${IFS}",
            "a\nb",
            "\n",
            "\t",
            "!!",
            "!x",
            "*",
            "?",
            "[a-z]*",
            "{a,b}",
            "~",
            "~root",
            "#",
            "a#b",
            "&",
            ";",
            "|",
            "<",
            ">",
            "=ls",
            "a=b",
            "%1",
            "-n",
            "--",
            "\u{1b}[31m",
            "\r\n",
            "é",
            "\u{202e}x",
            "😀",
            "\u{7f}",
        ];
        let found = shells();

        for shell in &found {
            assert_eq!(echoed(shell, &hostile), hostile, "{shell:?}");
        }

        assert!(found.iter().any(|shell| shell.first() == Some(&"sh")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_words_arrive_as_they_are_in_every_shell(
            words in proptest::collection::vec("[^\0]{0,12}|['\\\\$`\"! \n*]{0,8}", 0..40)
        ) {
            let words = words.iter().map(String::as_str).collect::<Vec<_>>();
            for shell in shells() {
                prop_assert_eq!(echoed(shell, &words), words.clone(), "{:?}", shell);
            }
        }
    }

    /// Returns the words that a program is given which a shell started. The first one keeps `printf`
    /// from taking an empty list for one empty word.
    fn echoed(shell: &[&str], words: &[&str]) -> Vec<String> {
        let line = format!(r"printf '%s\0' begin {}", join(words.iter().copied()));
        let (program, options) = shell.split_first().unwrap();
        let output = Command::new(program).args(options).arg(line).output().unwrap();
        assert!(output.status.success(), "{shell:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.strip_suffix('\0').unwrap().split('\0').skip(1).map(str::to_owned).collect()
    }

    /// Those that are installed here; `sh` always is.
    fn shells() -> Vec<&'static [&'static str]> {
        let is_here = |shell: &&[&str]| {
            let (program, options) = shell.split_first().unwrap();
            Command::new(program).args(options).arg("exit 0").output().is_ok()
        };
        SHELLS.iter().copied().filter(|shell| is_here(shell)).collect()
    }
}
