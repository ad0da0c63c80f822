-- Deleting runs (from the catalog at once, from the tables of history later), and how large runs are.

CREATE OR REPLACE FUNCTION stepwell.delete_run_v1(run_id_ bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
-- Removes a run for every reader and writer; its history is swept later. Returns whether the run existed.
--   * Waits for commits in progress. After that the ledger rows are gone, and nothing more of the run can be stored or
--     sealed.
--   * Everything that its sessions send from now on is refused. A new run may have the same name.
-- Raises ST021 when a fork shows points of the run. The caller sets a lock_timeout.
DECLARE
    mine  stepwell.run;
    forks text;
BEGIN
    SELECT r.* INTO mine FROM stepwell.run r WHERE r.run_id = run_id_;
    -- The locks of attach_v1, in its order: the name, the run, its writers, its epochs from the newest.
    IF FOUND THEN
        PERFORM stepwell.lock_name_v1(mine.entity, mine.project, mine.name);
    END IF;
    PERFORM 1 FROM stepwell.run r WHERE r.run_id = run_id_ FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT string_agg(r.name, ', ' ORDER BY r.run_id) INTO forks
    FROM stepwell.lineage g JOIN stepwell.run r ON r.run_id = g.run_id
    WHERE g.source_run_id = run_id_ AND g.source_run_id <> g.run_id;
    IF forks IS NOT NULL THEN
        RAISE EXCEPTION '%', forks USING ERRCODE = 'ST021';
    END IF;
    PERFORM 1 FROM stepwell.writer w WHERE w.run_id = run_id_ ORDER BY w.writer_id FOR UPDATE;
    PERFORM 1 FROM stepwell.ledger l WHERE l.run_id = run_id_ ORDER BY l.writer_id, l.epoch DESC FOR UPDATE;
    INSERT INTO stepwell.deleted_run (run_id, entity, project, name, writers)
    SELECT run_id_, mine.entity, mine.project, mine.name, coalesce(max(w.writer_id), 0)
    FROM stepwell.writer w WHERE w.run_id = run_id_;
    INSERT INTO stepwell.deleted_session (run_id, session)
    SELECT DISTINCT l.run_id, l.session FROM stepwell.ledger l WHERE l.run_id = run_id_;
    DELETE FROM stepwell.ledger l WHERE l.run_id = run_id_;
    DELETE FROM stepwell.writer w WHERE w.run_id = run_id_;
    DELETE FROM stepwell.lineage g WHERE g.run_id = run_id_;
    DELETE FROM stepwell.lineage_epoch x WHERE x.run_id = run_id_;
    DELETE FROM stepwell.run r WHERE r.run_id = run_id_;
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.await_sealing_v1(run_id_ bigint, writers integer) RETURNS void
LANGUAGE plpgsql AS $$
-- Waits for the sealing passes that began before the run was deleted. Later passes find no ledger row and write
-- nothing. For passes of older versions, it takes session locks, and releases each at once: a run may have more writers
-- than a transaction may hold locks.
DECLARE
    key bigint;
BEGIN
    PERFORM 1 FROM stepwell.lock k
    WHERE k.name IN (SELECT stepwell.seal_lock_v1(run_id_, n.writer_id) FROM generate_series(1, writers) AS n (writer_id))
    ORDER BY k.name FOR SHARE;
    FOR writer_id IN 1 .. writers LOOP
        key := hashtextextended(concat_ws('/', 'seal', run_id_, writer_id), 0);   -- as in claim_sealing_v1
        IF pg_try_advisory_lock(key) THEN
            PERFORM pg_advisory_unlock(key);
        ELSIF stepwell.writers_hold_v1(key) THEN
            PERFORM pg_advisory_lock(key);
            PERFORM pg_advisory_unlock(key);
        END IF;
    END LOOP;
    PERFORM 1 FROM stepwell.lock k WHERE k.name = 'summaries' FOR SHARE;   -- and for summaries that are being stored
END
$$;

CREATE OR REPLACE FUNCTION stepwell.run_partitions_v1()
RETURNS TABLE (parent regclass, child regclass, lower_id bigint, upper_id bigint, detaching boolean)
LANGUAGE sql STABLE AS $$
    -- The monthly partitions of all tables that are partitioned by run. `detaching`: detaching it was interrupted.
    SELECT p.oid::regclass, c.oid::regclass, b.ids[1]::bigint, b.ids[2]::bigint, i.inhdetachpending
    FROM pg_class p
    JOIN pg_partitioned_table t ON t.partrelid = p.oid AND t.partstrat = 'r'
    JOIN pg_inherits i ON i.inhparent = p.oid
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)') AS ids) b
    WHERE p.relnamespace = 'stepwell'::regnamespace AND pg_get_partkeydef(p.oid) = 'RANGE (run_id)' AND b.ids IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION stepwell.tables_to_drop_v1() RETURNS SETOF regclass
LANGUAGE sql STABLE AS $$
    -- Tables that have been marked and are not partitions any more.
    SELECT c.oid::regclass FROM pg_class c
    WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
      AND obj_description(c.oid, 'pg_class') = 'stepwell: its runs are deleted, and it will be dropped'
$$;

CREATE OR REPLACE FUNCTION stepwell.tables_of_run_v1(run_id_ bigint) RETURNS SETOF regclass
LANGUAGE sql STABLE AS $$
    -- The tables that may hold rows of a run: the partitions of its month, and the tables that are not partitioned.
    -- Without hot_block, whose slots are emptied as a whole, the tables that delete_run_v1 has already cleared, and the
    -- records of deleted runs.
    SELECT p.child FROM stepwell.run_partitions_v1() p WHERE run_id_ >= p.lower_id AND run_id_ < p.upper_id AND NOT p.detaching
    UNION ALL
    SELECT c.oid::regclass FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'run_id' AND a.attnum > 0
    WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
      AND c.relname NOT IN ('run', 'lineage', 'lineage_epoch', 'writer', 'ledger', 'deleted_run', 'deleted_session')
      AND c.oid NOT IN (SELECT d.oid FROM stepwell.tables_to_drop_v1() d (oid))
