-- name: touch_blob
-- The size of a stored blob, whose grace period begins again; see touch_blob_v1.
SELECT stepwell.touch_blob_v1($1, $2);

-- name: blob
-- The size of a blob that is stored now.
SELECT size FROM stepwell.blob WHERE sha256 = $1 AND removing_at IS NULL;

-- name: touch_own_blob
-- Likewise, if it was uploaded for this project.
SELECT stepwell.touch_blob_v1($1, $2)
WHERE EXISTS (SELECT FROM stepwell.blob_owner o WHERE o.sha256 = $1 AND o.entity = $3 AND o.project = $4);

-- name: readable_blob
-- The size of a blob that is stored now, if it was uploaded for a project of this scope; NULL: any.
SELECT b.size FROM stepwell.blob b
WHERE b.sha256 = $1 AND b.removing_at IS NULL
  AND EXISTS (SELECT FROM stepwell.blob_owner o
              WHERE o.sha256 = $1 AND o.entity = coalesce($2, o.entity) AND o.project = coalesce($3, o.project));

-- name: own_blob
-- Records for which project somebody has uploaded the content of a blob.
INSERT INTO stepwell.blob_owner (sha256, entity, project) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

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
    DELETE FROM stepwell.blob WHERE sha256 = ANY ($1::bytea[]) AND removing_at = $2 RETURNING sha256, size
), disowned AS (
    DELETE FROM stepwell.blob_owner o USING gone g WHERE o.sha256 = g.sha256
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
