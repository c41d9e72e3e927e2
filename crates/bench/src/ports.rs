//! Ports of 127.0.0.1 that are free.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::Context as _;

/// Ports below those that the system gives to connections by itself, and below those of the tests.
const FIRST: u16 = 6_100;
const LAST: u16 = 9_900;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Returns a port on which nobody listens, another one each time.
pub(crate) fn take() -> anyhow::Result<u16> {
    let range = LAST - FIRST;
    // Two runs at once begin at different places.
    let offset = u16::try_from(std::process::id() % 100)? * 37;
    for _ in 0..range {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (offset + step % range) % range;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    None.context("no port is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_another() {
        let (one, two) = (take().unwrap(), take().unwrap());
        assert_ne!(one, two);
        assert!((FIRST..LAST).contains(&one) && (FIRST..LAST).contains(&two));
    }
}
