//! Password files of Apache and nginx: lines `name:hash`, comments, empty lines.

use crate::source::{lines, without_mark};

/// A line that is no user.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine;

/// Returns the users with the numbers of their lines. What the hashes are worth is judged elsewhere.
pub fn read_htpasswd(
    text: &str,
) -> impl Iterator<Item = (usize, Result<(String, String), BadLine>)> + '_ {
    let lines = (1..).zip(lines(without_mark(text)).map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| (number, user(line)))
}

/// nginx allows a comment behind a second colon.
fn user(line: &str) -> Result<(String, String), BadLine> {
    let (name, rest) = line.split_once(':').ok_or(BadLine)?;
    let hash = rest.split(':').next().unwrap_or(rest);
    if name.is_empty() || hash.is_empty() {
        return Err(BadLine);
    }
    Ok((name.to_owned(), hash.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_users() {
        let read: Vec<_> =
            read_htpasswd("# staff\r\n\r\nada:h1\r\nbob:h2:a comment\nnobody\n:x\n").collect();
        let user = |name: &str, hash: &str| Ok((name.to_owned(), hash.to_owned()));
        assert_eq!(
            read,
            [(3, user("ada", "h1")), (4, user("bob", "h2")), (5, Err(BadLine)), (6, Err(BadLine))]
        );
    }
}
