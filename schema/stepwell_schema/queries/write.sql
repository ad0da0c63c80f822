-- name: attach
-- Gives a session its (run, writer, epoch); see attach_v1.
SELECT run_id, writer_id, writer, epoch, fenced, resumed
FROM stepwell.attach_v1($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10, $11, $12);

-- name: earlier
-- For a session that has stored nothing: the last step that earlier epochs of its writer show, and the seconds since
-- they last stored something. `beside`: the requested writer belongs to another program, which is connected.
SELECT max(least(l.last_step, l.visible_below - 1)) AS last_step,
       extract(epoch FROM clock_timestamp() - max(l.moved_at))::float8 AS moved_s,
       coalesce((SELECT stepwell.is_beside_v1($1, a.writer_id, w.info)
                 FROM stepwell.writer a, stepwell.writer w
                 WHERE a.run_id = $1 AND a.name = $4 AND w.run_id = $1 AND w.writer_id = $2), false) AS beside
FROM stepwell.ledger l
WHERE l.run_id = $1 AND l.writer_id = $2 AND l.epoch < $3 AND l.first_step < coalesce(l.visible_below, 9223372036854775807);

-- name: left
-- Records connections that have ended before their writers did.
WITH gone AS (
    SELECT w.run_id, w.writer_id FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS u (run_id, writer_id, epoch)
    JOIN stepwell.ledger l USING (run_id, writer_id, epoch)
    JOIN stepwell.writer w ON w.run_id = u.run_id AND w.writer_id = u.writer_id
    WHERE w.state = 'running' AND NOT l.fenced
    FOR UPDATE OF w SKIP LOCKED
)
UPDATE stepwell.writer w SET left_at = clock_timestamp() FROM gone g WHERE w.run_id = g.run_id AND w.writer_id = g.writer_id;

-- name: attach_all
-- As attach, for many sessions that do not ask where to continue. Sessions that fail are left out, and those whose run is
-- locked by another transaction have no run_id.
SELECT ord - 1 AS index, run_id, writer_id, writer, epoch, fenced, resumed
FROM stepwell.attach_all_v2($1, $2, $3, $4, $5, $6, $7, $8);

-- name: about
-- The config and names of a run, for a process that resumes it; and the last visible increment of each INCREMENTAL
-- table of the writer, whether its file is stored or not.
SELECT stepwell.run_config_v1($1) AS config, stepwell.run_meta_v1($1) AS meta, (
    SELECT coalesce(jsonb_object_agg(t.key, t.value), '{}') FROM (
        SELECT DISTINCT ON (n.value->>'key') n.value->>'key' AS key, n.value->'value' AS value
        FROM stepwell.note n
        JOIN stepwell.ledger l ON l.run_id = n.run_id AND l.writer_id = n.writer_id AND l.epoch = n.epoch
        WHERE n.run_id = $1 AND n.writer_id = $2 AND n.kind = 'object' AND n.value->>'key' IS NOT NULL
          AND n.value->'value'->>'_type' = 'incremental-table-file'
          AND (l.visible_below IS NULL OR stepwell.step_v1(n.value->'step') < l.visible_below)
        ORDER BY n.value->>'key', n.epoch DESC, n.seq DESC, n.ord DESC
    ) t
) AS tables;

-- name: cursors_by_session
-- The positions of sessions. A fenced session that was delivered late has a second row, which is not fenced.
SELECT DISTINCT ON (l.session)
       l.session, l.run_id, l.writer_id, w.name AS writer, l.epoch, l.next_seq, l.last_step, l.first_step,
       l.checksums, l.fenced
FROM stepwell.ledger l
JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
WHERE l.session = ANY ($1::uuid[])
ORDER BY l.session, l.fenced, l.epoch DESC;

-- name: stored_by_session
-- How much of each session is stored, whether its epoch is fenced, and the state of its writer.
SELECT DISTINCT ON (l.session) l.session, l.next_seq, l.fenced, w.state
FROM stepwell.ledger l
JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
WHERE l.session = ANY ($1::uuid[])
ORDER BY l.session, l.next_seq DESC, l.fenced, l.epoch DESC;

