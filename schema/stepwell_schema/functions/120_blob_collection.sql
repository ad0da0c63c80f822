-- Removing blobs that no run names. A row of `blob` says that the file with this content is stored; while removing_at
-- is set, the file is being removed, and no client may be told that it is stored.
--
-- Uploads and removals are serialized by that row. All times are those of Postgres, so the clocks of hosts need not
-- agree.

CREATE OR REPLACE FUNCTION stepwell.touch_blob_v1(sha256_ bytea, fresh interval) RETURNS bigint
LANGUAGE plpgsql AS $$
-- The size of a blob that is stored and will stay for the grace period; NULL: it is not stored, or is being removed. A
-- row that was touched less than `fresh` ago is not written again; `fresh` is short compared with any grace period.
DECLARE
    found stepwell.blob;
BEGIN
    SELECT b.* INTO found FROM stepwell.blob b WHERE b.sha256 = sha256_ AND b.removing_at IS NULL;
    IF found.touched_at IS NULL OR found.touched_at > clock_timestamp() - fresh THEN
        RETURN found.size;
    END IF;
    -- Waits for a collector that has just marked the blob, and then finds no row.
    UPDATE stepwell.blob b SET touched_at = clock_timestamp() WHERE b.sha256 = sha256_ AND b.removing_at IS NULL
    RETURNING b.* INTO found;
    RETURN found.size;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.record_blob_v1(sha256_ bytea, size_ bigint, lease interval) RETURNS boolean
LANGUAGE plpgsql AS $$
-- Records that the store has a blob. False: its file is being removed, so the file that was just put may be removed
-- with it. A removal older than `lease` has ended: its collector has died, and its requests have timed out.
BEGIN
    INSERT INTO stepwell.blob AS b (sha256, size) VALUES (sha256_, size_)
    ON CONFLICT (sha256) DO UPDATE SET size = excluded.size, touched_at = clock_timestamp(), removing_at = NULL
    WHERE b.removing_at IS NULL OR b.removing_at < clock_timestamp() - lease;
    RETURN FOUND;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.use_blobs_v1(run_ids bigint[], vals text[]) RETURNS void
LANGUAGE sql AS $$
    -- Records which blobs these values (JSON) of these runs name. Sorted, so that batches with the same blobs cannot
    -- deadlock.
    INSERT INTO stepwell.blob_use (run_id, sha256)
    SELECT DISTINCT v.run_id, decode(h.sha256, 'hex') AS sha256
    FROM unnest(run_ids, vals) AS v (run_id, val)
    CROSS JOIN LATERAL unnest(stepwell.blobs_of_v1(v.val::jsonb)) AS h (sha256)
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING
$$;

CREATE OR REPLACE FUNCTION stepwell.claim_unused_blobs_v1(
    after bytea, looked_at integer, grace interval, lease interval, OUT last_seen bytea, OUT claimed bytea[],
    OUT claimed_at timestamptz, OUT bytes bigint
) RETURNS record
LANGUAGE plpgsql AS $$
-- Examines `looked_at` blobs after the hash `after` (NULL: from the first one), and marks for removal those that no run
-- names and no client was told about for `grace`, and those that another collector left partly removed. last_seen NULL:
-- there are no more blobs. Locked rows, which are about to be touched, are skipped.
BEGIN
    claimed_at := clock_timestamp();
    -- Not max(), which PostgreSQL has for bytea only from 18 on.
    SELECT l.sha256 INTO last_seen
    FROM (SELECT b.sha256 FROM stepwell.blob b WHERE after IS NULL OR b.sha256 > after ORDER BY b.sha256 LIMIT looked_at) l
    ORDER BY l.sha256 DESC LIMIT 1;
    WITH unused AS MATERIALIZED (
        SELECT b.sha256 FROM stepwell.blob b
        WHERE (after IS NULL OR b.sha256 > after) AND b.sha256 <= last_seen
          AND CASE WHEN b.removing_at IS NULL THEN
                  b.touched_at < claimed_at - grace AND NOT EXISTS (SELECT FROM stepwell.blob_use u WHERE u.sha256 = b.sha256)
              ELSE b.removing_at < claimed_at - lease END
        ORDER BY b.sha256 FOR UPDATE OF b SKIP LOCKED
    ), marked AS (
        UPDATE stepwell.blob b SET removing_at = claimed_at FROM unused n WHERE b.sha256 = n.sha256 RETURNING b.sha256, b.size
    )
    SELECT coalesce(array_agg(m.sha256), '{}'), coalesce(sum(m.size), 0) INTO claimed, bytes FROM marked m;
END
$$;
