//! Who stands at the other end of a connection.

use std::net::SocketAddr;

use tracing::warn;

/// The other end of a connection; [`crate::serve()`] puts it into the extensions of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A program that came over TCP.
    Tcp(SocketAddr),
    /// A program on this machine that came over the local socket, as the kernel knows it.
    Unix {
        /// Its user.
        uid: u32,
        /// Its groups.
        gids: Vec<u32>,
    },
}

/// Returns the groups of a process: the one that the kernel reports, and those that list its user.
///
/// The kernel reports one group of a peer. The others are looked up by user and not by process: a
/// process can end, and its number be taken by another, before anyone looks. Groups that stand in
/// another directory than `/etc/group` are not seen.
pub(crate) async fn groups_of(uid: u32, gid: u32) -> Vec<u32> {
    let passwd = read("/etc/passwd").await;
    let groups = read("/etc/group").await;
    let listed = login_of(&passwd, uid).map(|login| groups_listing(&groups, login));
    std::iter::once(gid).chain(listed.into_iter().flatten()).collect()
}

async fn read(path: &str) -> String {
    tokio::fs::read_to_string(path).await.unwrap_or_else(|error| {
        warn!(
            "cannot read {path}, so groups of callers on the local socket are not known: {error}"
        );
        String::new()
    })
}

/// Finds a user in the text of `/etc/passwd` (passwd(5)).
fn login_of(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    })
}

/// Finds the groups that list a user in the text of `/etc/group` (group(5)).
fn groups_listing<'a>(groups: &'a str, login: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups.lines().filter_map(move |line| {
        let mut fields = line.split(':').skip(2);
        let (number, members) = (fields.next()?, fields.next()?);
        members.split(',').any(|member| member == login).then(|| number.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n#:\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(login_of(passwd, 0), Some("root"));
        assert_eq!(login_of(passwd, 1000), Some("ann"));
        assert_eq!(login_of(passwd, 7), None);
        assert_eq!(login_of(":x:5:5::/:/bin/sh", 5), None);
    }

    #[test]
    fn the_groups_of_a_login_are_those_that_list_it() {
        let groups = "root:x:0:\nportway:x:990:bob,ann\nannex:x:991:anna\nodd\nwheel:x:10:ann\n";
        assert_eq!(groups_listing(groups, "ann").collect::<Vec<_>>(), [990, 10]);
        assert_eq!(groups_listing(groups, "bo").count(), 0);
    }
}
