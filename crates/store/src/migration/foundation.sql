-- Times are microseconds since 1970 UTC. Columns that end in _id hold ids of other tables; those
-- without a reference outlive what they name (history, audit).

CREATE TABLE installation (
    singleton {int} PRIMARY KEY CHECK (singleton = 1),
    id {id} NOT NULL,
    key_id {text} NOT NULL,
    key_check {bytes} NOT NULL,
    settings {text} NOT NULL,
    revision {int} NOT NULL,
    created_at {int} NOT NULL
) {end};

CREATE TABLE users (
    id {id} PRIMARY KEY NOT NULL,
    name {text} NOT NULL UNIQUE,
    email {text},
    role {text} NOT NULL,
    bounds {text} NOT NULL,
    active {bool} NOT NULL,
    password_hash {text},
    generation {int} NOT NULL,
    revision {int} NOT NULL,
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL
) {end};

CREATE TABLE one_time_links (
    token_hash {bytes} PRIMARY KEY NOT NULL,
    kind {text} NOT NULL,
    user_id {id} REFERENCES users (id) ON DELETE CASCADE,
    created_at {int} NOT NULL,
    expires_at {int} NOT NULL,
    used_at {int}
) {end};
CREATE INDEX one_time_links_user ON one_time_links (user_id);

CREATE TABLE sessions (
    id {id} PRIMARY KEY NOT NULL,
    user_id {id} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind {text} NOT NULL,
    token_hash {bytes} NOT NULL UNIQUE,
    generation {int} NOT NULL,
    created_at {int} NOT NULL,
    expires_at {int} NOT NULL,
    last_seen_at {int} NOT NULL,
    revoked_at {int},
    user_agent {text} NOT NULL,
    address {text} NOT NULL
) {end};
CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
    id {id} PRIMARY KEY NOT NULL,
    user_id {id} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name {text} NOT NULL,
    token_hash {bytes} NOT NULL UNIQUE,
    prefix {text} NOT NULL,
    scopes {text} NOT NULL,
    created_at {int} NOT NULL,
    expires_at {int},
    last_used_at {int},
    revoked_at {int}
) {end};
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (user_id, name) WHERE revoked_at IS NULL;

CREATE TABLE login_attempts (
    seq {serial},
    account {text} NOT NULL,
    address {text} NOT NULL,
    at {int} NOT NULL,
    success {bool} NOT NULL
) {end};
CREATE INDEX login_attempts_window ON login_attempts (account, address, at);
CREATE INDEX login_attempts_age ON login_attempts (at);

CREATE TABLE audit (
    seq {serial},
    at {int} NOT NULL,
    actor_id {id},
    actor_name {text} NOT NULL,
    owner_id {id},
    action {text} NOT NULL,
    resource_kind {text},
    resource_id {id},
    resource_name {text} NOT NULL,
    outcome {text} NOT NULL,
    detail {text} NOT NULL,
    address {text},
    request_id {text},
    revision {int}
) {end};
CREATE INDEX audit_actor ON audit (actor_id, seq);
CREATE INDEX audit_owner ON audit (owner_id, seq);
CREATE INDEX audit_resource ON audit (resource_id, seq);
CREATE INDEX audit_action ON audit (action, seq);
CREATE INDEX audit_at ON audit (at);

CREATE TABLE secrets (
    reference {text} PRIMARY KEY NOT NULL,
    kind {text} NOT NULL,
    owner_id {id},
    site_id {id},
    sealed {bytes} NOT NULL,
    key_id {text} NOT NULL,
    created_at {int} NOT NULL
) {end};
CREATE INDEX secrets_site ON secrets (site_id);

CREATE TABLE revisions (
    number {int} PRIMARY KEY,
    author_id {id},
    author_name {text} NOT NULL,
    created_at {int} NOT NULL,
    message {text} NOT NULL,
    origin {text} NOT NULL
) {end};

CREATE TABLE changes (
    revision {int} NOT NULL REFERENCES revisions (number),
    kind {text} NOT NULL,
    id {id} NOT NULL,
    name {text} NOT NULL,
    owner_id {id},
    spec {text},
    PRIMARY KEY (revision, kind, id)
) {end};
CREATE INDEX changes_of_thing ON changes (kind, id, revision);
CREATE INDEX changes_in_order ON changes (kind, revision, id);
CREATE INDEX changes_of_owner ON changes (owner_id, revision);

