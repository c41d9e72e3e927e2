//! How the files that a site file names are read.

use std::io::{self, Read};

use camino::Utf8Path;

/// Reads the files that a site file names: password files and certificate authorities.
pub trait Files {
    /// Returns the text of a file.
    fn read(&self, path: &Utf8Path) -> io::Result<String>;
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFiles;

/// Password files and certificate authorities are small; a device or log named by mistake is not.
const LARGEST: u64 = 4 << 20;

impl Files for LocalFiles {
    fn read(&self, path: &Utf8Path) -> io::Result<String> {
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        file.take(LARGEST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 4 MiB"));
        }
        Ok(text)
    }
}
