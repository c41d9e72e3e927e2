//! Reading sites.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use portway_model::{Id, Role, Site, User};
use portway_store::{NodeSiteRow, PageRequest, SiteFilter, SiteRow};
use portway_wire::{
    Page,
    site::{Export, SiteQuery, SiteSummary, SiteView},
};

use super::view::{Context, spec_of, summary, view};
use crate::{
    Control, ControlError,
    actor::Actor,
    page,
    rights::{Sites, leave_out_nodes},
};

impl Sites<'_> {
    /// Lists sites by name.
    pub async fn list(&self, query: SiteQuery) -> Result<Page<SiteSummary>, ControlError> {
        let control = self.control;
        let owner = match (&query.owner, self.actor.role(), self.actor.user()) {
            (None, ..) => None,
            // Which other users there are is not a client's to find out.
            (Some(name), Role::Client, Some(own)) if own.name.as_str() != name => {
                return Ok(Page { items: Vec::new(), next: None });
            }
            (Some(name), ..) => Some(control.user_named(name).await?.id),
        };
        let filter = SiteFilter {
            text: query.search.clone(),
            tag: query.tag.clone(),
            owner,
            ..SiteFilter::default()
        };
        let request = page::request(query.limit, query.cursor.as_deref())?;
        let found =
            control.inner.store.sites().list(self.actor.visible(), &filter, &request).await?;
        let owners = control.names_of(found.items.iter().filter_map(|row| row.owner)).await?;
        let deployed = control.deployed(&found.items).await?;
        let context = Context { owners: &owners, deployed: &deployed };
        let items = found
            .items
            .iter()
            .map(|row| Ok(summary(row, &spec_of(row)?, &context)))
            .collect::<Result<_, ControlError>>()?;
        Ok(Page { items, next: found.next.map(|cursor| cursor.to_string()) })
    }

    /// Returns one site, by id or name.
    pub async fn get(&self, site: &str) -> Result<SiteView, ControlError> {
        self.control.site_view(self.actor, site).await
    }

    /// Returns every visible site as it is declared.
    pub async fn export(&self) -> Result<Export, ControlError> {
        let mut sites = IndexMap::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self
                .control
                .inner
                .store
                .sites()
                .list(self.actor.visible(), &SiteFilter::default(), &page)
                .await?;
            for row in &found.items {
                sites.insert(row.name.clone(), spec_of(row)?);
            }
            request = page.next(&found);
        }
        Ok(Export { sites })
    }
}

impl Control {
    pub(super) async fn site_view(
        &self,
        actor: &Actor,
        site: &str,
    ) -> Result<SiteView, ControlError> {
        let row = self.site_row(actor, site).await?;
        let owners = self.names_of(row.owner).await?;
        let mut deployed = self.deployed(std::slice::from_ref(&row)).await?;
        for on_node in deployed.values_mut() {
            leave_out_nodes(actor.visible(), &mut on_node.findings);
        }
        view(&row, &Context { owners: &owners, deployed: &deployed })
    }

    async fn names_of(
        &self,
        owners: impl IntoIterator<Item = Id<User>>,
    ) -> Result<BTreeMap<Id<User>, String>, ControlError> {
        Ok(self.inner.store.users().names(owners).await?)
    }

    async fn deployed(
        &self,
        rows: &[SiteRow],
    ) -> Result<BTreeMap<Id<Site>, NodeSiteRow>, ControlError> {
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut deployed = self.on_edge(&ids).await?;
        self.deployed_elsewhere(rows, &mut deployed).await?;
        Ok(deployed)
    }
}
