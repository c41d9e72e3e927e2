//! The operations by which machines make themselves nodes.

use http::Method;
use uuid::Uuid;

use super::{Client, error::ClientError};
use crate::{
    Page, PageQuery,
    join::{CreatedJoinToken, JoinTokenView, NewJoinToken},
};

type Answer<T> = Result<T, ClientError>;

const TOKENS: &str = "/api/v1/join-tokens";

impl Client {
    /// Lists the tokens by which machines join.
    pub async fn join_tokens(&self, query: &PageQuery) -> Answer<Page<JoinTokenView>> {
        self.query(TOKENS, query).await
    }

    /// Makes a token by which a machine joins.
    pub async fn create_join_token(&self, new: &NewJoinToken) -> Answer<CreatedJoinToken> {
        self.post(TOKENS, new).await
    }

    /// Ends a token by which a machine joins.
    pub async fn revoke_join_token(&self, id: Uuid) -> Answer<()> {
        self.send::<()>(Method::DELETE, &format!("{TOKENS}/{id}"), None).await
    }
}
