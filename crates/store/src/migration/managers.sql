-- Several managers on one database: who they are, who runs which task, whose attempt at a request
-- holds its key, and the roots of the local authority in the order in which they follow each other.

CREATE TABLE managers (
    id {id} PRIMARY KEY NOT NULL,
    name {text} NOT NULL UNIQUE,
    created_at {int} NOT NULL
) {end};

-- The machine is the name of the manager whose task it is, and empty where a task is everybody's.
-- The tasks are noted anew; what was there said nothing of managers.
DROP TABLE tasks;
CREATE TABLE tasks (
    name {text} NOT NULL,
    machine {text} NOT NULL,
    manager {text} NOT NULL,
    holder {id},
    lease_until {int},
    last_started {int},
    last_finished {int},
    outcome {text},
    message {text},
    next_run {int},
    PRIMARY KEY (name, machine)
) {end};

-- The place is the key, so that of two managers that both make a root one does.
CREATE TABLE local_roots (
    place {int} PRIMARY KEY,
    certificate_id {id} NOT NULL UNIQUE REFERENCES certificates (id) ON DELETE CASCADE,
    activated_at {int}
) {end};
INSERT INTO local_roots (place, certificate_id, activated_at)
    SELECT 1, id, created_at FROM certificates WHERE source = 'local_root'
    ORDER BY not_after DESC, id LIMIT 1;

CREATE INDEX certificates_age ON certificates (created_at, id);

ALTER TABLE idempotency_keys ADD COLUMN attempt {id};
ALTER TABLE idempotency_keys ADD COLUMN held_until {int};
