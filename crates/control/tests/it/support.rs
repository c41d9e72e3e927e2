//! A control plane on SQLite in a folder of its own, and actors to use it.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_control::{
    Actor, ClientInfo, Control, ControlConfig, Resource,
    actor::{Identity, Via},
};
use portway_model::{Bounds, Role};
use portway_wire::{site::NewSite, user::NewUser};
use serde_json::{Value, json};

pub(crate) struct Bed {
    pub(crate) control: Control,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const PASSWORD: &str = "seven quiet otters paddle home";

impl Bed {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = open(Utf8Path::from_path(folder.path()).unwrap()).await;
        Self { control, folder }
    }

    pub(crate) fn path(&self) -> Utf8PathBuf {
        Utf8PathBuf::try_from(self.folder.path().to_owned()).unwrap()
    }

    /// Makes a user and returns it as an actor.
    pub(crate) async fn user(&self, name: &str, role: Role, bounds: Bounds) -> Actor {
        let root = root();
        let operator = self.control.operator(&root, Resource::Users, "user.create").await.unwrap();
        let new = NewUser {
            name: name.to_owned(),
            email: None,
            role,
            bounds,
            password: Some(PASSWORD.to_owned()),
        };
        operator.create_user(new).await.unwrap();
        let login =
            portway_wire::auth::Login { name: name.to_owned(), password: PASSWORD.to_owned() };
        let tokens = self.control.login(&login, &client()).await.unwrap();
        let credentials = portway_control::Credentials::Bearer(&tokens.access_token);
        self.control.authenticate(credentials, "192.0.2.9", None).await.unwrap()
    }
}

pub(crate) fn config(folder: &Utf8Path) -> ControlConfig {
    ControlConfig {
        data_dir: folder.to_owned(),
        log_dir: folder.join("edge/logs"),
        key_file: folder.join("master.key"),
        database: format!("sqlite:{folder}/portway.db").parse().unwrap(),
        edge_socket: folder.join("edge/control.sock"),
        console_url: "http://localhost:8900".to_owned(),
        admin_group: None,
        trusted_proxies: Vec::new(),
        own_addresses: vec!["192.0.2.7".parse().unwrap()],
        observe_every: std::time::Duration::from_secs(15),
        node_exec: true,
        rollouts: None,
        health: portway_model::node::spec::ThresholdsSpec::default(),
        console: None,
    }
}

pub(crate) async fn open(folder: &Utf8Path) -> Control {
    Control::open(config(folder), Arc::new(Timestamp::now)).await.unwrap()
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

pub(crate) fn client() -> ClientInfo {
    ClientInfo { from: "192.0.2.9".to_owned(), agent: None, request_id: None }
}

pub(crate) fn bounds(hosts: &[&str]) -> Bounds {
    Bounds {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        networks: Vec::new(),
        files: Some("/srv/clients/mine".into()),
        nodes: Vec::new(),
        max_sites: 3,
    }
}

pub(crate) fn new_site(name: &str, spec: Value) -> NewSite {
    NewSite { name: Some(name.to_owned()), owner: None, spec, message: None, rollout: None }
}

pub(crate) fn proxy(host: &str, target: &str) -> Value {
    json!({ "hosts": [host], "to": target })
}
