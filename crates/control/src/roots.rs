//! The roots of the local authority. One issues; its successor is made beside it, reaches the
//! devices that use the sites, and takes over when it is told to. A root can be downloaded until
//! its end.
//!
//! The order of the roots stands in the database: of several managers that make a root, one does,
//! and each notices when another root issues.

use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use portway_cert::Authority;
use portway_model::{Certificate, Id, ResourceKind};
use portway_secrets::KeyRing;
use portway_store::{AuditEntry, LocalRoot, SealedCertificate, Store};
use portway_wire::system::{RootState, RootView};
use tracing::info;
use uuid::Uuid;

use crate::{
    Control, ControlError,
    actor::Actor,
    audit::Record,
    certificates::{key_context, machine_name},
    rights::Operator,
};

/// A successor takes over by itself when the root before it has less than this left: from here on
/// what that one issues would end early.
const LAST_CALL: SignedDuration = SignedDuration::from_hours(24 * 30);

/// The root that issues, as far as this manager knows.
pub(crate) struct Roots {
    issuing: RwLock<Arc<IssuingRoot>>,
}

/// A root that issues.
pub(crate) struct IssuingRoot {
    pub(crate) authority: Authority,
    place: i64,
    since: Timestamp,
}

impl IssuingRoot {
    /// Tells whether a root before this one may have issued what is still in use at `now`.
    pub(crate) fn has_predecessors_leaves(&self, now: Timestamp) -> bool {
        let longest = SignedDuration::from_hours(24 * i64::from(portway_cert::Lifetime::MAX_DAYS));
        self.place > 1 && now.duration_since(self.since) < longest
    }
}

impl Roots {
    /// Reads the root that issues, or makes the first one.
    pub(crate) async fn load_or_create(
        store: &Store,
        keys: &KeyRing,
        now: Timestamp,
    ) -> Result<Self, ControlError> {
        let issuing = match load(store, keys).await? {
            Some(issuing) => issuing,
            None => {
                let first = seal(keys, 1, Some(now), now)?;
                if store.certificates().put_root(&first, None, now).await? {
                    info!("made the local certificate authority");
                }
                // Another manager may have been first; what is kept counts.
                load(store, keys).await?.ok_or_else(|| {
                    ControlError::internal("loading the local authority", "it was not kept")
                })?
            }
        };
        Ok(Self { issuing: RwLock::new(Arc::new(issuing)) })
    }

