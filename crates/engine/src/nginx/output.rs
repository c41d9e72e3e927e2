//! Reads what nginx says of a configuration that it tested.

use camino::Utf8Path;
use portway_model::{
    FieldPath, Finding, FindingCode, Location, ResourceKind, ResourceRef, Severity, SourcePos,
};

use crate::Release;

/// Returns a finding for each line that says what is wrong. Where it names a file of a site, the finding
/// is about the field that the line was made from.
pub(super) fn read(output: &str, release: &Release) -> Vec<Finding> {
    output.lines().filter_map(|text| finding(text, release)).collect()
}

fn finding(text: &str, release: &Release) -> Option<Finding> {
    let levels = [
        ("[emerg] ", Severity::Error),
        ("[alert] ", Severity::Error),
        ("[crit] ", Severity::Error),
        ("[error] ", Severity::Error),
        ("[warn] ", Severity::Warning),
    ];
    let (severity, said) = levels.into_iter().find_map(|(mark, severity)| {
        text.split_once(mark).map(|(_, said)| (severity, without_process(said)))
    })?;
    let place = said.rsplit_once(" in ").and_then(|(said, place)| {
        let (file, line) = place.trim().rsplit_once(':')?;
        Some((said, file, line.parse().ok()?))
    });
    let (at, said) = match place {
        Some((before, file, line)) => match of_site(file, line, release) {
            Some(at) => (at, before),
            None => {
                let position = SourcePos { file: file.to_owned(), line, column: 1 };
                (Location::Source(position), before)
            }
        },
        None => (named_file(said, release).unwrap_or(Location::Installation), said),
    };
    let text = format!("nginx refuses this: {said}");
    Some(Finding { code: FindingCode::Unsupported, severity, at, text, remedy: None })
}

/// nginx names its process in front once it logs to a file: `123#123: `.
fn without_process(said: &str) -> &str {
    let is_process = |mark: &str| mark.bytes().all(|byte| byte.is_ascii_digit() || byte == b'#');
    match said.split_once(": ") {
        Some((mark, rest)) if is_process(mark) => rest,
        Some(_) | None => said,
    }
}

fn of_site(file: &str, line: usize, release: &Release) -> Option<Location> {
    let (site, object) = release.site_of(Utf8Path::new(file))?;
    let path = object.field(line).cloned().unwrap_or_default();
    Some(field(site.name.as_str(), path))
}

/// A certificate that cannot be read is named without a place.
fn named_file(said: &str, release: &Release) -> Option<Location> {
    let file = said.split('"').skip(1).step_by(2).find_map(|quoted| {
        release.site_of(Utf8Path::new(quoted)).map(|(site, _)| site.name.as_str())
    })?;
    Some(field(file, FieldPath::root()))
}

fn field(site: &str, path: FieldPath) -> Location {
    let resource = ResourceRef { kind: ResourceKind::Site, name: site.to_owned() };
    Location::Field { resource, path, source: None }
}
