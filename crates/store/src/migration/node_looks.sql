-- What was last seen of a node, so that a plan need not speak with it: what is rendered for, what its
-- engine said it serves, and what is there that Portway did not put there.
CREATE TABLE node_looks (
    node_id {id} PRIMARY KEY NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    surveyed_at {int},
    machine {text},
    beside {text},
    looked_at {int},
    linked {text},
    serves {text},
    changed {text}
) {end};
