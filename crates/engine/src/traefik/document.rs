//! What a site, or a node, adds to the dynamic configuration.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Parts of a dynamic configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    /// Routers by name.
    pub(super) routers: Map<String, Value>,
    /// Middlewares by name.
    pub(super) middlewares: Map<String, Value>,
    /// Services by name.
    pub(super) services: Map<String, Value>,
    /// How servers are spoken to, by name.
    pub(super) transports: Map<String, Value>,
    /// Files of certificates and keys.
    pub(super) certificates: Vec<Value>,
    /// What is offered in handshakes, by name.
    pub(super) tls_options: Map<String, Value>,
}

impl Document {
    /// Adds the parts of another one. Names are those of sites, so they differ.
    pub(super) fn extend(&mut self, other: Self) {
        let Self { routers, middlewares, services, transports, certificates, tls_options } = other;
        self.routers.extend(routers);
        self.middlewares.extend(middlewares);
        self.services.extend(services);
        self.transports.extend(transports);
        for certificate in certificates {
            if !self.certificates.contains(&certificate) {
                self.certificates.push(certificate);
            }
        }
        self.tls_options.extend(tls_options);
    }

    /// Returns the whole as Traefik has it. What is empty is left out, as Traefik wants it.
    pub(super) fn whole(self) -> Map<String, Value> {
        let Self { routers, middlewares, services, transports, certificates, tls_options } = self;
        let http = without_empty(json!({"routers": routers, "middlewares": middlewares,
            "services": services, "serversTransports": transports}));
        let tls = without_empty(json!({"certificates": certificates, "options": tls_options}));
        match without_empty(json!({"http": http, "tls": tls})) {
            Value::Object(whole) => whole,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        }
    }
}

fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    let Value::Object(map) = value else { return value };
    Value::Object(map.into_iter().filter(|(_, value)| !is_empty(value)).collect())
}

/// Adds a field to an object.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = object {
        map.insert(key.to_owned(), value);
    }
}
