//! Prints the description of the API: `cargo run -p portway-api --example openapi > openapi.json`.

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::io::stdout().write_all(portway_api::openapi_json()?.as_bytes())?;
    Ok(())
}
