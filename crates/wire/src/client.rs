//! The typed client of the REST API, over HTTP/1.1 on a unix socket, TCP or TLS.
//!
//! One connection carries one request: commands are short, and a connection that is never kept can
//! never be stale. The client follows no redirects, retries nothing, and never sends a token in
//! clear text beyond this machine.

mod connection;
mod error;
mod events;
mod join;
mod manage;
mod operations;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use self::connection::{Connection, Connector};
pub use self::{
    error::ClientError,
    events::{EventStream, LogStream},
};

/// The most bytes that an answer may have: an export of 100,000 sites fits.
const MAX_ANSWER: usize = 512 << 20;

/// Where a manager is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The local socket of a manager on this machine.
    Unix(PathBuf),
    /// The address of a manager: `https://host[:port]`, or `http://` on this machine.
    Http(Uri),
}

/// How a [`Client`] is made.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where the manager is.
    pub endpoint: Endpoint,
    /// A JWT or an API token.
    pub token: Option<String>,
    /// Authorities in PEM that are trusted beside the machine's.
    pub ca_pem: Option<Vec<u8>>,
    /// The program that calls, as `User-Agent`.
    pub user_agent: String,
    /// How long to wait for what.
    pub deadlines: Deadlines,
}

/// How long a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// From the request to the end of the answer. A stream that is followed has no end.
    pub answer: Duration,
}

/// A client of one manager.
#[derive(Clone)]
pub struct Client {
    connector: Arc<Connector>,
    authorization: Option<HeaderValue>,
    user_agent: HeaderValue,
    deadlines: Deadlines,
}

/// The version of a thing that a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever is there.
    Any,
    /// The version of this revision.
    Revision(i64),
}

/// A request under construction.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Option<Bytes>,
    headers: HeaderMap,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(90) }
    }
}

impl ClientConfig {
    /// Returns the configuration of a client without a token.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            token: None,
            ca_pem: None,
            user_agent: concat!("portway/", env!("CARGO_PKG_VERSION")).to_owned(),
            deadlines: Deadlines::default(),
        }
    }
}

impl Client {
    /// Returns a client. Nothing is sent yet.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let authorization = config.token.map(|token| bearer(&token)).transpose()?;
        let user_agent = HeaderValue::from_str(&config.user_agent)
            .map_err(|_| ClientError::Header { name: "User-Agent" })?;
        let connector = Connector::new(config.endpoint, config.ca_pem.as_deref())?;
        let deadlines = config.deadlines;
        Ok(Self { connector: Arc::new(connector), authorization, user_agent, deadlines })
    }

    /// Returns where the manager is, for people.
    pub fn endpoint(&self) -> String {
        self.connector.describe()
    }

    /// Returns the same client with another token.
    pub fn with_token(&self, token: &str) -> Result<Self, ClientError> {
        Ok(Self { authorization: Some(bearer(token)?), ..self.clone() })
    }

    /// Fetches JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Call::new(Method::GET, path)).await
    }

    /// Fetches JSON that a query describes.
    pub async fn query<Q: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Q,
    ) -> Result<T, ClientError> {
        self.json(Call::new(Method::GET, &with_query(path, query)?)).await
    }

    /// Sends JSON and returns the JSON of the answer.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.json(Call::new(Method::POST, path).body(body)?).await
    }

    /// Sends JSON under a key by which a repetition is recognised.
    pub async fn post_once<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        key: Uuid,
    ) -> Result<T, ClientError> {
        let key = key.simple().to_string();
        self.json(Call::new(Method::POST, path).body(body)?.header("idempotency-key", &key)?).await
    }

    /// Sends JSON where the answer is empty.
    pub async fn send<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(), ClientError> {
        let call = Call::new(method, path);
        let call = match body {
            Some(body) => call.body(body)?,
            None => call,
        };
        self.bytes(call).await.map(drop)
    }

    /// Replaces a thing.
    pub async fn put<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        expected: IfMatch,
    ) -> Result<T, ClientError> {
        self.json(Call::new(Method::PUT, path).body(body)?.if_match(expected)?).await
    }

    /// Changes parts of a thing.
    pub async fn patch<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.json(Call::new(Method::PATCH, path).body(body)?).await
    }

    /// Removes a thing.
    pub async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        expected: IfMatch,
    ) -> Result<T, ClientError> {
        self.json(Call::new(Method::DELETE, path).if_match(expected)?).await
    }

    /// Fetches something that is not JSON.
    pub async fn text(&self, path: &str, accept: &'static str) -> Result<String, ClientError> {
        let call = Call::new(Method::GET, path).header(header::ACCEPT.as_str(), accept)?;
        let bytes = self.bytes(call).await?;
        String::from_utf8(bytes.into()).map_err(|_| ClientError::NotText { path: path.to_owned() })
    }

    async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, ClientError> {
        let path = call.path.to_owned();
        let bytes = self.bytes(call).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Decode { path, source })
    }

    async fn bytes(&self, call: Call<'_>) -> Result<Bytes, ClientError> {
        let connection = self.connect().await?;
        let exchange = async {
            let (status, body, _connection) = self.exchange(connection, call).await?;
            let bytes = read(body).await?;
            if status.is_success() { Ok(bytes) } else { Err(error::refused(status, &bytes)) }
        };
        let limit = self.deadlines.answer;
        tokio::time::timeout(limit, exchange).await.map_err(|_| ClientError::Slow {
            endpoint: self.endpoint(),
            seconds: limit.as_secs(),
        })?
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let unreachable = |source| ClientError::Unreachable { endpoint: self.endpoint(), source };
        let timed_out = |_| unreachable(std::io::ErrorKind::TimedOut.into());
        let connecting = self.connector.connect();
        tokio::time::timeout(self.deadlines.connect, connecting)
            .await
            .map_err(timed_out)?
            .map_err(unreachable)
    }

    /// Sends a request and returns the head of the answer. The connection lives as long as the
    /// last of the returned values.
    async fn exchange(
        &self,
        mut connection: Connection,
        call: Call<'_>,
    ) -> Result<(StatusCode, Incoming, Connection), ClientError> {
        let request = self.request(call)?;
        let broken = |source| ClientError::Broken { endpoint: self.endpoint(), source };
        let response = connection.send(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        Ok((head.status, body, connection))
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, ClientError> {
        let uri: Uri =
            call.path.parse().map_err(|_| ClientError::Path { path: call.path.to_owned() })?;
        let mut request = Request::new(Full::new(call.body.clone().unwrap_or_default()));
        *request.method_mut() = call.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.connector.host());
        headers.insert(header::USER_AGENT, self.user_agent.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if call.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        headers.extend(call.headers);
        Ok(request)
    }
}

impl<'a> Call<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, body: None, headers: HeaderMap::new() }
    }

    fn body<B: Serialize>(mut self, body: &B) -> Result<Self, ClientError> {
        let path = || self.path.to_owned();
        let bytes = serde_json::to_vec(body)
            .map_err(|source| ClientError::Encode { path: path(), source })?;
        self.body = Some(bytes.into());
        Ok(self)
    }

    fn header(mut self, name: &'static str, value: &str) -> Result<Self, ClientError> {
        let value = HeaderValue::from_str(value).map_err(|_| ClientError::Header { name })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    fn if_match(self, expected: IfMatch) -> Result<Self, ClientError> {
        let tag = match expected {
            IfMatch::Any => "*".to_owned(),
            IfMatch::Revision(number) => format!("\"{number}\""),
        };
        self.header(header::IF_MATCH.as_str(), &tag)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| ClientError::Header { name: "Authorization" })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(body: Incoming) -> Result<Bytes, ClientError> {
    match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(source) if source.is::<LengthLimitError>() => Err(ClientError::TooLong),
        Err(source) => Err(ClientError::Interrupted { source }),
    }
}