-- name: deleted_run_of
-- The run of a session, if it was deleted.
SELECT d.entity, d.project, d.name, to_char(d.deleted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS deleted_at
FROM stepwell.deleted_session s JOIN stepwell.deleted_run d ON d.run_id = s.run_id WHERE s.session = $1 LIMIT 1;

-- name: projects_of_sessions
-- The project of each session that has attached, also if its run was deleted since.
SELECT l.session, r.entity, r.project FROM stepwell.ledger l JOIN stepwell.run r ON r.run_id = l.run_id
WHERE l.session = ANY ($1::uuid[])
UNION
SELECT s.session, d.entity, d.project FROM stepwell.deleted_session s JOIN stepwell.deleted_run d ON d.run_id = s.run_id
WHERE s.session = ANY ($1::uuid[]);

-- name: move_ledger
-- Compare-and-set of many ledger rows. Returns one row. ring: the slot of hot_block to write to until the end of the
-- transaction. behind, locked: the positions, from 1, of the rows that did not move, or NULL. A row is behind if it is
-- missing or not as expected, and locked if another transaction has locked it; the statement does not wait.
WITH slot AS MATERIALIZED (
    SELECT stepwell.hot_ring_v1() AS ring
), wanted AS (
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[], $11::bigint[], $12::bigint[])
        WITH ORDINALITY AS u (run_id, writer_id, epoch, expected, next_seq, last_step, points, objects, rejected,
                              checksums, first_step, bytes, position)
), locked AS MATERIALIZED (
    SELECT l.run_id, l.writer_id, l.epoch
    FROM stepwell.ledger l JOIN wanted USING (run_id, writer_id, epoch)
    ORDER BY l.run_id, l.writer_id, l.epoch
    FOR UPDATE OF l SKIP LOCKED
), moved AS (
    UPDATE stepwell.ledger l
    SET next_seq = u.next_seq, last_step = u.last_step, first_step = coalesce(l.first_step, u.first_step),
        checksums = u.checksums, moved_at = clock_timestamp(),
        points = l.points + u.points, objects = l.objects + u.objects, rejected = l.rejected + u.rejected,
        bytes = l.bytes + u.bytes
    FROM wanted u JOIN locked USING (run_id, writer_id, epoch)
    WHERE l.run_id = u.run_id AND l.writer_id = u.writer_id AND l.epoch = u.epoch
      AND l.next_seq = u.expected AND NOT l.fenced
    RETURNING l.run_id, l.writer_id, l.epoch
)
SELECT (SELECT ring FROM slot), array_agg(position) FILTER (WHERE NOT is_locked) AS behind,
       array_agg(position) FILTER (WHERE is_locked) AS locked
FROM (
    SELECT u.position,
           -- not EXISTS, for which Postgres may plan to read the whole ledger
           k.run_id IS NULL AND coalesce((SELECT true FROM stepwell.ledger l WHERE l.run_id = u.run_id
                                          AND l.writer_id = u.writer_id AND l.epoch = u.epoch), false) AS is_locked
    FROM wanted u LEFT JOIN locked k USING (run_id, writer_id, epoch) LEFT JOIN moved m USING (run_id, writer_id, epoch)
    WHERE m.run_id IS NULL
) AS unmoved;

-- name: lock_superseded
-- Locks the rows that `supersede` will change in the same transaction. Returns the writers for which another
-- transaction has locked such a row.
WITH opened AS MATERIALIZED (
    SELECT u.*, w.name FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bigint[])
        AS u (run_id, writer_id, epoch, first_step)
    JOIN stepwell.writer w ON w.run_id = u.run_id AND w.writer_id = u.writer_id
), older AS MATERIALIZED (
    SELECT l.run_id, l.writer_id FROM stepwell.ledger l JOIN opened u ON u.run_id = l.run_id AND u.writer_id = l.writer_id
    WHERE l.epoch < u.epoch FOR UPDATE OF l SKIP LOCKED
), inherited AS MATERIALIZED (
    SELECT x.run_id, x.writer FROM stepwell.lineage_epoch x JOIN opened u ON u.run_id = x.run_id AND u.name = x.writer
    FOR UPDATE OF x SKIP LOCKED
)
SELECT u.run_id, u.writer_id, u.epoch FROM opened u
WHERE (SELECT count(*) FROM older o WHERE o.run_id = u.run_id AND o.writer_id = u.writer_id)
      <> (SELECT count(*) FROM stepwell.ledger l
          WHERE l.run_id = u.run_id AND l.writer_id = u.writer_id AND l.epoch < u.epoch)
   OR (SELECT count(*) FROM inherited i WHERE i.run_id = u.run_id AND i.writer = u.name)
      <> (SELECT count(*) FROM stepwell.lineage_epoch x WHERE x.run_id = u.run_id AND x.writer = u.name);

-- name: unsealed_bytes
-- The size of the slots of the hot ring that are not known to be sealed; 0 where no sealer is connected.
SELECT CASE WHEN EXISTS (SELECT FROM pg_stat_activity a
                         WHERE a.datname = current_database() AND a.application_name = 'stepwell seal')
            THEN coalesce(sum(pg_table_size(format('stepwell.hot_block_%s', h.ring)::regclass)), 0)::bigint
            ELSE 0 END
FROM stepwell.hot_ring h WHERE h.sealed_xid IS NULL;

