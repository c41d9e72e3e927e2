//! A site that is being worked on.

use portway_model::{FieldPath, site::Maintenance};

use super::{
    names::Draft,
    syntax::{Directive, line},
    value::literal,
};

/// Where requests are led. No request comes here by itself: a backslash in a path is refused before.
const PLACE: &str = "/portway\\maintenance";

/// Returns what leads everybody to the message who is not let through, and the location that tells it.
pub(super) fn of(draft: &mut Draft<'_>) -> Vec<Directive> {
    let Some(maintenance) = &draft.site.maintenance else { return Vec::new() };
    let Maintenance { message, retry_after, allow } = maintenance;
    let at = FieldPath::root().key("maintenance");
    let guest = format!("${}", draft.name("guest"));
    let is_made = draft.beside.iter().any(|directive| directive.args().contains(&guest));
    if !is_made {
        let mut block = vec![line!("default", "1")];
        block.extend(allow.iter().map(|network| line!(network, "0")));
        draft.beside.push(line!("geo", guest).with(block).from_field(&at.key("allow")));
    }
    let mut told = vec![
        line!("internal"),
        line!("types").with(Vec::new()),
        line!("default_type", "text/plain; charset=utf-8"),
    ];
    if let Some(time) = retry_after {
        told.push(line!("add_header", "Retry-After", time.0, "always"));
    }
    told.push(line!("return", "503", literal(message)));
    vec![
        line!("if", "(", guest, ")")
            .with(vec![line!("rewrite", "^", PLACE, "last")])
            .from_field(&at),
        line!("location", "=", PLACE).with(told).from_field(&at),
    ]
}
