//! `generate`: what is written by the code and kept in the repository.

mod cli_reference;
mod metrics_reference;

use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    args::Generate,
    exit::{Exit, Failure, Outcome},
    session::Session,
};

/// A file and what stands in it.
struct Generated {
    path: &'static str,
    content: String,
}

/// `portway generate`
pub(super) fn run(session: &Session, args: &Generate) -> Outcome {
    if !args.root.join("Cargo.toml").is_file() {
        return Err(Failure::usage(format!("{} is not the root of the repository", args.root)));
    }
    let files = generate()?;
    if args.check {
        return check(session, &args.root, &files);
    }
    for file in &files {
        let path = args.root.join(file.path);
        if is_current(&path, &file.content)? {
            continue;
        }
        write(&path, &file.content)
            .map_err(|error| Failure::failed(format!("cannot write {path}")).because(&error))?;
        session.out.note(&format!("wrote {}", file.path))?;
    }
    Ok(Exit::Ok)
}

fn check(session: &Session, root: &Utf8Path, files: &[Generated]) -> Outcome {
    let mut outdated = Vec::new();
    for file in files {
        if !is_current(&root.join(file.path), &file.content)? {
            outdated.push(file.path);
        }
    }
    if outdated.is_empty() {
        session.out.note("everything generated is up to date")?;
        return Ok(Exit::Ok);
    }
    Err(Failure::failed(format!("out of date: {}", outdated.join(", ")))
        .help("run `make openapi` and commit what it writes"))
}

fn generate() -> Result<Vec<Generated>, Failure> {
    let json = |value: &serde_json::Value| format!("{value:#}");
    let openapi = portway_api::openapi_json()
        .map_err(|error| Failure::failed("openapi.json cannot be written").because(&error))?;
    let openapi: serde_json::Value = serde_json::from_str(&openapi)
        .map_err(|error| Failure::failed("openapi.json is not JSON").because(&error))?;
    let files = [
        ("openapi.json", json(&openapi)),
        ("docs/schema/site.json", json(&portway_sitefile::json_schema())),
        ("docs/schema/nodes.json", json(&portway_sitefile::nodes_json_schema())),
        ("docs/engines.md", portway_engine::engines_markdown()),
        ("docs/reference/site-file.md", portway_sitefile::reference_markdown()),
        ("docs/reference/nodes.md", portway_sitefile::nodes_reference_markdown()),
        ("docs/reference/cli.md", cli_reference::markdown()),
        ("docs/reference/metrics.md", metrics_reference::markdown()),
    ];
    Ok(files.map(|(path, content)| Generated { path, content: with_end(&content) }).into())
}

fn with_end(content: &str) -> String {
    format!("{}\n", content.trim_end())
}

fn is_current(path: &Utf8Path, content: &str) -> Result<bool, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes == content.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::failed(format!("cannot read {path}")).because(&error)),
    }
}

fn write(path: &Utf8PathBuf, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_the_same_every_time() {
        let contents = || generate().unwrap().into_iter().map(|file| file.content);
        assert!(contents().eq(contents()));
        assert!(contents().all(|content| content.ends_with('\n') && !content.ends_with("\n\n")));
    }
}
