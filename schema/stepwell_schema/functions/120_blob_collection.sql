-- Blobs that no run names: one row a content is the judge of it. `blob` says that the file is there; while removing_at is set,
-- its file is being removed, and nobody may be told that it is there.
--
-- Uploads and removals meet in that row. Times are Postgres', so hosts need not agree on them.

CREATE OR REPLACE FUNCTION stepwell.touch_blob_v1(sha256_ bytea, fresh interval) RETURNS bigint
LANGUAGE plpgsql AS $$
-- The size of a blob that is there, and will be for the grace period from now on; NULL: it is not there, or is being removed.
-- One that was touched less than `fresh` ago is not written again; `fresh` is small beside any grace period.
DECLARE
    found stepwell.blob;
BEGIN
    SELECT b.* INTO found FROM stepwell.blob b WHERE b.sha256 = sha256_ AND b.removing_at IS NULL;
    IF found.touched_at IS NULL OR found.touched_at > clock_timestamp() - fresh THEN
        RETURN found.size;
    END IF;
    -- Waits for a collector that has just marked it, and then finds nothing.
    UPDATE stepwell.blob b SET touched_at = clock_timestamp() WHERE b.sha256 = sha256_ AND b.removing_at IS NULL
    RETURNING b.* INTO found;
    RETURN found.size;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.record_blob_v1(sha256_ bytea, size_ bigint, lease interval) RETURNS boolean
LANGUAGE plpgsql AS $$
-- Says that the store has a blob. False: its file is being removed, so what was just put may go with it. A removal that is older
-- than `lease` is no more: whoever began it has died, and its requests have ended.
BEGIN
    INSERT INTO stepwell.blob AS b (sha256, size) VALUES (sha256_, size_)
    ON CONFLICT (sha256) DO UPDATE SET size = excluded.size, touched_at = clock_timestamp(), removing_at = NULL
    WHERE b.removing_at IS NULL OR b.removing_at < clock_timestamp() - lease;
    RETURN FOUND;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.use_blobs_v1(run_ids bigint[], vals text[]) RETURNS void
LANGUAGE sql AS $$
    -- Notes which blobs these values (JSON) of these runs name. In one order: batches that name the same wait for each other.
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
-- Looks at so many blobs behind `after` (NULL: from the first on), and marks those to be removed that no run names and nobody was told of for `grace`,
-- or that another collector left half removed. last_seen NULL: there are no more. What somebody is about to touch is left alone.
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
