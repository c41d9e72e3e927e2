//! Whose turn it is on a node, decided on the node.
//!
//! The store gives each turn on a node a greater number than all before. A manager that was frozen in
//! the middle of its turn may wake up in the next one's; it must not switch anything then. Nothing on a
//! node can compare and switch in one step, so:
//!
//! 1. a turn begins by writing its number into the note, and *then* removing prepared links of lower
//!    numbers;
//! 2. a switch first makes a prepared link that bears the number, *then* reads the note, and only if
//!    the number there is its own renames the prepared link into place.
//!
//! If the late one reads the note before the next turn wrote it, its prepared link is gone by the time
//! it renames, or it renamed before the next turn looked at what is linked, and is seen. If it reads
//! the note after, it stops.

use camino::{Utf8Path, Utf8PathBuf};

/// Prepared links begin so. Engines that read a whole folder read no file of such a name.
const PREPARED: &str = ".portway-next-";

/// Returns the prepared link beside `link`, for a turn.
pub(crate) fn prepared(link: &Utf8Path, fence: u64) -> Utf8PathBuf {
    link.with_file_name(format!("{PREPARED}{fence}"))
}

/// Tells whether a file is a prepared link of a turn before this one, or of this one.
pub(crate) fn is_stale(name: &str, fence: u64) -> bool {
    name.strip_prefix(PREPARED)
        .and_then(|number| number.parse::<u64>().ok())
        .is_some_and(|number| number <= fence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_this_turn_and_before_are_stale() {
        let name = |fence| prepared(Utf8Path::new("/etc/x/current.conf"), fence);
        assert_eq!(name(7), "/etc/x/.portway-next-7");
        assert!(is_stale(".portway-next-6", 7) && is_stale(".portway-next-7", 7));
        assert!(!is_stale(".portway-next-8", 7));
        assert!(!is_stale("current.conf", 7) && !is_stale(".portway-next-x", 7));
    }
}
