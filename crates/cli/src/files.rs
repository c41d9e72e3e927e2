//! Reading site files: what is on the disk and on standard input, with the parameters given.

use std::io::{self, Read};

use camino::{Utf8Path, Utf8PathBuf};
use portway_sitefile::{Loaded, LocalFiles, Options, SourceText, load};

use crate::{
    args::FileArgs,
    exit::{Exit, Failure},
    findings::{self, Sources},
    out::Out,
};

/// The largest site file.
const LARGEST: u64 = 16 << 20;

/// Reads the site files that were named.
pub(crate) fn read(args: &FileArgs) -> Result<(Sources, Loaded), Failure> {
    let texts: Vec<SourceText> =
        args.files.iter().map(|path| source(path)).collect::<Result<_, _>>()?;
    let options = Options {
        set: args.set.iter().cloned().collect(),
        environment: args.env.clone(),
        variables: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
    };
    let loaded = load(&texts, &options, &LocalFiles);
    Ok((Sources::new(texts, &loaded), loaded))
}

/// Reads the site files that were named; with an error in them, shows all and fails.
pub(crate) fn read_sound(out: &Out, args: &FileArgs) -> Result<(Sources, Loaded), Failure> {
    let (sources, loaded) = read(args)?;
    if loaded.has_errors() {
        if out.is_json() {
            out.json(&serde_json::json!({ "findings": loaded.findings }))?;
        } else {
            findings::show(out, &loaded.findings, &sources)?;
        }
        return Err(Failure::new(Exit::Findings, "the site files have errors; nothing was sent"));
    }
    Ok((sources, loaded))
}

/// Reads a text as a site file.
pub(crate) fn load_text(name: &str, text: &str) -> (Sources, Loaded) {
    let folder = Utf8PathBuf::from("/");
    let texts = vec![SourceText { name: name.to_owned(), folder, text: text.to_owned() }];
    let loaded = load(&texts, &Options::default(), &LocalFiles);
    (Sources::new(texts, &loaded), loaded)
}

/// Returns the name under which files are applied, where none was given: the place of the first
/// one, so that two files of the same name never prune each other's sites.
pub(crate) fn source_name(args: &FileArgs) -> Result<String, Failure> {
    match args.files.first() {
        Some(path) if path != "-" => Ok(absolute(path)?.into_string()),
        Some(_) | None => Ok("standard input".to_owned()),
    }
}

fn source(path: &Utf8Path) -> Result<SourceText, Failure> {
    if path == "-" {
        let text = text(io::stdin().lock()).map_err(|error| unreadable(path, &error))?;
        return Ok(SourceText { name: "<stdin>".to_owned(), folder: absolute(".".into())?, text });
    }
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let text = text(file).map_err(|error| unreadable(path, &error))?;
    let folder = absolute(path.parent().unwrap_or(".".into()))?;
    Ok(SourceText { name: path.to_string(), folder, text })
}

fn text(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    reader.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 16 MiB"));
    }
    Ok(text)
}

fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    camino::absolute_utf8(if path.as_str().is_empty() { ".".into() } else { path })
        .map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Utf8Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot read {path}")).because(error)
}
