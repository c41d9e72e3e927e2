-- How a revision comes to its nodes where it does not come to all of them at once. The state is JSON
-- of the model; `decides` marks those that are asked for each node that is brought to something.
CREATE TABLE rollouts (
    revision {int} PRIMARY KEY NOT NULL,
    strategy {text} NOT NULL,
    state {text} NOT NULL,
    author_id {id},
    author_name {text} NOT NULL,
    started_at {int} NOT NULL,
    updated_at {int} NOT NULL,
    finished_at {int},
    decides {bool} NOT NULL,
    version {int} NOT NULL
) {end};
CREATE INDEX rollouts_deciding ON rollouts (revision) WHERE decides;

-- `before` is JSON: the version that the node had of each site when it was let in.
CREATE TABLE rollout_nodes (
    revision {int} NOT NULL REFERENCES rollouts (revision) ON DELETE CASCADE,
    node_id {id} NOT NULL,
    name {text} NOT NULL,
    wave {int} NOT NULL,
    standing {text} NOT NULL,
    since {int} NOT NULL,
    let_in_at {int},
    before {text} NOT NULL,
    findings {text} NOT NULL,
    PRIMARY KEY (revision, node_id)
) {end};

-- What was done on a node in a deployment, step by step.
CREATE TABLE deployment_steps (
    deployment_id {id} NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    number {int} NOT NULL,
    at {int} NOT NULL,
    stage {text} NOT NULL,
    action {text} NOT NULL,
    output {text} NOT NULL,
    ok {bool} NOT NULL,
    milliseconds {int} NOT NULL,
    PRIMARY KEY (deployment_id, number)
) {end};

-- What whoever listens is told, in the order in which it became true.
CREATE TABLE events (
    id {serial},
    at {int} NOT NULL,
    kind {text} NOT NULL,
    revision {int},
    body {text} NOT NULL
) {end};
