//! The edge, in this process, as the measure of all engines.

use camino::Utf8PathBuf;
use portway_edge::{EdgeConfig, EdgeHandle};
use portway_policy::{
    CertificateObject, NodeSettings, SitePolicy,
    bundle::{Change, ChangeReport, PROTOCOL},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;

use crate::bed::Doors;

/// A running edge.
pub(crate) struct TestEdge {
    handle: EdgeHandle,
    _folder: tempfile::TempDir,
}

impl TestEdge {
    pub(crate) async fn start(
        sites: Vec<SitePolicy>,
        settings: &NodeSettings,
        certificate: &CertificateObject,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let below = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let mut config = EdgeConfig::below(&below);
        config.http = vec!["127.0.0.1:0".parse().unwrap()];
        config.https = vec!["127.0.0.1:0".parse().unwrap()];
        config.workers = std::num::NonZeroUsize::new(1);
        let handle = portway_edge::start(config, CancellationToken::new()).await.unwrap();
        let edge = Self { handle, _folder: folder };
        let change = Change {
            format: PROTOCOL,
            put: sites,
            settings: Some(settings.clone()),
            certificates: vec![certificate.clone()],
            ..Change::default()
        };
        edge.change(&change).await;
        edge
    }

    pub(crate) fn doors(&self) -> Doors {
        Doors { http: self.handle.http()[0], https: self.handle.https()[0] }
    }

    async fn change(&self, change: &Change) {
        let body = serde_json::to_string(change).unwrap();
        let mut stream = UnixStream::connect(self.handle.control_socket()).await.unwrap();
        let head = format!(
            "POST /v1/change HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let body = &answer[answer.find('{').unwrap_or(0)..=answer.rfind('}').unwrap_or(0)];
        let report: ChangeReport =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(report.refused.is_empty(), "{:?}", report.refused);
    }

    pub(crate) async fn stop(self) {
        self.handle.stop();
        self.handle.wait().await.unwrap();
    }
}