CREATE TABLE sites (
    serial {serial},
    id {id} NOT NULL UNIQUE,
    name {text} NOT NULL UNIQUE,
    owner_id {id} REFERENCES users (id),
    origin {text} NOT NULL,
    revision {int} NOT NULL,
    blocked_reason {text},
    blocked_by {id},
    blocked_at {int},
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL,
    search {text} NOT NULL,
    spec {text} NOT NULL
) {end};
CREATE INDEX sites_owner ON sites (owner_id, name);
CREATE INDEX sites_origin ON sites (origin, name);
CREATE INDEX sites_blocked ON sites (name) WHERE blocked_at IS NOT NULL;

CREATE TABLE site_hosts (
    host {text} NOT NULL,
    site_id {id} NOT NULL REFERENCES sites (id) ON DELETE CASCADE,
    PRIMARY KEY (host, site_id)
) {end};
CREATE INDEX site_hosts_site ON site_hosts (site_id);

-- The name stands here too, so that the sites of a tag are read in the order of names.
CREATE TABLE site_tags (
    tag {text} NOT NULL,
    site_name {text} NOT NULL,
    site_id {id} NOT NULL REFERENCES sites (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, site_name, site_id)
) {end};
CREATE INDEX site_tags_site ON site_tags (site_id);

CREATE TABLE certificates (
    id {id} PRIMARY KEY NOT NULL,
    source {text} NOT NULL,
    names {text} NOT NULL,
    not_before {int} NOT NULL,
    not_after {int} NOT NULL,
    fingerprint {text} NOT NULL UNIQUE,
    chain_pem {text} NOT NULL,
    sealed_key {bytes} NOT NULL,
    key_id {text} NOT NULL,
    created_at {int} NOT NULL
) {end};
CREATE INDEX certificates_expiry ON certificates (not_after, id);
CREATE INDEX certificates_source ON certificates (source, not_after);

CREATE TABLE certificate_names (
    name {text} NOT NULL,
    certificate_id {id} NOT NULL REFERENCES certificates (id) ON DELETE CASCADE,
    PRIMARY KEY (name, certificate_id)
) {end};
CREATE INDEX certificate_names_certificate ON certificate_names (certificate_id);

CREATE TABLE site_certificates (
    site_id {id} PRIMARY KEY NOT NULL REFERENCES sites (id) ON DELETE CASCADE,
    certificate_id {id} NOT NULL REFERENCES certificates (id) ON DELETE CASCADE
) {end};
CREATE INDEX site_certificates_certificate ON site_certificates (certificate_id, site_id);

CREATE TABLE nodes (
    id {id} PRIMARY KEY NOT NULL,
    name {text} NOT NULL UNIQUE,
    engine {text} NOT NULL,
    deployed_revision {int} NOT NULL,
    digest {text},
    created_at {int} NOT NULL,
    updated_at {int} NOT NULL
) {end};

-- A site that is gone may still be on a node, so there is no reference to it.
CREATE TABLE node_sites (
    node_id {id} NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    site_id {id} NOT NULL,
    revision {int},
    digest {text},
    held_revision {int},
    findings {text} NOT NULL,
    updated_at {int} NOT NULL,
    PRIMARY KEY (node_id, site_id)
) {end};
CREATE INDEX node_sites_site ON node_sites (site_id);
CREATE INDEX node_sites_held ON node_sites (node_id, site_id) WHERE held_revision IS NOT NULL;

CREATE TABLE deployments (
    id {id} PRIMARY KEY NOT NULL,
    node_id {id} NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    from_revision {int} NOT NULL,
    to_revision {int} NOT NULL,
    stage {text} NOT NULL,
    started_at {int} NOT NULL,
    finished_at {int},
    findings {text} NOT NULL,
    digest {text}
) {end};
CREATE INDEX deployments_node ON deployments (node_id, id);
CREATE INDEX deployments_open ON deployments (id) WHERE finished_at IS NULL;

CREATE TABLE tasks (
    name {text} PRIMARY KEY NOT NULL,
    last_started {int},
    last_finished {int},
    outcome {text},
    message {text},
    next_run {int}
) {end};

CREATE TABLE idempotency_keys (
    actor {text} NOT NULL,
    key {text} NOT NULL,
    request_digest {bytes} NOT NULL,
    revision {int},
    status {int},
    body {text},
    created_at {int} NOT NULL,
    PRIMARY KEY (actor, key)
) {end};
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
