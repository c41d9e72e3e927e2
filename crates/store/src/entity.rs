//! The tables as the query builder knows them, one module each; see `migration/*.sql` for what
//! the columns mean. No relations: joins are written where they are needed.

/// What this installation is; one row.
pub(crate) mod installation {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "installation")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) singleton: i64,
        pub(crate) id: Uuid,
        pub(crate) key_id: String,
        pub(crate) key_check: Vec<u8>,
        pub(crate) settings: String,
        pub(crate) revision: i64,
        pub(crate) created_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Users.
pub(crate) mod users {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) email: Option<String>,
        pub(crate) role: String,
        pub(crate) bounds: String,
        pub(crate) active: bool,
        pub(crate) password_hash: Option<String>,
        pub(crate) generation: i64,
        pub(crate) revision: i64,
        pub(crate) created_at: i64,
        pub(crate) updated_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One-time links.
pub(crate) mod links {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "one_time_links")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) token_hash: Vec<u8>,
        pub(crate) kind: String,
        pub(crate) user_id: Option<Uuid>,
        pub(crate) created_at: i64,
        pub(crate) expires_at: i64,
        pub(crate) used_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Sessions.
pub(crate) mod sessions {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "sessions")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) user_id: Uuid,
        pub(crate) kind: String,
        pub(crate) token_hash: Vec<u8>,
        pub(crate) generation: i64,
        pub(crate) created_at: i64,
        pub(crate) expires_at: i64,
        pub(crate) last_seen_at: i64,
        pub(crate) revoked_at: Option<i64>,
        pub(crate) user_agent: String,
        pub(crate) address: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// API tokens.
pub(crate) mod tokens {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "api_tokens")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) user_id: Uuid,
        pub(crate) name: String,
        pub(crate) token_hash: Vec<u8>,
        pub(crate) prefix: String,
        pub(crate) scopes: String,
        pub(crate) created_at: i64,
        pub(crate) expires_at: Option<i64>,
        pub(crate) last_used_at: Option<i64>,
        pub(crate) revoked_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tokens by which machines join.
pub(crate) mod join_tokens {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "join_tokens")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) token_hash: Vec<u8>,
        pub(crate) prefix: String,
        pub(crate) template: String,
        pub(crate) made_by: String,
        pub(crate) created_at: i64,
        pub(crate) expires_at: i64,
        pub(crate) revoked_at: Option<i64>,
        pub(crate) used_at: Option<i64>,
        pub(crate) used_from: Option<String>,
        pub(crate) node: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Attempts to log in.
pub(crate) mod login_attempts {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "login_attempts")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) seq: i64,
        pub(crate) account: String,
        pub(crate) address: String,
        pub(crate) at: i64,
        pub(crate) success: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The audit log.
pub(crate) mod audit {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) seq: i64,
        pub(crate) at: i64,
        pub(crate) actor_id: Option<Uuid>,
        pub(crate) actor_name: String,
        pub(crate) owner_id: Option<Uuid>,
        pub(crate) action: String,
        pub(crate) resource_kind: Option<String>,
        pub(crate) resource_id: Option<Uuid>,
        pub(crate) resource_name: String,
        pub(crate) outcome: String,
        pub(crate) detail: String,
        pub(crate) address: Option<String>,
        pub(crate) request_id: Option<String>,
        pub(crate) revision: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Sealed secrets.
pub(crate) mod secrets {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "secrets")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) reference: String,
        pub(crate) kind: String,
        pub(crate) owner_id: Option<Uuid>,
        pub(crate) site_id: Option<Uuid>,
        pub(crate) sealed: Vec<u8>,
        pub(crate) key_id: String,
        pub(crate) created_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Revisions.
pub(crate) mod revisions {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "revisions")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) number: i64,
        pub(crate) author_id: Option<Uuid>,
        pub(crate) author_name: String,
        pub(crate) created_at: i64,
        pub(crate) message: String,
        pub(crate) origin: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What revisions did.
pub(crate) mod changes {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "changes")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) revision: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) owner_id: Option<Uuid>,
        pub(crate) spec: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Sites as they are declared.
pub(crate) mod sites {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "sites")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) serial: i64,
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) owner_id: Option<Uuid>,
        pub(crate) origin: String,
        pub(crate) revision: i64,
        pub(crate) blocked_reason: Option<String>,
        pub(crate) blocked_by: Option<Uuid>,
        pub(crate) blocked_at: Option<i64>,
        pub(crate) created_at: i64,
        pub(crate) updated_at: i64,
        pub(crate) search: String,
        pub(crate) spec: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Hosts of sites.
pub(crate) mod site_hosts {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "site_hosts")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) host: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) site_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Tags of sites.
pub(crate) mod site_tags {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "site_tags")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) tag: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) site_name: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) site_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Certificates and their sealed keys.
pub(crate) mod certificates {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "certificates")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) source: String,
        pub(crate) names: String,
        pub(crate) not_before: i64,
        pub(crate) not_after: i64,
        pub(crate) fingerprint: String,
        pub(crate) chain_pem: String,
        pub(crate) sealed_key: Vec<u8>,
        pub(crate) key_id: String,
        pub(crate) created_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The roots of the local authority.
pub(crate) mod local_roots {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "local_roots")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) place: i64,
        pub(crate) certificate_id: Uuid,
        pub(crate) activated_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Names of certificates.
