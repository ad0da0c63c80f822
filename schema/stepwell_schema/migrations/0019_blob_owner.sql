-- Who uploaded which files. Naming the hash of a file in a run grants nothing: a key reads a file only if somebody who had its
-- content uploaded it for a project that the key may read.

-- project '': uploaded for no project, with a key of the whole entity; entity '': likewise, of the whole server. Files that
-- were stored without keys get their rows when a server with keys starts (queries/access.sql, own_old_blobs).
CREATE TABLE stepwell.blob_owner (
    sha256      bytea       NOT NULL CHECK (octet_length(sha256) = 32),
    entity      text        NOT NULL,
    project     text        NOT NULL,
    uploaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sha256, entity, project)
);
