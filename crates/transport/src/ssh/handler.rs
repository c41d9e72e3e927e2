//! What a server may ask of us: to be recognised, and nothing else.

use std::sync::{Arc, OnceLock};

use portway_model::node::HostKeyPin;
use russh::{
    Channel,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::{HashAlg, PublicKeyOrCertificate},
};

use crate::HostKey;

/// How a connection ended, once it has.
pub(super) type Ending = Arc<OnceLock<String>>;

/// Our side of one connection.
pub(super) struct Client {
    pins: Vec<HostKeyPin>,
    ending: Ending,
}

/// Why a connection did not come about, or ended.
#[derive(Debug)]
pub(super) enum Refused {
    /// The server's key is none of those that were confirmed.
    Key(Box<HostKey>),
    /// The protocol, or the network below it, failed.
    Protocol(russh::Error),
}

impl From<russh::Error> for Refused {
    fn from(error: russh::Error) -> Self {
        Self::Protocol(error)
    }
}

impl Client {
    pub(super) const fn new(pins: Vec<HostKeyPin>, ending: Ending) -> Self {
        Self { pins, ending }
    }
}

impl Handler for Client {
    type Error = Refused;

    /// Ends the connection before anything of ours is sent, unless the key was confirmed. Asked for
    /// each time keys are agreed on.
    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Refused> {
        let offered = host_key(key)?;
        if self.pins.contains(offered.fingerprint()) {
            return Ok(true);
        }
        Err(Refused::Key(Box::new(offered)))
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Refused>) -> Result<(), Refused> {
        match reason {
            DisconnectReason::ReceivedDisconnect(farewell) => {
                let text = farewell.message.chars().filter(|c| !c.is_control()).take(200);
                keep(&self.ending, format!("it said `{}`", text.collect::<String>()));
                Ok(())
            }
            DisconnectReason::Error(error) => {
                keep(&self.ending, reason_of(&error));
                Err(error)
            }
        }
    }

    // A server has no business opening channels towards us: what is neither accepted nor kept is
    // refused.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refused> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refused> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refused> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refused> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refused> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refused> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refused> {
        Ok(())
    }
}

/// Returns the key that a server offers, as it is shown and pinned.
fn host_key(key: &PublicKeyOrCertificate) -> Result<HostKey, Refused> {
    let key = key.public_key();
    let line = key.to_openssh().map_err(russh::Error::from)?;
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string().parse();
    let fingerprint = fingerprint.map_err(|_| russh::Error::UnknownKey)?;
    let algorithm = key.key_data().algorithm().as_str().to_owned();
    Ok(HostKey::new(algorithm, line, fingerprint))
}

/// Returns how a connection ended, for a message.
pub(super) fn reason_of(error: &Refused) -> String {
    match error {
        Refused::Key(offered) => format!("it changed its host key to {offered}"),
        Refused::Protocol(russh::Error::KeepaliveTimeout) => {
            "it does not answer any more".to_owned()
        }
        Refused::Protocol(russh::Error::HUP | russh::Error::Disconnect) => "it hung up".to_owned(),
        Refused::Protocol(error) => error.to_string(),
    }
}

/// The first reason is the true one.
fn keep(ending: &Ending, reason: String) {
    if let Err(later) = ending.set(reason) {
        tracing::debug!("the connection had ended before: {later}");
    }
}
