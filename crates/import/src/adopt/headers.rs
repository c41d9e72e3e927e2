//! Headers that somebody set, added or took away by hand.

use portway_model::{
    Step,
    site::spec::{HeaderEditsSpec, HeadersSpec},
};

use super::{
    edit::{Editing, Place, changed, plain},
    tree::Difference,
};

/// A header of the answer.
pub(super) fn answer(
    editing: &mut Editing<'_>,
    difference: &Difference<'_>,
    place: Place,
) -> Result<(), String> {
    let was_set = difference.before.and_then(|before| before.field.as_ref()).is_some_and(
        |field| matches!(field.steps(), [.., Step::Key(how), Step::Key(_)] if how == "set"),
    );
    let edits = response(editing, place)?;
    if let Some(before) = difference.before {
        if was_set && difference.after.is_none() {
            return Err("the site sets this header, and would hide the upstream's".to_owned());
        }
        edits.add.remove(before.arg(0));
        edits.set.remove(before.arg(0));
    }
    let Some(after) = difference.after else { return Ok(()) };
    if after.arg(2) != "always" {
        return Err("a site adds headers to every answer: write `always` behind it".to_owned());
    }
    let (name, value) = (after.arg(0).to_owned(), plain(after.arg(1))?);
    if was_set {
        edits.set.insert(name, value);
    } else {
        edits.add.insert(name, value);
    }
    Ok(())
}

/// A header of what the upstream is sent.
pub(super) fn request(
    editing: &mut Editing<'_>,
    difference: &Difference<'_>,
    place: Place,
) -> Result<(), String> {
    let after = changed(difference)?;
    let (name, value) = (after.arg(0).to_owned(), plain(after.arg(1))?);
    let headers = headers(editing, place)?;
    let edits = headers.request.get_or_insert_default();
    edits.add.remove(&name);
    edits.remove.retain(|removed| *removed != name);
    if value.is_empty() {
        edits.set.remove(&name);
        edits.remove.push(name);
    } else {
        edits.set.insert(name, value);
    }
    Ok(())
}

/// A header of the upstream's that clients do not see.
pub(super) fn hidden(
    editing: &mut Editing<'_>,
    difference: &Difference<'_>,
    place: Place,
) -> Result<(), String> {
    let after = changed(difference)?;
    if difference.before.is_some() {
        return Err("hide it in a line of its own".to_owned());
    }
    let name = after.arg(0).to_owned();
    let edits = response(editing, place)?;
    if !edits.remove.contains(&name) {
        edits.remove.push(name);
    }
    Ok(())
}

fn response<'e>(
    editing: &'e mut Editing<'_>,
    place: Place,
) -> Result<&'e mut HeaderEditsSpec, String> {
    Ok(headers(editing, place)?.response.get_or_insert_default())
}

fn headers<'e>(editing: &'e mut Editing<'_>, place: Place) -> Result<&'e mut HeadersSpec, String> {
    let headers = editing.own(place.route, |site| &mut site.headers, |route| &mut route.headers)?;
    Ok(headers.get_or_insert_default())
}