pub(crate) mod certificate_names {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "certificate_names")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) name: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) certificate_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which certificate a site uses.
pub(crate) mod site_certificates {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "site_certificates")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) site_id: Uuid,
        pub(crate) certificate_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Nodes.
pub(crate) mod nodes {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "nodes")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) engine: String,
        pub(crate) deployed_revision: i64,
        pub(crate) digest: Option<String>,
        pub(crate) created_at: i64,
        pub(crate) updated_at: i64,
        pub(crate) spec: Option<String>,
        pub(crate) origin: Option<String>,
        pub(crate) revision: Option<i64>,
        pub(crate) active: Option<bool>,
        pub(crate) changed_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What nodes have.
pub(crate) mod node_sites {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_sites")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) site_id: Uuid,
        pub(crate) revision: Option<i64>,
        pub(crate) digest: Option<String>,
        pub(crate) held_revision: Option<i64>,
        pub(crate) findings: String,
        pub(crate) updated_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// By what nodes are chosen, beside their names.
pub(crate) mod node_traits {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_traits")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) selector: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Which nodes sites choose.
pub(crate) mod site_nodes {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "site_nodes")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) selector: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) site_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What was read on nodes.
pub(crate) mod node_facts {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_facts")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
        pub(crate) engine_version: Option<String>,
        pub(crate) digest: Option<String>,
        pub(crate) read_at: Option<i64>,
        pub(crate) error: Option<String>,
        pub(crate) error_at: Option<i64>,
        pub(crate) offered_key: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What was last measured on nodes.
pub(crate) mod node_readings {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_readings")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
        pub(crate) read_at: i64,
        pub(crate) reading: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What was last seen of nodes.
pub(crate) mod node_looks {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_looks")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
        pub(crate) surveyed_at: Option<i64>,
        pub(crate) machine: Option<String>,
        pub(crate) beside: Option<String>,
        pub(crate) looked_at: Option<i64>,
        pub(crate) linked: Option<String>,
        pub(crate) serves: Option<String>,
        pub(crate) changed: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Who works on nodes.
pub(crate) mod node_leases {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_leases")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
        pub(crate) holder: Uuid,
        pub(crate) manager: String,
        pub(crate) fence: i64,
        pub(crate) until: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Nodes that are to be cleaned.
pub(crate) mod node_removals {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_removals")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
        pub(crate) name: String,
        pub(crate) spec: String,
        pub(crate) removed_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Deployments.
pub(crate) mod deployments {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "deployments")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) node_id: Uuid,
        pub(crate) from_revision: i64,
        pub(crate) to_revision: i64,
        pub(crate) stage: String,
        pub(crate) started_at: i64,
        pub(crate) finished_at: Option<i64>,
        pub(crate) findings: String,
        pub(crate) digest: Option<String>,
        pub(crate) release_digest: Option<String>,
        pub(crate) release_before: Option<String>,
        pub(crate) fence: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Managers.
pub(crate) mod managers {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "managers")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) id: Uuid,
        pub(crate) name: String,
        pub(crate) created_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Background tasks.
pub(crate) mod tasks {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tasks")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) name: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) machine: String,
        pub(crate) manager: String,
        pub(crate) holder: Option<Uuid>,
        pub(crate) lease_until: Option<i64>,
        pub(crate) last_started: Option<i64>,
        pub(crate) last_finished: Option<i64>,
        pub(crate) outcome: Option<String>,
        pub(crate) message: Option<String>,
        pub(crate) next_run: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Idempotency keys.
pub(crate) mod idempotency_keys {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "idempotency_keys")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) actor: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) key: String,
        pub(crate) request_digest: Vec<u8>,
        pub(crate) revision: Option<i64>,
        pub(crate) status: Option<i64>,
        pub(crate) body: Option<String>,
        pub(crate) created_at: i64,
        pub(crate) attempt: Option<Uuid>,
        pub(crate) held_until: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How revisions come to their nodes.
pub(crate) mod rollouts {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rollouts")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) revision: i64,
        pub(crate) strategy: String,
        pub(crate) state: String,
        pub(crate) author_id: Option<Uuid>,
        pub(crate) author_name: String,
        pub(crate) started_at: i64,
        pub(crate) updated_at: i64,
        pub(crate) finished_at: Option<i64>,
        pub(crate) decides: bool,
        pub(crate) version: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The nodes of rollouts.
pub(crate) mod rollout_nodes {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "rollout_nodes")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) revision: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) node_id: Uuid,
        pub(crate) name: String,
        pub(crate) wave: i64,
        pub(crate) standing: String,
        pub(crate) since: i64,
        pub(crate) let_in_at: Option<i64>,
        pub(crate) before: String,
        pub(crate) findings: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What was done in deployments.
pub(crate) mod deployment_steps {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "deployment_steps")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) deployment_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) number: i64,
        pub(crate) at: i64,
        pub(crate) stage: String,
        pub(crate) action: String,
        pub(crate) output: String,
        pub(crate) ok: bool,
        pub(crate) milliseconds: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What whoever listens is told.
pub(crate) mod events {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) at: i64,
        pub(crate) kind: String,
        pub(crate) revision: Option<i64>,
        pub(crate) body: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
