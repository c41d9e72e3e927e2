//! Hashes of passwords that the edge can check.

/// Tells whether a hash is one that the edge can check.
pub(crate) fn is_bcrypt(hash: &str) -> bool {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| hash.strip_prefix(prefix));
    let Some((cost, body)) = rest.and_then(|rest| rest.split_once('$')) else { return false };
    let is_cost = cost.len() == 2 && cost.parse().is_ok_and(|cost: u32| (4..=16).contains(&cost));
    is_cost
        && body.len() == 53
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'))
}
