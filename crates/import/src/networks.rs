//! Rules of which the first that fits counts, as the two lists of a site say the same: who may, and
//! who may not in any case.

use ipnet::IpNet;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Everybody.
    All,
    /// A network.
    Net(IpNet),
    /// Nobody who comes over a network, as with the clients of a unix socket.
    Nobody,
}

/// A rule: whether it lets in whom it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) allows: bool,
    pub(crate) who: Who,
}

/// Who may, and who may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Who may; everybody where there is no list.
    pub(crate) allow: Option<Vec<IpNet>>,
    /// Who may not, also where `allow` has them.
    pub(crate) deny: Vec<IpNet>,
}

/// More pieces are of no use to anybody.
const MOST: usize = 1000;

impl Who {
    /// Reads an address, a network or `all`. A network may be written by any address in it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => return Some(Self::All),
            "unix:" => return Some(Self::Nobody),
            _ => {}
        }
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Some(Self::Net(IpNet::from(address.to_canonical())));
        }
        text.parse::<IpNet>().ok().map(|net| Self::Net(net.trunc()))
    }
}

/// Returns the lists that let in whom the rules let in, or nothing where there would be too many.
pub(crate) fn lists(rules: &[Rule]) -> Option<Lists> {
    let mut allowed: Vec<IpNet> = Vec::new();
    let mut deny: Vec<IpNet> = Vec::new();
    for rule in rules {
        match (rule.allows, rule.who) {
            (_, Who::Nobody) => {}
            (true, Who::All) => return Some(Lists { allow: None, deny }),
            (false, Who::All) => return Some(Lists { allow: Some(allowed), deny }),
            (true, Who::Net(net)) => push(&mut allowed, net),
            (false, Who::Net(net)) => {
                // Whom an earlier rule lets in is let in.
                let mut pieces = vec![net];
                for earlier in &allowed {
                    pieces =
                        pieces.into_iter().flat_map(|piece| without(piece, *earlier)).collect();
                    if pieces.len() > MOST {
                        return None;
                    }
                }
                for piece in pieces {
                    push(&mut deny, piece);
                }
            }
        }
        if allowed.len() > MOST || deny.len() > MOST {
            return None;
        }
    }
    Some(Lists { allow: None, deny })
}

/// Returns a network as one writes it; a single address without its length.
pub(crate) fn text(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn push(list: &mut Vec<IpNet>, net: IpNet) {
    if !list.contains(&net) {
        list.push(net);
    }
}

/// Returns the networks that are left of one without another.
fn without(net: IpNet, taken: IpNet) -> Vec<IpNet> {
    if taken.contains(&net) {
        return Vec::new();
    }
    if !net.contains(&taken) {
        return vec![net];
    }
    let Ok(halves) = net.subnets(net.prefix_len() + 1) else { return vec![net] };
    halves.flat_map(|half| without(half, taken)).collect()
}

/// Returns the networks that both lists hold.
pub(crate) fn both(left: &[IpNet], right: &[IpNet]) -> Vec<IpNet> {
    let mut found = Vec::new();
    for one in left {
        for other in right {
            if one.contains(other) {
                push(&mut found, *other);
            } else if other.contains(one) {
                push(&mut found, *one);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> Rule {
        let (word, who) = text.split_once(' ').unwrap();
        Rule { allows: word == "allow", who: Who::parse(who).unwrap() }
    }

    fn is_let_in(lists: &Lists, address: IpAddr) -> bool {
        let holds = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        !holds(&lists.deny) && lists.allow.as_deref().is_none_or(holds)
    }

    #[test]
    fn what_is_written_most_stays_as_it_is_written() {
        let lists =
            lists(&[rule("allow 10.0.0.0/8"), rule("allow ::1"), rule("deny all")]).unwrap();
        assert_eq!(lists.allow.unwrap().len(), 2);
        assert!(lists.deny.is_empty());
    }

    proptest! {
        #[test]
        fn the_lists_let_in_whom_the_first_rule_that_fits_lets_in(
            rules in prop::collection::vec((any::<bool>(), 0u32..5, 24u8..=32), 0..8),
            address in 0u32..5,
            last in 0u32..256,
        ) {
            let net = |(third, length): (u32, u8)| {
                let address = std::net::Ipv4Addr::from(0x0a00_0000 + (third << 7));
                IpNet::new(address.into(), length).unwrap().trunc()
            };
            let rules: Vec<Rule> = rules.into_iter().map(|(allows, third, length)| {
                let who = if third == 4 { Who::All } else { Who::Net(net((third, length))) };
                Rule { allows, who }
            }).collect();
            let address = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + (address << 7) + last));
            let first = rules.iter().find(|rule| match rule.who {
                Who::All => true,
                Who::Net(net) => net.contains(&address),
                Who::Nobody => false,
            });
            let expected = first.is_none_or(|rule| rule.allows);
            prop_assert_eq!(is_let_in(&lists(&rules).unwrap(), address), expected);
        }
    }
}
