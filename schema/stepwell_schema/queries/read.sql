-- name: nearby
-- What a name that does not exist may have meant: runs of the project, then projects of the entity, then entities.
(SELECT 'run' AS kind, r.name FROM stepwell.run r WHERE r.entity = $1 AND r.project = $2
 ORDER BY r.name LIKE left($3, 4) || '%' DESC, r.run_id DESC LIMIT 5)
UNION ALL
(SELECT DISTINCT 'project', r.project FROM stepwell.run r WHERE r.entity = $1 ORDER BY 2 LIMIT 20)
UNION ALL
(SELECT DISTINCT 'entity', r.entity FROM stepwell.run r ORDER BY 2 LIMIT 20);

-- name: runs
-- What lists of runs are filtered from. A column here is a field of filters (read/filters.py names them).
SELECT r.entity, r.project, r.run, r.run_id, r.display_name, r.state, r.config, r.created_at, r.finished_at, r.exit_code,
       r.last_step, r.points, r.objects, r.rejected, r.writers, r.parent, r.fork_step, i.info, r.heartbeat_at,
       to_jsonb(r.tags) AS tags, r.notes, r.run_group, r.job_type, r.host, i.info ->> 'user' AS username,
       extract(epoch FROM coalesce(r.finished_at, r.heartbeat_at) - r.created_at)::float8 AS duration_s,
       r.objects > 0 OR EXISTS (SELECT FROM stepwell.note n WHERE n.run_id = r.run_id AND n.kind = 'object') AS has_objects
FROM stepwell.runs r
LEFT JOIN LATERAL (SELECT w.info FROM stepwell.writer w WHERE w.run_id = r.run_id ORDER BY w.writer_id LIMIT 1) i ON true
WHERE r.entity = $1 AND r.project = $2;

-- name: metrics
-- The names of a run's metrics.
SELECT m.name FROM stepwell.metrics m WHERE m.run_id = $1 ORDER BY m.name COLLATE "C";

-- name: summary
-- The last value of each key.
SELECT s.key, s.value FROM stepwell.summary s WHERE s.run_id = $1 ORDER BY s.key COLLATE "C";

-- name: arrays
-- The points of a step range as matrices in binary; $2 NULL: of all metrics. See functions/read_arrays.sql.
SELECT a.writer, a.source_run_id, array_send(a.metric_ids) AS metric_ids, a.first_step, a.stride, a.points,
       array_send(a.steps) AS steps, array_send(a.vals8) AS vals8, array_send(a.vals4) AS vals4
FROM stepwell.history_arrays_v1($1, $2, $3, $4) a;

-- name: arrays_with_times
-- Likewise, with their times.
SELECT a.writer, a.source_run_id, array_send(a.metric_ids) AS metric_ids, a.first_step, a.stride, a.points,
       array_send(a.steps) AS steps, array_send(a.vals8) AS vals8, array_send(a.vals4) AS vals4,
       (extract(epoch FROM a.time_lo) * 1000000)::bigint AS time_lo_us, array_send(a.times_us) AS times_us,
       array_send(a.times) AS times
FROM stepwell.history_arrays_v1($1, $2, $3, $4) a;

-- name: metric_ids
-- What the metrics of these matrices are called; $2 NULL: all.
SELECT m.run_id, m.metric_id, m.name
FROM stepwell.lineage g JOIN stepwell.metric m ON m.run_id = g.source_run_id
WHERE g.run_id = $1
  AND ($2::text[] IS NULL OR m.name_hash IN (SELECT md5(n.name)::uuid FROM unnest($2::text[]) AS n (name)));

-- name: objects
-- The values of a step range that are no numbers; $2 NULL: of all keys.
SELECT o.writer, o.key, o.step, o.time, o.value::text AS value
FROM stepwell.history_objects o
WHERE o.run_id = $1 AND ($2::text[] IS NULL OR o.key = ANY ($2)) AND o.step >= $3 AND o.step < $4;

-- name: objects_of_key
-- One key's values behind a position, in order.
SELECT o.writer, o.step, o.time, o.value::text AS value
FROM stepwell.history_objects o
WHERE o.run_id = $1 AND o.key = $2 AND o.step >= $3 AND o.step < $5
  AND ($4::text IS NULL OR (o.step, o.writer) > ($3, $4))
ORDER BY o.step, o.writer LIMIT $6;

-- name: object_keys
-- The keys whose values are no numbers.
SELECT o.key, count(*) AS count, min(o.step) AS first_step, max(o.step) AS last_step
FROM stepwell.history_objects o WHERE o.run_id = $1 GROUP BY o.key ORDER BY o.key COLLATE "C";

-- name: sample
-- A metric in buckets; see the function.
SELECT writer, bucket_step, bucket_width, count, min, max, mean, first, last, first_step, last_step,
       nans, pos_infs, neg_infs
FROM stepwell.history_sample($1, $2, $3, $4, $5) ORDER BY writer, bucket_step;

-- name: positions
-- Where each epoch of each writer of a run stands, and the run's state; ordered by writer and epoch.
SELECT w.name AS writer, l.epoch, l.first_step, l.last_step, l.visible_below, r.state,
       (SELECT max(x.below_step) FROM stepwell.lineage_epoch x
        WHERE x.run_id = r.run_id AND x.writer = w.name) AS inherited_below
FROM stepwell.run r
LEFT JOIN stepwell.ledger l ON l.run_id = r.run_id
LEFT JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
WHERE r.run_id = $1 ORDER BY l.writer_id, l.epoch;

-- name: marks
-- One text a run that changes whenever its positions or its state do.
SELECT r.run_id, concat_ws(' ', r.state, count(l.*), sum(l.next_seq), sum(l.last_step), sum(l.visible_below),
                           count(l.visible_below)) AS mark
FROM stepwell.run r LEFT JOIN stepwell.ledger l ON l.run_id = r.run_id
WHERE r.run_id = ANY ($1) GROUP BY r.run_id;
