//! Overlays: a later document changes an earlier one as RFC 7396 has it: mappings merge, everything
//! else replaces, `null` removes.
//!
//! One difference: a `null` that removes nothing stays and is reported when the site is read. An
//! `access:` whose rules were forgotten would otherwise leave a site open.

use crate::node::{Map, Node, Value};

/// Applies a later document to an earlier one.
pub(crate) fn merge(base: &mut Node, overlay: Node) {
    let Node { pos, value } = overlay;
    match (&mut base.value, value) {
        (Value::Map(base), Value::Map(overlay)) => merge_maps(base, overlay),
        (_, value) => *base = Node { pos, value },
    }
}

/// Applies the fields of a later mapping to an earlier one.
pub(crate) fn merge_maps(base: &mut Map, overlay: Map) {
    for (key, entry) in overlay {
        match base.get_mut(&key) {
            Some(_) if entry.node.is_null() => {
                base.shift_remove(&key);
            }
            Some(there) => merge(&mut there.node, entry.node),
            None => {
                base.insert(key, entry);
            }
        }
    }
}
