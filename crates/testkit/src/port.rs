//! Ports for programs that must be told theirs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    net::{Ipv4Addr, TcpListener},
};

use anyhow::bail;

/// Ports below those that the system gives to connections by itself.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A port of 127.0.0.1 that is free and, while this is held, nobody else's: the edge shares its
/// ports between threads, so the system would not notice that two edges chose the same.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a port that is free.
    pub fn take() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join("portway-test-ports");
        fs::create_dir_all(&folder)?;
        // Tests that run at once begin at different places.
        let offset = u16::try_from(std::process::id() % 1000)? * 10;
        let (low, high) = (PORTS.start, PORTS.end);
        for number in (low + offset..high).chain(low..low + offset) {
            let path = folder.join(number.to_string());
            let lock = OpenOptions::new().create(true).append(true).open(&path)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no port is free")
    }

    /// Takes two ports side by side.
    pub fn take_pair() -> anyhow::Result<[Self; 2]> {
        let mut one = Self::take()?;
        // What does not fit is held until the end, so that it is not offered again.
        let mut passed = Vec::new();
        loop {
            let other = Self::take()?;
            if other.number == one.number + 1 {
                return Ok([one, other]);
            }
            passed.push(std::mem::replace(&mut one, other));
        }
    }

    /// Returns its number.
    pub const fn number(&self) -> u16 {
        self.number
    }
}
