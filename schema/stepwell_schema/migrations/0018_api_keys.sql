-- API keys, and what administrators did. The reader's role sees neither (functions/180_reader_role.sql).

-- digest: the SHA-256 of id and secret; the secret itself is nowhere. Keys are revoked, never deleted, so that the log
-- can be understood. Without an entity the key counts on the whole server, without a project in all of the entity's.
CREATE TABLE stepwell.api_key (
    key_id       text        NOT NULL PRIMARY KEY,
    digest       bytea       NOT NULL CHECK (octet_length(digest) = 32),
    name         text        NOT NULL,
    role         text        NOT NULL CHECK (role IN ('reader', 'writer', 'admin')),
    entity       text,
    project      text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by   text        NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    CHECK (entity IS NOT NULL OR project IS NULL)
);

CREATE TABLE stepwell.audit (
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor  text        NOT NULL,
    action text        NOT NULL,
    detail jsonb       NOT NULL
);
CREATE INDEX audit_by_time ON stepwell.audit (at);