$$;

CREATE OR REPLACE FUNCTION stepwell.sweep_rows_v1(table_ regclass, run_id_ bigint, max_rows integer) RETURNS bigint
LANGUAGE plpgsql AS $$
-- Deletes at most max_rows rows of a deleted run. Returns how many.
DECLARE
    conditions text[] := '{true}';
    condition  text;
    deleted    bigint;
    swept      bigint := 0;
BEGIN
    IF EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = table_ AND i.inhparent = 'stepwell.hot_object'::regclass) THEN
        conditions := ARRAY['octet_length(key) <= 2000', 'octet_length(key) > 2000'];   -- so its indexes are found, as in objects_v1
    END IF;
    FOREACH condition IN ARRAY conditions LOOP
        EXECUTE format('DELETE FROM %1$s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$s WHERE run_id = $1 AND %2$s LIMIT $2))',
                       table_, condition)
        USING run_id_, max_rows - swept;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        swept := swept + deleted;
    END LOOP;
    RETURN swept;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.mark_for_drop_v1(table_ regclass) RETURNS void
LANGUAGE plpgsql AS $$
-- Marks a month's table for dropping. Once detached, nothing else distinguishes it from a table that is to be kept.
BEGIN
    EXECUTE format('COMMENT ON TABLE %s IS %L', table_, 'stepwell: its runs are deleted, and it will be dropped');
END
$$;

CREATE OR REPLACE FUNCTION stepwell.month_of_v1(run_id_ bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The month in which the run was created (UTC), as YYYY-MM.
    SELECT to_char(timestamp '2020-01-01 00:00:00' + (run_id_ >> 20) * interval '1 millisecond', 'YYYY-MM')
$$;

CREATE OR REPLACE FUNCTION stepwell.closed_before_v1(now_ timestamptz) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- The id below which all runs of whole months are committed, or never will be: a run that is created in the last
    -- moment of a month may be committed in the next one, and is invisible until then.
    SELECT stepwell.run_id_floor_v1(date_trunc('month', now_ - interval '1 day', 'UTC'))
$$;

CREATE OR REPLACE FUNCTION stepwell.months_to_drop_v1(run_ids bigint[], before_id bigint)
RETURNS TABLE (month text, lower_id bigint, upper_id bigint)
LANGUAGE sql STABLE AS $$
    -- Months before that of before_id that have no runs other than these. Later months stay, as runs are created in
    -- them.
    SELECT stepwell.month_of_v1(p.lower_id), p.lower_id, p.upper_id
    FROM (SELECT DISTINCT q.lower_id, q.upper_id FROM stepwell.run_partitions_v1() q) p
    WHERE p.upper_id <= before_id
      AND EXISTS (SELECT FROM unnest(run_ids) u WHERE u >= p.lower_id AND u < p.upper_id)
      AND NOT EXISTS (SELECT FROM stepwell.run r WHERE r.run_id >= p.lower_id AND r.run_id < p.upper_id
                         AND NOT EXISTS (SELECT FROM unnest(run_ids) u WHERE u = r.run_id))
    ORDER BY 2
$$;

CREATE OR REPLACE FUNCTION stepwell.run_sizes_v1()
RETURNS TABLE (run_id bigint, entity text, project text, run text, state text, created_at timestamptz,
               points bigint, objects bigint, bytes bigint)
LANGUAGE sql STABLE AS $$
-- All runs with their estimated size on disk: the share of a run in the tables of its month is its share of the sealed
-- points (for hot_object: of the objects), and a point that is not sealed yet counts 12 bytes. Reads no rows of
-- history.
    WITH used AS (
        SELECT l.run_id, sum(l.points)::bigint AS points, sum(l.objects)::bigint AS objects,
               sum(least(l.sealed_points, l.points))::bigint AS sealed
        FROM stepwell.ledger l GROUP BY 1
    ), month AS (
        SELECT p.lower_id, p.upper_id,
               sum(pg_total_relation_size(p.child)) FILTER (WHERE p.parent <> 'stepwell.hot_object'::regclass) AS sealed_bytes,
               sum(pg_total_relation_size(p.child)) FILTER (WHERE p.parent = 'stepwell.hot_object'::regclass) AS object_bytes
        FROM stepwell.run_partitions_v1() p GROUP BY 1, 2
    ), share AS (
        SELECT m.lower_id, m.upper_id, m.sealed_bytes / nullif(sum(u.sealed), 0) AS of_point,
               m.object_bytes / nullif(sum(u.objects), 0) AS of_object
        FROM month m JOIN used u ON u.run_id >= m.lower_id AND u.run_id < m.upper_id
        GROUP BY m.lower_id, m.upper_id, m.sealed_bytes, m.object_bytes
    )
    SELECT r.run_id, r.entity, r.project, r.name, r.state, r.created_at, coalesce(u.points, 0), coalesce(u.objects, 0),
           coalesce(u.sealed * s.of_point, 0)::bigint + coalesce(u.objects * s.of_object, 0)::bigint
           + coalesce(u.points - u.sealed, 0) * 12
    FROM stepwell.run r
    LEFT JOIN used u ON u.run_id = r.run_id
    LEFT JOIN share s ON r.run_id >= s.lower_id AND r.run_id < s.upper_id
$$;
