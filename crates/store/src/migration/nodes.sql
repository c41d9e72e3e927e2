-- Nodes that somebody declared stand beside the managers' own edges, which have no spec. What of a
-- site or node chooses the other stands in tables of its own, as the text that is written for it.

ALTER TABLE nodes ADD COLUMN spec {text};
ALTER TABLE nodes ADD COLUMN origin {text};
ALTER TABLE nodes ADD COLUMN revision {int};
ALTER TABLE nodes ADD COLUMN active {bool};
ALTER TABLE nodes ADD COLUMN changed_at {int};

CREATE TABLE node_traits (
    selector {text} NOT NULL,
    node_id {id} NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    PRIMARY KEY (selector, node_id)
) {end};
CREATE INDEX node_traits_node ON node_traits (node_id);

CREATE TABLE site_nodes (
    selector {text} NOT NULL,
    site_id {id} NOT NULL REFERENCES sites (id) ON DELETE CASCADE,
    PRIMARY KEY (selector, site_id)
) {end};
CREATE INDEX site_nodes_site ON site_nodes (site_id);

-- What was read on a node, when, and why it could not be read since.
CREATE TABLE node_facts (
    node_id {id} PRIMARY KEY NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    engine_version {text},
    digest {text},
    read_at {int},
    error {text},
    error_at {int},
    offered_key {text}
) {end};

-- Who works on a node. The number grows with each holder; a node refuses a smaller one than it has
-- seen. It outlives the node, which may have to be cleaned when it is no longer declared.
CREATE TABLE node_leases (
    node_id {id} PRIMARY KEY NOT NULL,
    holder {id} NOT NULL,
    manager {text} NOT NULL,
    fence {int} NOT NULL,
    until {int} NOT NULL
) {end};

-- Nodes that are no longer declared and still have to be cleaned.
CREATE TABLE node_removals (
    node_id {id} PRIMARY KEY NOT NULL,
    name {text} NOT NULL,
    spec {text} NOT NULL,
    removed_at {int} NOT NULL
) {end};

ALTER TABLE deployments ADD COLUMN release_digest {text};
ALTER TABLE deployments ADD COLUMN release_before {text};
ALTER TABLE deployments ADD COLUMN fence {int};
