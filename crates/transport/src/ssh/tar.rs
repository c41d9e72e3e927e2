//! An archive of small files, as `tar` reads it from its standard input.
//!
//! It is the one form in which any node takes many files with their modes in one go. Only what is
//! needed for that is written: ustar headers, and GNU's long names.

use bytes::{Bytes, BytesMut};

use crate::Mode;

const BLOCK: usize = 512;
/// The longest name that a header holds; a longer one goes before it.
const MAX_NAME: usize = 100;
/// From this size on, the content of a file is sent as it lies in memory.
const LARGE: usize = 1 << 15;

/// An archive under construction, in pieces.
#[derive(Default)]
pub(super) struct Archive {
    pieces: Vec<Bytes>,
    last: BytesMut,
}

/// What a header is for.
#[derive(Clone, Copy)]
enum Kind {
    File = b'0' as isize,
    Folder = b'5' as isize,
    LongName = b'L' as isize,
}

impl Archive {
    /// Adds a folder for its owner alone.
    pub(super) fn folder(&mut self, name: &str) {
        self.header(name, Kind::Folder, 0o700, 0);
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, mode: Mode, bytes: &Bytes) {
        self.header(name, Kind::File, mode.bits(), bytes.len());
        if bytes.len() < LARGE {
            self.last.extend_from_slice(bytes);
        } else {
            let before = self.last.split().freeze();
            self.pieces.extend([before, bytes.clone()]);
        }
        self.pad(bytes.len());
    }

    /// Ends the archive and returns its pieces.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.last.extend_from_slice(&[0; 2 * BLOCK]);
        self.pieces.push(self.last.freeze());
        self.pieces
    }

    fn header(&mut self, name: &str, kind: Kind, mode: u32, size: usize) {
        if name.len() > MAX_NAME {
            let long = [name.as_bytes(), &[0]].concat();
            self.header("././@LongLink", Kind::LongName, 0o644, long.len());
            self.last.extend_from_slice(&long);
            self.pad(long.len());
        }
        let mut block = Vec::with_capacity(BLOCK);
        let name = name.as_bytes().get(..MAX_NAME).unwrap_or(name.as_bytes());
        field(&mut block, name, 100);
        field(&mut block, format!("{mode:07o}").as_bytes(), 8);
        field(&mut block, b"0000000", 8);
        field(&mut block, b"0000000", 8);
        field(&mut block, format!("{size:011o}").as_bytes(), 12);
        field(&mut block, b"00000000000", 12);
        // The sum is taken with blanks at its own place.
        block.extend_from_slice(b"        ");
        block.push(kind as u8);
        field(&mut block, b"", 100);
        block.extend_from_slice(b"ustar\x0000");
        block.resize(BLOCK, 0);
        let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let sum = format!("{sum:06o}\0 ");
        self.last.extend_from_slice(block.get(..148).unwrap_or_default());
        self.last.extend_from_slice(sum.as_bytes());
        self.last.extend_from_slice(block.get(156..).unwrap_or_default());
    }

    fn pad(&mut self, length: usize) {
        let blanks = length.next_multiple_of(BLOCK) - length;
        self.last.extend_from_slice(&vec![0; blanks]);
    }
}

fn field(block: &mut Vec<u8>, text: &[u8], width: usize) {
    let end = block.len() + width;
    block.extend_from_slice(text);
    block.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        os::unix::fs::PermissionsExt as _,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        for program in [&["tar"][..], &["busybox", "tar"]] {
            let folder = tempfile::tempdir().unwrap();
            let long = format!("files/{}é", "n".repeat(200));
            let large = Bytes::from(vec![7; LARGE + 1]);
            let mut archive = Archive::default();
            archive.folder("files");
            archive.file("files/-a b", Mode::PRIVATE, &Bytes::from_static(b"one"));
            archive.file(&long, Mode::PROGRAM, &large);
            archive.file("empty", Mode::PUBLIC, &Bytes::new());

            if !unpack(program, folder.path(), &archive.finish()) {
                continue;
            }

            let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
            let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions();
            assert_eq!(read("files/-a b"), b"one");
            assert!(read(&long) == large && read("empty").is_empty());
            assert_eq!(mode("files/-a b").mode() & 0o7777, 0o600);
            assert_eq!(mode(&long).mode() & 0o7777, 0o755);
            assert_eq!(mode("files").mode() & 0o7777, 0o700);
        }
    }

    /// Returns whether the program is installed; `tar` always is.
    fn unpack(program: &[&str], folder: &std::path::Path, pieces: &[Bytes]) -> bool {
        let (name, applet) = program.split_first().unwrap();
        let mut command = Command::new(name);
        let command = command.args(applet).args(["-xpomf", "-", "-C"]).arg(folder);
        let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            assert_ne!(program, ["tar"]);
            return false;
        };
        child.stdin.take().unwrap().write_all(&pieces.concat()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program:?}: {output:?}");
        true
    }
}
