//! A whole API in a folder of its own, and callers to use it.

use std::sync::Arc;

use axum::{Router, body::Body};
use camino::Utf8Path;
use http::{HeaderMap, Request, request::Builder};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use portway_api::{ApiSettings, ApiState, Console, Peer, router};
use portway_control::{
    Actor, Control, ControlConfig, Resource,
    actor::{Identity, Via},
};
use portway_model::{Bounds, Role};
use portway_wire::{
    Problem, ProblemCode,
    auth::Tokens,
    site::{NewSite, SiteView},
    user::NewUser,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const PASSWORD: &str = "seven quiet otters paddle home";
pub(crate) const EDGE_KEY: &str = "a key that only the edge of this test has";

/// An API with its control plane.
pub(crate) struct Bed {
    pub(crate) control: Control,
    pub(crate) state: ApiState,
    pub(crate) folder: tempfile::TempDir,
    router: Router,
}

/// A request under construction.
pub(crate) struct Call<'a> {
    bed: &'a Bed,
    request: Builder,
    peer: Peer,
    body: Body,
}

/// An answer that has been read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(Utf8Path::from_path(folder.path()).unwrap());
        let control = Control::open(config, Arc::new(Timestamp::now)).await.unwrap();
        let console = Console { host: "console.example".to_owned(), key: EDGE_KEY.to_owned() };
        let settings = ApiSettings { console: Some(console), https_port: 8443 };
        let state = ApiState::new(control.clone(), settings).unwrap();
        Self { router: router(state.clone()), control, state, folder }
    }

    /// Returns the API of another manager on the same database.
    pub(crate) async fn beside(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (own, new) = (self.folder.path(), folder.path());
        std::fs::copy(own.join("master.key"), new.join("master.key")).unwrap();
        let database = config(Utf8Path::from_path(own).unwrap()).database;
        let config = ControlConfig { database, ..config(Utf8Path::from_path(new).unwrap()) };
        let control = Control::open(config, Arc::new(Timestamp::now)).await.unwrap();
        let settings = ApiSettings { console: None, https_port: 8443 };
        let state = ApiState::new(control.clone(), settings).unwrap();
        Self { router: router(state.clone()), control, state, folder }
    }

    /// Begins a request from the loopback address.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            bed: self,
            request: Request::builder().method(method).uri(path).header("host", "localhost:8900"),
            peer: Peer::Tcp("127.0.0.1:40000".parse().unwrap()),
            body: Body::empty(),
        }
    }

    /// Begins a request that came through the edge; `x-real-ip` says from whom.
    pub(crate) fn through_the_edge(&self, method: &str, path: &str) -> Call<'_> {
        let call = self.call(method, path).host("console.example");
        call.header("x-portway-edge", EDGE_KEY).header("x-forwarded-proto", "https")
    }

    /// Makes a user with [`PASSWORD`].
    pub(crate) async fn user(&self, name: &str, role: Role, bounds: Bounds) {
        let root = root();
        let operator = self.control.operator(&root, Resource::Users, "user.create").await.unwrap();
        let password = Some(PASSWORD.to_owned());
        let new = NewUser { name: name.to_owned(), email: None, role, bounds, password };
        operator.create_user(new).await.unwrap();
    }

    /// Logs in as a program.
    pub(crate) async fn log_in(&self, name: &str) -> Tokens {
        let login = json!({ "name": name, "password": PASSWORD });
        self.call("POST", "/api/v1/login").json(&login).send().await.read(200)
    }

    /// Logs in as a browser and returns the cookie.
    pub(crate) async fn session(&self, name: &str) -> String {
        let login = json!({ "name": name, "password": PASSWORD });
        let reply = self.call("POST", "/api/v1/session").json(&login).send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let cookie = reply.header("set-cookie");
        cookie.split(';').next().unwrap().to_owned()
    }

    /// Makes a site that belongs to a user.
    pub(crate) async fn site(&self, name: &str, host: &str, owner: &str) -> SiteView {
        let root = root();
        let new = NewSite {
            rollout: None,
            name: Some(name.to_owned()),
            owner: Some(owner.to_owned()),
            spec: proxy(host),
            message: None,
        };
        self.control.editor(&root).await.unwrap().create(new).await.unwrap()
    }
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Replaces the `Host` header.
    pub(crate) fn host(mut self, host: &str) -> Self {
        let headers = self.request.headers_mut().unwrap();
        headers.insert("host", host.parse().unwrap());
        self
    }

    pub(crate) fn peer(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        let called = self.header("content-type", "application/json");
        Self { body: body.to_string().into(), ..called }
    }

    pub(crate) fn body(self, body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) async fn send(self) -> Reply {
        let request = self.request.extension(self.peer).body(self.body).unwrap();
        let response = self.bed.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.into()).unwrap();
        Reply { status: head.status.as_u16(), headers: head.headers, text }
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        value.to_str().unwrap()
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Reads a problem and judges what all problems have.
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem: Problem = self.read(self.status);
        assert_eq!(problem.status, self.status);
        assert_eq!(problem.request_id.as_deref(), Some(self.header("x-request-id")));
        problem
    }

    pub(crate) fn code(&self) -> (u16, ProblemCode) {
        (self.status, self.problem().code)
    }
}

fn config(folder: &Utf8Path) -> ControlConfig {
    ControlConfig {
        data_dir: folder.to_owned(),
        log_dir: folder.join("edge/logs"),
        key_file: folder.join("master.key"),
        database: format!("sqlite:{folder}/portway.db").parse().unwrap(),
        edge_socket: folder.join("edge/control.sock"),
        console_url: "http://localhost:8900".to_owned(),
        admin_group: None,
        trusted_proxies: Vec::new(),
        own_addresses: Vec::new(),
        observe_every: std::time::Duration::from_secs(15),
        node_exec: true,
        rollouts: None,
        health: portway_model::node::spec::ThresholdsSpec::default(),
        console: None,
    }
}

/// The administrator of the machine.
pub(crate) fn root() -> Actor {
    Actor {
        identity: Identity::Machine("root".to_owned()),
        via: Via::Local,
        from: "local".to_owned(),
        request_id: None,
    }
}

/// Bounds of a client who has a zone.
pub(crate) fn zone(zone: &str) -> Bounds {
    Bounds {
        hosts: vec![zone.parse().unwrap()],
        networks: Vec::new(),
        files: None,
        nodes: Vec::new(),
        max_sites: 1000,
    }
}

/// A fingerprint of a host key.
pub(crate) fn pin(of: char) -> String {
    format!("SHA256:{}A", of.to_string().repeat(42))
}

/// What a site is that passes requests on.
pub(crate) fn proxy(host: &str) -> Value {
    json!({ "hosts": [host], "to": "198.51.100.1:80" })
}
