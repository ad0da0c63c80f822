-- name: touch_blob
-- The size of a stored blob, whose grace period begins again; see touch_blob_v1.
SELECT stepwell.touch_blob_v1($1, $2);

-- name: blob
-- The size of a blob that is stored now.
SELECT size FROM stepwell.blob WHERE sha256 = $1 AND removing_at IS NULL;

-- name: record_blob
-- Records that the store has a blob. Two workers may do so at the same time; see record_blob_v1.
SELECT stepwell.record_blob_v1($1, $2, $3);

-- name: claim_unused
-- Marks blobs for removal; see claim_unused_blobs_v1.
SELECT last_seen, claimed, claimed_at, bytes FROM stepwell.claim_unused_blobs_v1($1, $2, $3, $4);

-- name: removed
-- Deletes the rows of blobs whose files have been moved aside; returns their number and size. If there are fewer rows
-- than files, another collector has taken over the removal, or files were uploaded again.
WITH gone AS (
    DELETE FROM stepwell.blob WHERE sha256 = ANY ($1::bytea[]) AND removing_at = $2 RETURNING size
)
SELECT count(*) AS blobs, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: marks
-- The rows that these blobs have now, and whether each is marked for removal.
SELECT sha256, removing_at IS NOT NULL AS marked FROM stepwell.blob WHERE sha256 = ANY ($1::bytea[]);

-- name: claim_collection
-- Takes the collector's lock, which the session holds. False: another collector is at work.
SELECT pg_try_advisory_lock(hashtextextended('stepwell.collect', 0))
       OR NOT stepwell.writers_hold_v1(hashtextextended('stepwell.collect', 0));

-- name: last_sweep
-- When all rows of a deleted run were last removed.
SELECT max(swept_at) FROM stepwell.deleted_run;
