-- What was last measured on a node, for managers that did not measure it themselves. It is observed,
-- and never part of what is declared.
CREATE TABLE node_readings (
    node_id {id} PRIMARY KEY NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    read_at {int} NOT NULL,
    reading {text} NOT NULL
) {end};
