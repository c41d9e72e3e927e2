//! A disk of a few megabytes that can be filled: a file system in memory, mounted on a folder. Only
//! root can mount, so a test that needs one says when it is left out.

use std::{fs, io::Write as _, process::Command};

use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};

/// What fills it.
const FILLING: &str = "filling";

/// A small disk. It is gone, with all that is on it, when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: Utf8PathBuf,
}

impl SmallDisk {
    /// Tells whether this process may mount one.
    pub fn is_possible() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Mounts one on a folder, which is made. `size` is for example `4m`.
    pub fn mount(folder: &Utf8Path, size: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        mount(folder, &format!("size={size},mode=0755"))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Gives it another size, also where one was taken away by hand.
    pub fn resize(&self, size: &str) -> anyhow::Result<()> {
        mount(&self.folder, &format!("remount,size={size}"))
    }

    /// Writes until not a byte is left.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = fs::File::create(self.folder.join(FILLING))?;
        for size in [64 << 10, 1] {
            let bytes = vec![0; size];
            while file.write_all(&bytes).is_ok() {}
        }
        Ok(())
    }

    /// Takes away what filled it.
    pub fn empty(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.folder.join(FILLING))?)
    }
}

fn mount(folder: &Utf8Path, options: &str) -> anyhow::Result<()> {
    let output = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs", folder.as_str()])
        .output()
        .context("`mount` cannot be run")?;
    if !output.status.success() {
        bail!("{folder} cannot be mounted: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file open there keeps it to himself.
        let _gone = Command::new("umount").args(["-l", self.folder.as_str()]).status();
    }
}
