//! Logging in, in each of the ways that were given.

use portway_secrets::Redacted;
use russh::{
    AgentAuthError, MethodKind, MethodSet,
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse},
    keys::{
        Algorithm, HashAlg, PrivateKeyWithHashAlg,
        agent::{AgentIdentity, client::AgentClient},
    },
};
use tokio::net::UnixStream;

use super::{
    connect::Session,
    handler::Client,
    hop::{Credential, Hop},
    key::PrivateKey,
};
use crate::TransportError;

/// How many keys of an agent are tried: servers hang up after six attempts of any kind.
const MAX_AGENT_KEYS: usize = 5;
/// How many questions of a server are answered with the password.
const MAX_QUESTIONS: usize = 5;

/// Logs in, or says what was tried.
pub(super) async fn log_in(session: &mut Session, hop: &Hop) -> Result<(), TransportError> {
    let mut attempt = Attempt {
        user: hop.user.as_str().to_owned(),
        address: hop.address.to_string(),
        tried: Vec::new(),
        takes: None,
    };
    for credential in &hop.credentials {
        let done = match credential {
            Credential::Key(key) => attempt.by_key(session, key).await?,
            Credential::Agent(socket) => attempt.by_agent(session, socket.as_str()).await?,
            Credential::Password(password) => attempt.by_password(session, password).await?,
        };
        if done {
            return Ok(());
        }
    }
    Err(attempt.refused())
}

struct Attempt {
    user: String,
    address: String,
    tried: Vec<String>,
    takes: Option<MethodSet>,
}

impl Attempt {
    async fn by_key(
        &mut self,
        session: &mut Session,
        key: &PrivateKey,
    ) -> Result<bool, TransportError> {
        self.tried.push(format!("the key {}", key.fingerprint()));
        let inner = key.inner();
        let hash = self.hash_for(session, &inner.algorithm()).await?;
        let signing = PrivateKeyWithHashAlg::new(std::sync::Arc::clone(inner), hash);
        let result = session.handle.authenticate_publickey(&self.user, signing).await;
        self.judge(session, result)
    }

    async fn by_agent(
        &mut self,
        session: &mut Session,
        socket: &str,
    ) -> Result<bool, TransportError> {
        let failed = |reason: String| TransportError::Agent { socket: socket.to_owned(), reason };
        let stream =
            UnixStream::connect(socket).await.map_err(|error| failed(error.to_string()))?;
        let mut agent = AgentClient::connect(stream);
        let keys = agent.request_identities().await.map_err(|error| failed(error.to_string()))?;
        if keys.is_empty() {
            return Err(failed("it holds no keys".to_owned()));
        }
        for key in keys.into_iter().take(MAX_AGENT_KEYS) {
            let public = key.public_key().into_owned();
            let fingerprint = public.fingerprint(HashAlg::Sha256);
            self.tried.push(format!("the agent's key {fingerprint}"));
            let hash = self.hash_for(session, &public.algorithm()).await?;
            let (handle, user) = (&mut session.handle, &self.user);
            let result = match key {
                AgentIdentity::PublicKey { key, .. } => {
                    handle.authenticate_publickey_with(user, key, hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle.authenticate_certificate_with(user, certificate, hash, &mut agent).await
                }
            };
            let done = match result {
                Ok(result) => self.judge(session, Ok(result))?,
                Err(AgentAuthError::Send(_)) => {
                    self.judge(session, Err(russh::Error::SendError))?
                }
                // It may have been removed, or its owner said no; the next one may do.
                Err(AgentAuthError::Key(error)) => {
                    self.tried.push(format!("(which the agent does not use: {error})"));
                    false
                }
            };
            if done {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends the password only to a server that takes passwords.
    async fn by_password(
        &mut self,
        session: &mut Session,
        password: &Redacted<String>,
    ) -> Result<bool, TransportError> {
        if self.takes.is_none() {
            let result = session.handle.authenticate_none(&self.user).await;
            if self.judge(session, result)? {
                return Ok(true);
            }
        }
        self.tried.push("the password".to_owned());
        if self.takes(MethodKind::Password) {
            let password = password.expose().clone();
            let result = session.handle.authenticate_password(&self.user, password).await;
            if self.judge(session, result)? {
                return Ok(true);
            }
        }
        if self.takes(MethodKind::KeyboardInteractive) {
            return self.by_dialogue(session, password).await;
        }
        Ok(false)
    }

    /// Answers every question that is not to be seen with the password. Other questions are not
    /// about it, and get no answer.
    async fn by_dialogue(
        &mut self,
        session: &mut Session,
        password: &Redacted<String>,
    ) -> Result<bool, TransportError> {
        let handle = &mut session.handle;
        let mut answer = handle.authenticate_keyboard_interactive_start(&self.user, None).await;
        for _ in 0..MAX_QUESTIONS {
            let prompts = match answer {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(true),
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                }) => {
                    let result = AuthResult::Failure { remaining_methods, partial_success };
                    return self.judge(session, Ok(result));
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => prompts,
                Err(error) => return self.judge(session, Err(error)),
            };
            let of_prompt = |echo| if echo { String::new() } else { password.expose().clone() };
            let answers = prompts.iter().map(|prompt| of_prompt(prompt.echo)).collect();
            answer = session.handle.authenticate_keyboard_interactive_respond(answers).await;
        }
        Ok(matches!(answer, Ok(KeyboardInteractiveAuthResponse::Success)))
    }

    fn takes(&self, kind: MethodKind) -> bool {
        self.takes.as_ref().is_some_and(|takes| takes.contains(&kind))
    }

    /// RSA keys sign with SHA-2, in the way that the server says it takes.
    async fn hash_for(
        &self,
        session: &Session,
        algorithm: &Algorithm,
    ) -> Result<Option<HashAlg>, TransportError> {
        if !algorithm.clone().is_rsa() {
            return Ok(None);
        }
        let best = best_hash(&session.handle).await;
        let best = best.map_err(|error| self.lost(session, error.to_string()))?;
        Ok(best.or(Some(HashAlg::Sha256)))
    }

    /// A connection that ended looks to the library like a refusal.
    fn judge(
        &mut self,
        session: &Session,
        result: Result<AuthResult, russh::Error>,
    ) -> Result<bool, TransportError> {
        match result {
            Ok(AuthResult::Success) => Ok(true),
            Ok(AuthResult::Failure { .. }) if session.handle.is_closed() => {
                Err(self.lost(session, "it hung up".to_owned()))
            }
            Ok(AuthResult::Failure { remaining_methods, .. }) => {
                self.takes = Some(remaining_methods);
                Ok(false)
            }
            Err(error) => Err(self.lost(session, error.to_string())),
        }
    }

    /// A server that has seen enough attempts says so and hangs up.
    fn lost(&self, session: &Session, otherwise: String) -> TransportError {
        let reason = session.ending.get().cloned().unwrap_or(otherwise);
        if reason.contains("authentication failures") {
            return self.refused();
        }
        let what = "logging in".to_owned();
        TransportError::Lost { address: self.address.clone(), what, reason }
    }

    fn refused(&self) -> TransportError {
        let names = self.takes.iter().flat_map(|takes| takes.iter());
        TransportError::LoginRefused {
            address: self.address.clone(),
            user: self.user.clone(),
            tried: self.tried.clone(),
            takes: names.map(String::from).collect(),
        }
    }
}

async fn best_hash(handle: &Handle<Client>) -> Result<Option<HashAlg>, russh::Error> {
    Ok(handle.best_supported_rsa_hash().await?.flatten())
}
