//! A WebSocket server of another make that sends every message back: `echo.py`, with the package
//! `websockets` of the Python environment that `scripts/setup test` fills.

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// A running server. It takes compression (RFC 7692) if it is offered.
pub struct WebSocketEcho {
    address: SocketAddr,
    /// It ends with its input.
    _process: Child,
}

impl WebSocketEcho {
    /// Starts a server on a free port of 127.0.0.1. Nothing is returned where there is no such
    /// Python, unless everything must run (`CI=true`).
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(python) = python()? else { return Ok(None) };
        let mut process = Command::new(&python)
            .args(["-c", include_str!("echo.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let output = process.stdout.take().context("it has an output")?;
        let said = BufReader::new(output).lines().next_line().await?;
        let port = said.context("the server says no port; it says why above")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
        Ok(Some(Self { address, _process: process }))
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn python() -> anyhow::Result<Option<PathBuf>> {
    let environment = std::env::var("PORTWAY_PYTHON_ENV").map_or_else(
        |_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv")),
        PathBuf::from,
    );
    let python = environment.join("bin/python");
    if python.exists() {
        return Ok(Some(python));
    }
    if std::env::var("CI").as_deref() == Ok("true") {
        bail!("there is no {}; `scripts/setup test` gets it", python.display());
    }
    Ok(None)
}
