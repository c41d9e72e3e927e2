-- Tokens by which a machine makes itself a node, once. Only their hash is kept.

CREATE TABLE join_tokens (
    id {id} PRIMARY KEY NOT NULL,
    token_hash {bytes} NOT NULL UNIQUE,
    prefix {text} NOT NULL,
    template {text} NOT NULL,
    made_by {text} NOT NULL,
    created_at {int} NOT NULL,
    expires_at {int} NOT NULL,
    revoked_at {int},
    used_at {int},
    used_from {text},
    node {text}
) {end};
CREATE INDEX join_tokens_expiry ON join_tokens (expires_at);
