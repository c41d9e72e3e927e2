//! Whose turn it is on a node, decided on the node.
//!
//! The store gives each turn on a node a greater number than all before. A manager that was frozen in
//! the middle of its turn may wake up in the next one's; it must not switch anything then. Nothing on a
//! node can compare and switch in one step, so:
//!
//! 1. each turn has a note of its own, whose name bears the number, and the greatest number counts:
//!    what a late manager writes goes to its own note, which is not read any more;
//! 2. a turn begins by writing its note, and *then* removing prepared links of lower numbers;
//! 3. a switch first makes a prepared link that bears the number, *then* looks which notes there are,
//!    and only if its own is there and is the greatest renames the prepared link into place ([`SWITCH`]).
//!
//! If the late one looks before the next turn wrote its note, its prepared link is gone by the time
//! it renames, or it renamed before the next turn looked at what is linked, and is seen. If it looks
//! after, it stops.
//!
//! What removes files has no such way. It looks at the notes in the same command on the node as it
//! removes ([`REMOVE`]), so that no manager, however long it is frozen, comes between the two.

use camino::{Utf8Path, Utf8PathBuf};
use uuid::Uuid;

/// Prepared links begin so. Engines that read a whole folder read no file of such a name.
const PREPARED: &str = ".portway-next-";
/// How names of notes end.
const NOTE: &str = ".json";

/// Looks whether it still is the turn of a note, and ends where it is not; `$1` is the folder of notes,
/// `$2` the number, `$3` the name of the note. What follows it is done in the same command on the node.
macro_rules! held {
    ($then:literal) => {
        concat!(
            r#"cd -- "$1" || exit 1
[ -e "$3" ] || exit 75
for note in *.json; do
  number=${note%%-*}
  case $number in ''|*[!0-9]*) continue ;; esac
  [ "$number" -le "$2" ] && [ "${note#*-}" = "${3#*-}" ] || exit 75
done
"#,
            $then
        )
    };
}

/// Only looks.
pub(crate) const HELD: &str = held!("");

/// Prepares a link (`$4`) that leads to a target (`$6`), and puts it in its place (`$5`) where it still is
/// the turn.
pub(crate) const SWITCH: &str = concat!(
    r#"ln -s -f -n -- "$6" "$4" || exit 1
"#,
    held!(
        r#"mv -f -T -- "$4" "$5" || exit 1
sync "${5%/*}/" 2>/dev/null || sync"#
    )
);

/// Writes a note (`$4`) to a file of a name (`$3`) in a folder (`$1`), in one step and to the disk. What
/// another one left half written is removed.
pub(crate) const WRITE_NOTE: &str = r#"set -eu
umask 077
cd -- "$1"
for left in .portway-put-note-*; do [ ! -e "$left" ] || rm -f -- "$left"; done
next=.portway-put-note-$2
printf %s "$4" > "$next"
sync "$next" 2>/dev/null || sync
mv -f -- "$next" "$3"
sync . 2>/dev/null || sync"#;

/// Makes folders that are not there: `$1` is the mode of those it makes, or nothing.
pub(crate) const FOLDERS: &str = r#"mode=$1
shift
for folder; do
  [ -d "$folder" ] || exec mkdir -p ${mode:+-m "$mode"} -- "$@"
done"#;

/// Makes Portway's folders that are not there, and tells the modes of those with objects and releases,
/// which are the last two. They are nobody else's before it is known whose they are.
pub(crate) const OWN_FOLDERS: &str = r#"[ -d "$1" ] && [ -d "$2" ] || mkdir -p -m 0711 -- "$1" "$2" || exit 1
[ -d "$3" ] && [ -d "$4" ] || mkdir -p -m 0700 -- "$3" "$4" || exit 1
exec stat -c %a -- "$3" "$4""#;

/// Removes the files named after the third word where it still is the turn.
pub(crate) const REMOVE_NAMED: &str = held!(
    r#"shift 3
exec rm -f -- "$@""#
);

/// Removes the files named on its input where it still is the turn.
pub(crate) const REMOVE: &str = held!("exec xargs -0 rm -f --");

/// Prints the notes in a folder (`$1`), each behind a line with its name. One that is gone when it is to
/// be printed is empty.
pub(crate) const NOTES: &str = r#"set -eu
cd -- "$1" 2>/dev/null || {
  said=$(ls -- "$1/" 2>&1 >/dev/null) || :
  case $said in ''|*"No such file or directory"*) exit 0 ;; esac
  printf '%s\n' "$said" >&2
  exit 1
}
for note in *.json; do
  [ -e "$note" ] || continue
  printf '\n== %s\n' "$note"
  cat -- "$note" || [ ! -e "$note" ]
done"#;

/// How those end that look, where it is no longer the turn.
pub(crate) const TURN_OVER: u32 = 75;

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

/// A turn, as the name of its note tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// Its number.
    pub(crate) fence: u64,
    /// Whose it is.
    pub(crate) installation: Uuid,
}

impl Turn {
    /// Reads the name of a note.
    pub(crate) fn of(file_name: &str) -> Option<Self> {
        let (fence, installation) = file_name.strip_suffix(NOTE)?.split_once('-')?;
        Some(Self { fence: fence.parse().ok()?, installation: installation.parse().ok()? })
    }

    /// Returns the name of its note.
    pub(crate) fn file_name(self) -> String {
        format!("{}-{}{NOTE}", self.fence, self.installation)
    }
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

    #[test]
    fn a_note_is_known_by_its_name_and_the_greatest_number_is_the_last() {
        let turn = |fence| Turn { fence, installation: Uuid::from_u128(1) };
        assert_eq!(Turn::of(&turn(7).file_name()), Some(turn(7)));
        assert_eq!([turn(9), turn(10)].iter().max(), Some(&turn(10)));
        for other in ["7.json", "x-y.json", ".7-8.json", "notes"] {
            assert_eq!(Turn::of(other), None, "{other}");
        }
    }
}
