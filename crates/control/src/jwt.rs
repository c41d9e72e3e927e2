//! Access tokens of logins: JWT (RFC 7519) with HS256, bound to a session that can be ended.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use portway_model::{Id, User};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long an access token holds, in seconds.
pub(crate) const LIFETIME: i64 = 3600;
const ISSUER: &str = "portway";

/// Makes and reads access tokens.
pub(crate) struct JwtKeys {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    sub: Id<User>,
    sid: Uuid,
    iat: i64,
    exp: i64,
}

/// The token could not be signed.
#[derive(Debug, thiserror::Error)]
#[error("the access token could not be signed")]
pub(crate) struct JwtError(#[from] jsonwebtoken::errors::Error);

impl JwtKeys {
    /// Returns the keys of this secret.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }

    /// Signs a token for a session.
    pub(crate) fn sign(
        &self,
        user: Id<User>,
        session: Uuid,
        now: Timestamp,
    ) -> Result<String, JwtError> {
        let iat = now.as_second();
        let claims =
            Claims { iss: ISSUER.to_owned(), sub: user, sid: session, iat, exp: iat + LIFETIME };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?)
    }

    /// Returns the session of a token that is genuine and has not ended.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Option<Uuid> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // The library reads the machine's clock; ours is an argument.
        validation.validate_exp = false;
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?.claims;
        (now.as_second() < claims.exp).then_some(claims.sid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_holds_for_an_hour_and_for_its_keys_alone() {
        let keys = JwtKeys::new(&[7; 32]);
        let session = Uuid::from_u128(5);
        let token = keys.sign(Id::from_uuid(Uuid::from_u128(1)), session, at(1000)).unwrap();
        assert_eq!(keys.read(&token, at(1000)), Some(session));
        assert_eq!(keys.read(&token, at(1000 + LIFETIME)), None);
        assert_eq!(JwtKeys::new(&[8; 32]).read(&token, at(1000)), None);
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let keys = JwtKeys::new(&[7; 32]);
        let token = keys.sign(Id::from_uuid(Uuid::from_u128(1)), Uuid::nil(), at(1000)).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        // {"alg":"none","typ":"JWT"}
        let forged = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
        assert_eq!(keys.read(&forged, at(1000)), None);
    }
}
