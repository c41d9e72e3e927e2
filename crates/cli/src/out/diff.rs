//! Unified diffs with colours.

use super::{Paint, text::clean_line};

/// Paints a unified diff line by line, indented.
pub(crate) fn unified(diff: &str, paint: Paint) -> String {
    let lines = diff.lines().filter(|line| !is_header(line)).map(|line| {
        let clean = clean_line(line);
        let painted = match line.as_bytes().first() {
            Some(b'+') => paint.good(&clean),
            Some(b'-') => paint.bad(&clean),
            Some(b'@') => paint.dim(&clean),
            Some(_) | None => clean,
        };
        format!("    {painted}\n")
    });
    lines.collect()
}

/// The names of the two sides; the line above says which site it is.
fn is_header(line: &str) -> bool {
    line.starts_with("--- ") || line.starts_with("+++ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_and_removed_is_painted_and_names_are_left_out() {
        let diff = "--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n same\n";
        assert_eq!(
            unified(diff, Paint::new(true)),
            "    \u{1b}[2m@@ -1 +1 @@\u{1b}[0m\n    \u{1b}[31m-old\u{1b}[0m\n    \
             \u{1b}[32m+new\u{1b}[0m\n     same\n"
        );
        assert!(!unified(diff, Paint::new(false)).contains('\u{1b}'));
    }

    #[test]
    fn a_value_cannot_command_the_terminal() {
        assert!(!unified("+\u{1b}]0;title\u{7}", Paint::new(false)).contains('\u{1b}'));
    }
}
