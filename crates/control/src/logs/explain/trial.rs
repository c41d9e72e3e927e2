//! What would become of a request that is not sent: the edge tells, for who may see its site.

use http::StatusCode;
use portway_policy::bundle::{Trial, TrialReport};
use portway_store::Visible;
use portway_wire::{
    explain::{ExplainedStep, Explanation, TryOut},
    site::SiteState,
};

use crate::{ControlError, EdgeClientError, rights::Sites};

impl Sites<'_> {
    /// Tells what would become of a request.
    pub async fn try_out(&self, request: TryOut) -> Result<Explanation, ControlError> {
        if let Some(name) = &request.node
            && let Some(on) = self.asked_node(name).await?
        {
            return self.try_on_node(on, request).await;
        }
        let url = request.url.clone();
        let trial = trial_of(request);
        let report = self.control.inner.edge.explain(&trial).await.map_err(failed)?;
        let standing = self.standing(&report, url).await?;
        let steps = report.steps.into_iter();
        let steps =
            steps.map(|step| ExplainedStep { stage: step.stage, text: step.text, ms: None });
        Ok(Explanation {
            site: report.site,
            route: report.route,
            stage: report.stage,
            code: report.code,
            status: report.status,
            steps: standing.into_iter().chain(steps).collect(),
            ..Explanation::default()
        })
    }

    /// Says how the site stands that would take the request. To a client, a host of nobody and one of
    /// another are the same.
    async fn standing(
        &self,
        report: &TrialReport,
        url: String,
    ) -> Result<Vec<ExplainedStep>, ControlError> {
        let none = || ControlError::NotFound { what: "site of yours for", name: url };
        let Some(site) = &report.site else {
            return match self.actor.visible() {
                Visible::All => Ok(Vec::new()),
                Visible::Owner(_) => Err(none()),
            };
        };
        let view = match self.get(site).await {
            Ok(view) => view,
            Err(ControlError::NotFound { .. }) => return Err(none()),
            Err(error) => return Err(error),
        };
        let mut steps = Vec::new();
        let mut say = |text: String| {
            steps.push(ExplainedStep { stage: "declared".to_owned(), text, ms: None });
        };
        match view.summary.state {
            SiteState::Held => say(format!(
                "revision {} of {site} is held, so this is told of the one before",
                view.summary.revision
            )),
            SiteState::Pending => say(format!(
                "revision {} of {site} is on its way to the edge, so this may be told of the one \
                 before",
                view.summary.revision
            )),
            SiteState::Live | SiteState::Blocked => {}
        }
        for finding in &view.findings {
            say(format!("finding: {}", finding.text));
        }
        Ok(steps)
    }
}

/// Returns a request as an edge is asked for it.
pub(super) fn trial_of(request: TryOut) -> Trial {
    Trial {
        from: request.from.to_canonical(),
        method: request.method,
        url: request.url,
        headers: request.headers.into_iter().map(|of| (of.name, of.value)).collect(),
    }
}

/// Tells what is wrong with the request from an edge that cannot be asked.
pub(super) fn failed(error: EdgeClientError) -> ControlError {
    match error.status() {
        Some(StatusCode::BAD_REQUEST) => return ControlError::BadRequest(error.detail()),
        Some(StatusCode::NOT_FOUND) => {
            let remedy = "stop it with `portway edge --stop`; the manager starts it anew";
            return ControlError::unavailable(
                "the edge is of a version that cannot tell this",
                remedy,
                30,
                error,
            );
        }
        Some(_) | None => {}
    }
    let remedy = "see that it runs (`portway status`), then try again";
    ControlError::unavailable("the edge does not answer", remedy, 5, error)
}
