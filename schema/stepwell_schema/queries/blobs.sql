-- name: touch_blob
-- The size of a blob that is there and stays; see functions/120_blob_collection.sql.
SELECT stepwell.touch_blob_v1($1, $2);

-- name: blob
-- The size of a blob that is there now.
SELECT size FROM stepwell.blob WHERE sha256 = $1 AND removing_at IS NULL;

-- name: record_blob
-- The store has it. Two workers may say so at the same time; see functions/120_blob_collection.sql.
SELECT stepwell.record_blob_v1($1, $2, $3);

-- name: claim_unused
-- Marks blobs to be removed; see functions/120_blob_collection.sql.
SELECT last_seen, claimed, claimed_at, bytes FROM stepwell.claim_unused_blobs_v1($1, $2, $3, $4);

-- name: removed
-- Their files are gone. Fewer rows than files: somebody else has taken their removal over.
WITH gone AS (
    DELETE FROM stepwell.blob WHERE sha256 = ANY ($1::bytea[]) AND removing_at = $2 RETURNING size
)
SELECT count(*) AS blobs, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: claim_collection
-- One collector at a time, since more would only be in each other's way; held by the session. False: somebody collects.
SELECT pg_try_advisory_lock(hashtextextended('stepwell.collect', 0));

-- name: last_sweep
-- When rows of a deleted run were last removed in full.
SELECT max(swept_at) FROM stepwell.deleted_run;
