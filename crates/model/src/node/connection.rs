//! How a node is reached: on the manager's own machine, or over SSH.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{HostPort, Name};

/// How a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// It is on the machine of this manager; nothing until the manager who is told of it fills in
    /// its own name.
    Local(Option<Name>),
    /// Over SSH.
    Ssh(Box<Ssh>),
}

/// A node that is reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// The node itself.
    pub to: SshHop,
    /// What lies before it, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jump: Vec<SshHop>,
    /// Whether `sudo -n` is put before what only root may do.
    pub become_root: bool,
}

/// One SSH server on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshHop {
    /// Where it listens.
    pub address: HostPort,
    /// As whom to log in.
    pub user: SshUser,
    /// How to log in.
    pub login: Login,
    /// The keys that it may have. While there are none, nothing is sent to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<HostKeyPin>,
}

/// How to log in over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// With the manager's own key.
    Manager,
    /// With the keys of the agent that the manager was started with.
    Agent,
    /// With a private key.
    Key {
        /// The key, in OpenSSH's or PEM form.
        key: NodeSecret,
        /// What opens it, where it is sealed itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passphrase: Option<NodeSecret>,
    },
    /// With a password.
    Password(NodeSecret),
}

/// A secret of a node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeSecret {
    /// Itself, on its way to be sealed.
    Plain(String),
    /// A reference to what is sealed.
    Kept(String),
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Kept(reference) => f.debug_tuple("Kept").field(reference).finish(),
        }
    }
}

/// A login name of a node: 1 to 64 of letters, digits and `. _ - + @`, not beginning with `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshUser(String);

/// A text that is no login name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a login name: 1 to 64 letters, digits and `. _ - + @`, and no `-` in front")]
pub struct SshUserError(String);

/// The SHA-256 fingerprint of a host key as OpenSSH prints it: `SHA256:` and 43 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKeyPin(String);

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fingerprint: `SHA256:` and 43 letters, digits, `+` and `/`")]
pub struct HostKeyPinError(String);

impl Connection {
    /// Tells whether two connections lead to the same machine, as far as addresses tell.
    pub fn leads_where(&self, other: &Self) -> bool {
        let hops = |ssh: &Ssh| -> Vec<HostPort> {
            ssh.jump.iter().chain([&ssh.to]).map(|hop| hop.address.clone()).collect()
        };
        match (self, other) {
            (Self::Local(one), Self::Local(other)) => one == other,
            (Self::Ssh(one), Self::Ssh(other)) => hops(one) == hops(other),
            (Self::Local(_), Self::Ssh(_)) | (Self::Ssh(_), Self::Local(_)) => false,
        }
    }
}

impl SshUser {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether it is root, who needs no `sudo`.
    pub fn is_root(&self) -> bool {
        self.0 == "root"
    }
}

impl FromStr for SshUser {
    type Err = SshUserError;

    fn from_str(text: &str) -> Result<Self, SshUserError> {
        let is_char = |b: u8| b.is_ascii_alphanumeric() || b"._-+@".contains(&b);
        let sound = (1..=64).contains(&text.len()) && !text.starts_with('-');
        if sound && text.bytes().all(is_char) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SshUserError(text.to_owned()))
        }
    }
}

impl HostKeyPin {
    /// Returns the fingerprint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostKeyPin {
    type Err = HostKeyPinError;

    fn from_str(text: &str) -> Result<Self, HostKeyPinError> {
        let error = || HostKeyPinError(text.to_owned());
        let digest = text.trim().strip_prefix("SHA256:").ok_or_else(error)?;
        let digest = digest.strip_suffix('=').unwrap_or(digest);
        let is_char = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        // The last character holds the last four of 256 bits; its own last two are zero.
        let ends_well = digest.bytes().last().is_some_and(|b| b"AEIMQUYcgkosw048".contains(&b));
        if digest.len() == 43 && ends_well && digest.bytes().all(is_char) {
            Ok(Self(format!("SHA256:{digest}")))
        } else {
            Err(error())
        }
    }
}

macro_rules! text_conversions {
    ($($type:ty, $error:ty);*) => {$(
        impl TryFrom<String> for $type {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text_conversions!(SshUser, SshUserError; HostKeyPin, HostKeyPinError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_name_is_no_option_and_has_no_blanks() {
        for text in ["", "-o", "a b", "ä", "a;b", "a\n", &"a".repeat(65)] {
            assert!(text.parse::<SshUser>().is_err(), "{text:?}");
        }
        assert_eq!("deploy@corp".parse::<SshUser>().unwrap().as_str(), "deploy@corp");
    }

    #[test]
    fn a_fingerprint_is_read_as_openssh_prints_it() {
        let text = format!("SHA256:{}A", "a".repeat(42));
        assert_eq!(text.parse::<HostKeyPin>().unwrap().as_str(), text);
        assert_eq!(format!("{text}=").parse::<HostKeyPin>().unwrap().as_str(), text);
        for wrong in ["SHA256:", "MD5:aa:bb", text.trim_end_matches('A'), &format!("{text}A")] {
            assert!(wrong.parse::<HostKeyPin>().is_err(), "{wrong}");
        }
        assert!(format!("SHA256:{}B", "a".repeat(42)).parse::<HostKeyPin>().is_err());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let login = Login::Password(NodeSecret::Plain("hunter2".to_owned()));
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
