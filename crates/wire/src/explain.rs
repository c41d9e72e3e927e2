//! Why a request was answered as it was, or would be.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Where a request is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ExplainQuery {
    /// The site to which it went, by id or name; all that the caller sees when it is missing. With it, the
    /// logs on the site's nodes are looked through as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// A request that is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TryOut {
    /// Whose it would be: an address.
    #[schema(value_type = String, format = Ipv4)]
    pub from: IpAddr,
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// Scheme, host, path and query.
    pub url: String,
    /// Its headers.
    #[serde(default)]
    pub headers: Vec<HeaderOf>,
    /// The node that is asked, by id or name; the edge of the manager when it is missing. A node is sent
    /// the request, where its method is `GET`, so this is for administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderOf {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

fn get() -> String {
    "GET".to_owned()
}

/// The way of a request through the edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The id; of a request that was not sent, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<Timestamp>,
    /// The node that answered it, or would; nothing for the edge of the manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The site; nothing where none answers to the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The match of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The stage that answered, or would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The stable name of what went wrong, or would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The status of the answer, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What happened, or would, in its order.
    pub steps: Vec<ExplainedStep>,
    /// The record of the access log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub access: Option<Value>,
    /// The records of the error log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<Value>,
}

/// A step of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedStep {
    /// The stage to which it belongs.
    pub stage: String,
    /// What happened, in words.
    pub text: String,
    /// How long it took, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
}