-- name: supersede
-- The first step of an epoch is stored: from there on, points of older epochs of the writer are no longer shown, nor,
-- in a fork, those of its ancestors' writers of the same name.
WITH opened AS MATERIALIZED (
    SELECT u.*, w.name FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bigint[])
        AS u (run_id, writer_id, epoch, first_step)
    JOIN stepwell.writer w ON w.run_id = u.run_id AND w.writer_id = u.writer_id
), inherited AS (
    UPDATE stepwell.lineage_epoch x SET below_step = u.first_step
    FROM opened u WHERE x.run_id = u.run_id AND x.writer = u.name AND x.below_step > u.first_step
)
UPDATE stepwell.ledger l SET visible_below = u.first_step
FROM opened u JOIN stepwell.ledger o ON o.run_id = u.run_id AND o.writer_id = u.writer_id AND o.epoch = u.epoch
WHERE l.run_id = u.run_id AND l.writer_id = u.writer_id AND l.epoch < u.epoch
  AND (l.visible_below IS NULL OR l.visible_below > u.first_step)
  -- of late sessions, the one that started last is the newest
  AND NOT (o.late AND l.late AND l.started_at > o.started_at AND l.session <> o.session);

-- name: use_blobs
-- Records the files that objects and notes name, in the transaction that stores them; see use_blobs_v1.
SELECT stepwell.use_blobs_v1($1, $2);

-- name: insert_rejections
-- Records frames that were refused for good, in the transaction that counts their seq as used.
INSERT INTO stepwell.rejection
    (run_id, writer_id, epoch, seq, code, message, points, objects, first_step, last_step)
SELECT * FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::bigint[], $5::text[], $6::text[],
                     $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[]);

-- name: rejections_between
-- The rejected seqs of an epoch's session, so that a sender that retries learns of them.
SELECT j.seq, j.code, j.message FROM stepwell.rejection j
WHERE j.run_id = $1 AND j.writer_id = $2 AND j.seq >= $4 AND j.seq < $5
  AND j.epoch IN (SELECT o.epoch FROM stepwell.ledger e
                  JOIN stepwell.ledger o ON o.run_id = e.run_id AND o.writer_id = e.writer_id AND o.session = e.session
                  WHERE e.run_id = $1 AND e.writer_id = $2 AND e.epoch = $3)
ORDER BY j.seq;

-- name: intern_metrics
-- Names to ids for several runs: $2 has a JSON array of names for each run of $1. Runs are locked in this order, so $1
-- must be sorted. A run that another transaction has locked has no rows here. See try_intern_metrics_v1.
SELECT u.run_id, i.name, i.metric_id
FROM unnest($1::bigint[], $2::text[]) AS u (run_id, names)
CROSS JOIN LATERAL stepwell.try_intern_metrics_v1(
    u.run_id, ARRAY(SELECT e.name FROM jsonb_array_elements_text(u.names::jsonb) WITH ORDINALITY AS e (name, ord)
                    ORDER BY e.ord), $3) AS i;

-- name: finish
-- Records the ends of writers; see finish_v1. `current` is NULL for a writer whose run another transaction has locked.
SELECT ord - 1 AS index, current FROM stepwell.finish_all_v2($1, $2, $3, $4);

-- name: ensure_partitions
-- Creates the partitions of this month and of the two months after it.
SELECT stepwell.ensure_partitions_v1((clock_timestamp() AT TIME ZONE 'UTC')::date, 3);

-- name: edit_run
-- See functions/190_edit_run.sql.
SELECT stepwell.edit_run_v1($1, $2::jsonb, $3::jsonb, $4::jsonb);

-- name: archive_run
-- Archives a run, or brings it back; no row: there is no such run. A run that is archived already keeps its time.
UPDATE stepwell.run r SET archived_at = CASE WHEN $2 THEN coalesce(r.archived_at, clock_timestamp()) END
WHERE r.run_id = $1 RETURNING true;

-- name: put_layout
-- Replaces the layout of a project if it still has the version $4 (0: it has none); no row: it does not, or there is no
-- such project.
INSERT INTO stepwell.project_layout AS l (entity, project, version, layout)
SELECT $1, $2, 1, $3::jsonb
WHERE EXISTS (SELECT FROM stepwell.run r WHERE r.entity = $1 AND r.project = $2)
ON CONFLICT (entity, project) DO UPDATE
SET version = l.version + 1, layout = excluded.layout, changed_at = clock_timestamp() WHERE l.version = $4
RETURNING l.version;

-- name: put_view
-- Saves a view, or replaces the one of the same name; no row: the project has $7 views already, or does not exist.
INSERT INTO stepwell.saved_view (entity, project, name, page, query, layout)
SELECT $1, $2, $3, $4, $5, $6::jsonb
WHERE EXISTS (SELECT FROM stepwell.run r WHERE r.entity = $1 AND r.project = $2)
  AND (SELECT count(*) FROM stepwell.saved_view v WHERE v.entity = $1 AND v.project = $2 AND v.name <> $3) < $7
ON CONFLICT (entity, project, name) DO UPDATE
SET page = excluded.page, query = excluded.query, layout = excluded.layout, changed_at = clock_timestamp()
RETURNING true;

-- name: delete_view
-- Removes a saved view. Returns no row if no view has this name.
DELETE FROM stepwell.saved_view v WHERE v.entity = $1 AND v.project = $2 AND v.name = $3 RETURNING true;