    /// Returns the root that issues, as it was when somebody last looked.
    pub(crate) fn current(&self) -> Arc<IssuingRoot> {
        Arc::clone(&self.issuing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the root that issues as a certificate.
    pub(crate) fn record(&self, id: Id<Certificate>) -> Certificate {
        self.current().authority.record(id)
    }

    fn replace(&self, issuing: IssuingRoot) -> Arc<IssuingRoot> {
        let issuing = Arc::new(issuing);
        let mut place = self.issuing.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::clone(&issuing);
        issuing
    }
}

async fn load(store: &Store, keys: &KeyRing) -> Result<Option<IssuingRoot>, ControlError> {
    let roots = store.certificates().roots().await?;
    let Some((root, since)) =
        roots.iter().rev().find_map(|root| root.activated_at.map(|since| (root, since)))
    else {
        return Ok(None);
    };
    let certificate = &root.sealed.certificate;
    let key = keys
        .open_text(&key_context(certificate.id), &root.sealed.sealed_key)
        .map_err(|error| ControlError::internal("opening the key of the local authority", error))?;
    let authority = Authority::load(&certificate.chain_pem, &key)
        .map_err(|error| ControlError::internal("loading the local authority", error))?;
    Ok(Some(IssuingRoot { authority, place: root.place, since }))
}

/// Makes a root and seals its key.
fn seal(
    keys: &KeyRing,
    place: i64,
    activated_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<LocalRoot, ControlError> {
    let authority = Authority::create(&machine_name(), now)
        .map_err(|error| ControlError::internal("making a root", error))?;
    let id = Id::from_uuid(Uuid::now_v7());
    let sealed = keys
        .seal(&key_context(id), authority.key_pem().expose().as_bytes())
        .map_err(|error| ControlError::internal("sealing the key of a root", error))?;
    let sealed = SealedCertificate {
        certificate: authority.record(id),
        key_id: sealed.key_id().to_string(),
        sealed_key: sealed.to_bytes(),
    };
    Ok(LocalRoot { place, activated_at, sealed })
}

impl Control {
    /// Returns the roots that clients are to trust, in their order: the one that issues, those
    /// before it that have not ended, and the one that is to follow.
    pub async fn local_roots(&self) -> Result<Vec<RootView>, ControlError> {
        let roots = self.inner.store.certificates().roots().await?;
        views(roots, self.now())
    }

    /// Returns the roots that clients are to trust in one text, the one that issues first.
    pub async fn local_roots_pem(&self) -> Result<String, ControlError> {
        let mut roots = self.local_roots().await?;
        roots.sort_by_key(|root| root.state != RootState::Active);
        Ok(roots.into_iter().map(|root| root.pem).collect())
    }

    /// Returns the root that issues, after asking which one that is.
    pub(crate) async fn issuing_root(&self) -> Result<Arc<IssuingRoot>, ControlError> {
        let known = self.inner.authority.current();
        let store = &self.inner.store;
        if store.certificates().active_root().await? == Some(known.place) {
            return Ok(known);
        }
        let Some(issuing) = load(store, self.keys()).await? else { return Ok(known) };
        info!("certificates are issued by root {} from here on", issuing.place);
        let issuing = self.inner.authority.replace(issuing);
        // The certificate for unknown names is part of the edge's settings.
        self.inner.deploy.look_at_settings();
        Ok(issuing)
    }

    /// Lets a prepared root take over in time where nobody told it to.
    pub(crate) async fn succeed_in_time(&self) -> Result<(), ControlError> {
        let left = self.inner.authority.current().authority.root().not_after;
        if left.duration_since(self.now()) > LAST_CALL {
            return Ok(());
        }
        let roots = self.inner.store.certificates().roots().await?;
        let Some(next) = prepared(&roots) else { return Ok(()) };
        let system = Actor::system();
        let entry = self.root_entry(&system, "ca.activate", next);
        self.inner.store.certificates().activate_root(next.place, &entry, self.now()).await?;
        Ok(())
    }

    fn root_entry(&self, actor: &Actor, action: &str, root: &LocalRoot) -> AuditEntry {
        let name = root.sealed.certificate.fingerprint.chars().take(16).collect::<String>();
        Record::of(actor, action)
            .resource(ResourceKind::Certificate, &name)
            .detail(format!("root {}", root.place))
            .entry(self.now())
    }

    async fn root_view(&self, number: i64) -> Result<RootView, ControlError> {
        let roots = self.local_roots().await?;
        roots
            .into_iter()
            .find(|root| root.number == number)
            .ok_or_else(|| ControlError::NotFound { what: "root", name: number.to_string() })
    }
}

impl Operator<'_> {
    /// Makes the successor of the root that issues. It issues nothing yet: first it has to reach
    /// the devices that use the sites.
    pub async fn renew_root(&self) -> Result<RootView, ControlError> {
        let control = self.control;
        let certificates = control.inner.store.certificates();
        let roots = certificates.roots().await?;
        if let Some(root) = prepared(&roots) {
            return Err(waiting(root));
        }
        let place = roots.last().map_or(1, |root| root.place + 1);
        let root = seal(control.keys(), place, None, control.now())?;
        let entry = control.root_entry(self.actor, "ca.renew", &root);
        if !certificates.put_root(&root, Some(&entry), control.now()).await? {
            return Err(waiting(&root));
        }
        control.root_view(place).await
    }

    /// Lets the prepared root issue from here on, and has every certificate issued anew.
    pub async fn activate_root(&self) -> Result<RootView, ControlError> {
        let control = self.control;
        let certificates = control.inner.store.certificates();
        let roots = certificates.roots().await?;
        let none = || {
            ControlError::Conflict(
                "no root is prepared; make one first (`portway ca renew`)".to_owned(),
            )
        };
        let root = prepared(&roots).ok_or_else(none)?;
        let entry = control.root_entry(self.actor, "ca.activate", root);
        if !certificates.activate_root(root.place, &entry, control.now()).await? {
            return Err(none());
        }
        control.issuing_root().await?;
        control.renew_soon();
        control.root_view(root.place).await
    }
}

fn waiting(root: &LocalRoot) -> ControlError {
    ControlError::Conflict(format!(
        "root {} is prepared already; have it trusted, then let it issue (`portway ca renew \
         --activate`)",
        root.place
    ))
}

/// Returns the root that is to follow the one that issues.
fn prepared(roots: &[LocalRoot]) -> Option<&LocalRoot> {
    roots.last().filter(|root| root.activated_at.is_none())
}

fn views(roots: Vec<LocalRoot>, now: Timestamp) -> Result<Vec<RootView>, ControlError> {
    let active = roots.iter().rev().find(|root| root.activated_at.is_some()).map(|root| root.place);
    let mut views = Vec::new();
    for root in roots {
        let certificate = root.sealed.certificate;
        let state = match root.activated_at {
            None => RootState::Prepared,
            Some(_) if Some(root.place) == active => RootState::Active,
            Some(_) => RootState::Retired,
        };
        if state == RootState::Retired && certificate.not_after <= now {
            continue;
        }
        let inspected = portway_cert::inspect(&certificate.chain_pem)
            .map_err(|error| ControlError::internal("reading a root", error))?;
        views.push(RootView {
            number: root.place,
            state,
            name: inspected.subject,
            fingerprint: certificate.fingerprint,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            activated_at: root.activated_at,
            pem: certificate.chain_pem,
        });
    }
    Ok(views)
}
