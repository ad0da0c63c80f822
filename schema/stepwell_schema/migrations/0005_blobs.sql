-- Files that runs logged, by content. A row says that the store has the blob for good: it is written after that, and
-- an object that names the hash is shown from then on. Which blobs a run uses stands in its objects.
CREATE TABLE stepwell.blob (
    sha256    bytea       NOT NULL PRIMARY KEY CHECK (octet_length(sha256) = 32),
    size      bigint      NOT NULL CHECK (size >= 0),
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
