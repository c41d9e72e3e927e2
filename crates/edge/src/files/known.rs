//! What is known of a file once it was opened, and what tells whether it is still so.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::media;

/// HTTP dates end here (RFC 9110 §5.6.7 gives years four digits).
const LAST_DATE: u64 = 253_402_300_799;

/// A file that was changed more recently may be changed again without its stamp telling: file
/// systems count time in steps, some of two seconds.
const STEP: Duration = Duration::from_secs(2);

/// One state of a file. Whoever writes to a file changes it, whoever replaces a file too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: Moment,
    /// When content, owner or mode were changed last; nobody can set it back.
    changed: Moment,
}

/// Seconds since 1970, and nanoseconds.
type Moment = (i64, i64);

/// A regular file in one state.
#[derive(Debug)]
pub(super) struct Known {
    /// The state.
    pub(super) stamp: Stamp,
    /// The strong validator. It changes with length, time of change and inode, and tells none of
    /// them.
    pub(super) tag: HeaderValue,
    /// `Last-Modified`, unless HTTP cannot write the time.
    pub(super) last_modified: Option<HeaderValue>,
    /// `Content-Type`, as the name tells it.
    pub(super) media: HeaderValue,
    /// All of it, when it is small.
    pub(super) content: Option<Bytes>,
    /// Whether it lies on a disk of this machine, where looking at it takes no time worth naming.
    pub(super) is_local: bool,
}

impl Stamp {
    /// Reads it.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Tells whether every later change will show in the stamp.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let settled = now.checked_sub(STEP).map(|then| then.as_secs());
        settled.is_some_and(|then| i64::try_from(then).is_ok_and(|then| self.changed.0 < then))
    }

    /// Tells whether the file is not older than another. Fractions of seconds do not count: many
    /// programs that copy a time, as compressors do, leave them out.
    pub(super) fn is_as_new_as(&self, other: &Self) -> bool {
        self.modified.0 >= other.modified.0
    }
}

impl Known {
    /// Gathers what is known of an opened file.
    pub(super) fn new(
        metadata: &Metadata,
        name: &str,
        content: Option<Bytes>,
        is_local: bool,
    ) -> Self {
        let stamp = Stamp::of(metadata);
        Self {
            stamp,
            tag: tag(&stamp),
            last_modified: last_modified(&stamp),
            media: media::of(name),
            content,
            is_local,
        }
    }

    /// Returns its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.stamp.length
    }

    /// Returns when it was modified, in the whole seconds of HTTP; what is older than they reach is
    /// as old as they reach.
    pub(super) fn modified(&self) -> u64 {
        u64::try_from(self.stamp.modified.0).unwrap_or(0)
    }
}

fn tag(stamp: &Stamp) -> HeaderValue {
    let mut hash = Sha256::new();
    hash.update(stamp.length.to_be_bytes());
    hash.update(stamp.modified.0.to_be_bytes());
    hash.update(stamp.modified.1.to_be_bytes());
    hash.update(stamp.inode.to_be_bytes());
    let digest = hash.finalize();
    let digest = URL_SAFE_NO_PAD.encode(digest.get(..12).unwrap_or_default());
    // The digits of base 64 can stand in a header.
    HeaderValue::try_from(format!("\"{digest}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn last_modified(stamp: &Stamp) -> Option<HeaderValue> {
    let seconds = u64::try_from(stamp.modified.0).ok().filter(|time| *time <= LAST_DATE)?;
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(modified: Moment) -> Stamp {
        Stamp { device: 1, inode: 2, length: 3, modified, changed: modified }
    }

    #[test]
    fn a_time_that_http_cannot_write_is_left_out() {
        assert_eq!(last_modified(&stamp((-5, 0))), None);
        let last = i64::try_from(LAST_DATE).unwrap();
        assert_eq!(last_modified(&stamp((last + 1, 0))), None);
        assert!(last_modified(&stamp((last, 0))).is_some());
        assert_eq!(last_modified(&stamp((0, 7))).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn the_tag_tells_states_apart() {
        let first = tag(&stamp((5, 0)));
        assert_eq!(first, tag(&stamp((5, 0))));
        assert_ne!(first, tag(&stamp((5, 1))));
        assert_ne!(first, tag(&Stamp { inode: 9, ..stamp((5, 0)) }));
        assert_ne!(first, tag(&Stamp { length: 9, ..stamp((5, 0)) }));
    }

    #[test]
    fn a_file_settles_when_its_last_change_is_long_enough_ago() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!stamp((100, 0)).is_settled(at(100)));
        assert!(!stamp((100, 0)).is_settled(at(102)));
        assert!(stamp((100, 0)).is_settled(at(103)));
        assert!(!stamp((100, 0)).is_settled(at(50)), "a time to come");
    }

    #[test]
    fn a_variant_that_lost_the_fraction_of_its_time_is_not_older() {
        assert!(stamp((5, 0)).is_as_new_as(&stamp((5, 999))));
        assert!(!stamp((4, 999)).is_as_new_as(&stamp((5, 0))));
    }
}