/// Returns `path` with the fields of `query` that have a value.
fn with_query<Q: Serialize>(path: &str, query: &Q) -> Result<String, ClientError> {
    let value = serde_json::to_value(query)
        .map_err(|source| ClientError::Encode { path: path.to_owned(), source })?;
    let fields = value.as_object().into_iter().flatten();
    let pairs: Vec<String> = fields.filter_map(|(name, value)| pair(name, value)).collect();
    Ok(if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) })
}

fn pair(name: &str, value: &serde_json::Value) -> Option<String> {
    let text = match value {
        serde_json::Value::Null => return None,
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => value.to_string(),
    };
    Some(format!("{}={}", escape(name), escape(&text)))
}

/// Writes a text so that it is one segment of a path or one part of a query (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(byte.into());
            }
            _ => escaped.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    escaped
}

fn hex(digit: u8) -> char {
    char::from_digit(digit.into(), 16).unwrap_or_default().to_ascii_uppercase()
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::LogQuery;

    #[test]
    fn a_query_has_only_what_is_set_and_is_escaped() {
        let query = LogQuery {
            since: Some("2026-01-01T00:00:00+02:00".to_owned()),
            status: Some("5xx".to_owned()),
            ..LogQuery::default()
        };
        assert_eq!(
            with_query("/x", &query).unwrap(),
            "/x?errors=false&since=2026-01-01T00%3A00%3A00%2B02%3A00&status=5xx&follow=false"
        );
        assert_eq!(with_query("/x", &crate::PageQuery::default()).unwrap(), "/x");
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(escape("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
        // Dots are unreserved; a client never normalises them, and the server knows no such name.
        assert_eq!(escape("app.example-1_~"), "app.example-1_~");
    }

    #[test]
    fn what_prints_a_client_prints_no_token() {
        let endpoint = Endpoint::Http(Uri::from_static("http://127.0.0.1:8900"));
        let config =
            ClientConfig { token: Some("pwt_secret".to_owned()), ..ClientConfig::new(endpoint) };
        assert!(!format!("{config:?}").contains("secret"));
        assert!(!format!("{:?}", Client::new(config).unwrap()).contains("secret"));
    }
}
