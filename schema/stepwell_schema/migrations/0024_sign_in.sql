-- People who are signed in to the pages with a key. token: the SHA-256 of what their browser's cookie holds.
CREATE TABLE stepwell.sign_in (
    token      bytea       NOT NULL PRIMARY KEY CHECK (octet_length(token) = 32),
    key_id     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_by_end ON stepwell.sign_in (expires_at);
