-- name: nearby
-- Suggestions for a name that does not exist: runs of the project, then projects of the entity, then entities. Of those in
-- a scope: an entity, a project of it; NULL: any.
(SELECT 'run' AS kind, v.run || CASE WHEN v.display_name <> v.run THEN ' (' || v.display_name || ')' ELSE '' END AS name
 FROM (SELECT r.run_id, r.name FROM stepwell.run r WHERE r.entity = $1 AND r.project = $2
       ORDER BY r.name LIKE left($3, 4) || '%' DESC, r.run_id DESC LIMIT 5) r
 JOIN stepwell.runs v ON v.run_id = r.run_id
 ORDER BY r.name LIKE left($3, 4) || '%' DESC, r.run_id DESC)
UNION ALL
(SELECT DISTINCT 'project', r.project FROM stepwell.run r
 WHERE r.entity = $1 AND ($5::text IS NULL OR r.project = $5) ORDER BY 2 LIMIT 20)
UNION ALL
(SELECT DISTINCT 'entity', r.entity FROM stepwell.run r WHERE $4::text IS NULL OR r.entity = $4 ORDER BY 2 LIMIT 20);

-- name: run_named
-- The ids of the runs of a project with this display name; two suffice to know that it is ambiguous.
SELECT r.run FROM stepwell.runs r
WHERE r.entity = $1 AND r.project = $2 AND r.display_name = $3 ORDER BY r.run_id DESC LIMIT 2;

-- name: runs
-- The rows from which lists of runs are filtered. The columns are the fields of filters (read/filters.py).
SELECT r.entity, r.project, r.run, r.run_id, r.display_name, r.state, r.config, r.created_at, r.finished_at, r.exit_code,
       r.last_step, r.points, r.objects, r.rejected,
       -- the writers whose rows it shows; for a fork, also those of its ancestors
       CASE WHEN r.parent IS NULL THEN r.writers
            ELSE (SELECT count(*) FROM (SELECT w.name FROM stepwell.writer w WHERE w.run_id = r.run_id
                                        UNION SELECT x.writer FROM stepwell.lineage_epoch x WHERE x.run_id = r.run_id) n)
            END AS writers, r.parent, r.fork_step,
       r.heartbeat_at, to_jsonb(r.tags) AS tags, r.notes, r.run_group, r.job_type, r.host, r.archived_at,
       -- a subquery in the list of columns is not run for a column that is not asked for
       (SELECT w.info ->> 'user' FROM stepwell.writer w WHERE w.run_id = r.run_id ORDER BY w.writer_id LIMIT 1) AS username,
       extract(epoch FROM coalesce(r.finished_at, r.heartbeat_at) - r.created_at)::float8 AS duration_s,
       r.objects > 0 OR EXISTS (SELECT FROM stepwell.note n WHERE n.run_id = r.run_id AND n.kind = 'object') AS has_objects,
       (SELECT b.slot FROM stepwell.run b WHERE b.run_id = r.run_id) AS slot,
       -- when its first process began (for a fork, its ancestors' first), by the clock of that process, like the times
       -- of points
       (SELECT min(stepwell.float_v1(w.info -> 'started_at')) FROM stepwell.lineage g
        JOIN stepwell.writer w ON w.run_id = g.source_run_id
        WHERE g.run_id = r.run_id AND jsonb_typeof(w.info -> 'started_at') = 'number') AS started_at,
       (SELECT stepwell.object_v1(w.info) - '{notes,tags,group,job_type,display_name,config}'::text[]
        FROM stepwell.writer w WHERE w.run_id = r.run_id ORDER BY w.writer_id LIMIT 1) AS metadata
FROM stepwell.runs r
WHERE r.entity = $1 AND r.project = $2;

-- name: points
-- The number of points that a run and its ancestors have stored.
SELECT coalesce(sum(l.points), 0)::bigint FROM stepwell.lineage g JOIN stepwell.ledger l ON l.run_id = g.source_run_id
WHERE g.run_id = $1;

-- name: bounds
-- The part that a run shows of each of its epochs and of those of its ancestors: steps from end_step on are missing or
-- hidden (0: all are). `below`: the first hidden step; NULL: nothing is hidden. No row: the run does not exist.
SELECT l.run_id, l.writer_id, l.epoch,
       CASE WHEN l.first_step IS NULL OR v.below <= l.first_step THEN 0 ELSE least(l.last_step + 1, v.below) END AS end_step,
       v.below
FROM stepwell.lineage g JOIN stepwell.ledger l ON l.run_id = g.source_run_id
CROSS JOIN LATERAL (
    SELECT stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below OFFSET 0
) v
WHERE g.run_id = $1 ORDER BY l.run_id, l.writer_id, l.epoch;

-- name: metrics
-- The names of the metrics of a run.
SELECT m.name FROM stepwell.metrics m WHERE m.run_id = $1 ORDER BY m.name COLLATE "C";

-- name: summary
-- The last value of each key.
SELECT x.key, x.value::text AS value
FROM (SELECT s.key, s.value FROM stepwell.summary s WHERE s.run_id = $1 ORDER BY s.key COLLATE "C" OFFSET 0) x;

-- name: summary_after
-- The last value of each key after $2.
SELECT x.key, x.value::text AS value
FROM (SELECT s.key, s.value FROM stepwell.summary s
      WHERE s.run_id = $1 AND s.key COLLATE "C" > $2 ORDER BY s.key COLLATE "C" OFFSET 0) x;

-- name: arrays
-- The points of a step range as matrices in binary; $2 NULL: of all metrics. See history_arrays_v1.
SELECT a.writer, a.source_run_id, array_send(a.metric_ids) AS metric_ids, a.first_step, a.stride, a.points,
       array_send(a.steps) AS steps, array_send(a.vals8) AS vals8, array_send(a.vals4) AS vals4
FROM stepwell.history_arrays_v1($1, $2, $3, $4) a;

-- name: arrays_with_times
-- As `arrays`, with the times of the points.
SELECT a.writer, a.source_run_id, array_send(a.metric_ids) AS metric_ids, a.first_step, a.stride, a.points,
       array_send(a.steps) AS steps, array_send(a.vals8) AS vals8, array_send(a.vals4) AS vals4,
       (extract(epoch FROM a.time_lo) * 1000000)::bigint AS time_lo_us, array_send(a.times_us) AS times_us,
       array_send(a.times) AS times
FROM stepwell.history_arrays_v1($1, $2, $3, $4) a;

-- name: metric_ids
-- The names of the metrics in the matrices of `arrays`; $2 NULL: of all metrics.
SELECT m.run_id, m.metric_id, m.name
FROM stepwell.lineage g JOIN stepwell.metric m ON m.run_id = g.source_run_id
WHERE g.run_id = $1
  AND ($2::text[] IS NULL OR m.name_hash IN (SELECT md5(n.name)::uuid FROM unnest($2::text[]) AS n (name)));

-- name: objects
-- The objects of a step range; $2 NULL: of all keys.
SELECT o.writer, o.key, o.step, o.time, o.value::text AS value
FROM stepwell.history_objects o
WHERE o.run_id = $1 AND ($2::text[] IS NULL OR o.key = ANY ($2)) AND o.step >= $3 AND o.step < $4;

-- name: objects_of_key
-- The objects of one key after a position, in order.
SELECT x.writer, x.step, x.time, x.value::text AS value   -- converted to text after ORDER BY and LIMIT
FROM (SELECT o.writer, o.step, o.time, o.value
      FROM stepwell.history_objects o
      WHERE o.run_id = $1 AND o.key = $2 AND o.step >= $3 AND o.step < $5
        AND ($4::text IS NULL OR (o.step, o.writer) > ($3, $4))
      ORDER BY o.step, o.writer LIMIT $6) x;

-- name: object_keys
-- The keys that have objects.
SELECT o.key, count(*) AS count, min(o.step) AS first_step, max(o.step) AS last_step
FROM stepwell.history_objects o WHERE o.run_id = $1 GROUP BY o.key ORDER BY o.key COLLATE "C";

-- name: sample
-- A metric in buckets; see history_sample.
SELECT writer, bucket_step, bucket_width, count, min, max, mean, first, last, first_step, last_step,
       nans, pos_infs, neg_infs
FROM stepwell.history_sample($1, $2, $3, $4, $5) ORDER BY writer, bucket_step;

-- name: positions
-- The position of each epoch of each writer of a run, and the state of the run; ordered by writer and epoch.
SELECT w.name AS writer, l.writer_id, l.epoch, l.first_step, l.last_step, l.visible_below, l.next_seq, r.state
FROM stepwell.run r
LEFT JOIN stepwell.ledger l ON l.run_id = r.run_id
LEFT JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
WHERE r.run_id = $1 ORDER BY l.writer_id, l.epoch;

-- name: inherited
-- The part that a fork shows of its ancestors' epochs: the steps below below_step, of which those below end_step exist
-- so far.
SELECT x.writer, x.below_step, CASE WHEN l.first_step < x.below_step THEN least(l.last_step + 1, x.below_step) ELSE 0 END AS end_step
FROM stepwell.lineage_epoch x
JOIN stepwell.ledger l ON l.run_id = x.source_run_id AND l.writer_id = x.writer_id AND l.epoch = x.epoch
WHERE x.run_id = $1 ORDER BY x.writer, x.source_run_id, x.writer_id, x.epoch;

-- name: marks
-- One text per run, which changes whenever its positions, its state or what it inherits change. A deleted run has none.
SELECT r.run_id, concat_ws(' ', r.state, l.mark, x.mark) AS mark
FROM stepwell.run r
LEFT JOIN LATERAL (
    SELECT concat_ws(' ', count(*), sum(l.next_seq), sum(l.last_step), sum(l.visible_below), count(l.visible_below)) AS mark
    FROM stepwell.ledger l WHERE l.run_id = r.run_id
) l ON true
LEFT JOIN LATERAL (
    SELECT concat_ws(' ', sum(x.below_step), sum(least(l.last_step, x.below_step))) AS mark
    FROM stepwell.lineage_epoch x
    JOIN stepwell.ledger l ON l.run_id = x.source_run_id AND l.writer_id = x.writer_id AND l.epoch = x.epoch
    WHERE x.run_id = r.run_id
) x ON true
WHERE r.run_id = ANY ($1);

-- name: objects_of_frames
-- The objects in some frames that are not superseded, ordered by writer, epoch, seq and number (the place in the
-- frame). $2 to $6: writers, epochs, first and last seqs, and first steps. $7: keys whose objects are returned with
-- their value; of other keys, only objects that need files are returned, without it. `missing`: a file that is not
-- stored.
SELECT w.name AS writer, x.epoch, o.seq, o.number, o.key, o.step, o.time_us, f.needs_files, f.missing,
       CASE WHEN f.missing IS NULL AND o.key = ANY ($7) THEN o.value::text END AS value
FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[])
     AS x (writer_id, epoch, from_seq, to_seq, from_step)
JOIN stepwell.ledger l ON l.run_id = $1 AND l.writer_id = x.writer_id AND l.epoch = x.epoch
JOIN stepwell.writer w ON w.run_id = $1 AND w.writer_id = x.writer_id
CROSS JOIN LATERAL (
    SELECT n.seq, n.ord AS number, n.value->>'key' AS key, stepwell.step_v1(n.value->'step') AS step,
           coalesce(stepwell.micros_v1(n.value->'time'), (extract(epoch FROM n.time) * 1000000)::bigint) AS time_us,
           n.value->'value' AS value
    FROM stepwell.note n
    WHERE n.run_id = $1 AND n.writer_id = x.writer_id AND n.epoch = x.epoch AND n.seq >= x.from_seq AND n.seq <= x.to_seq
      AND n.kind = 'object' AND jsonb_typeof(n.value->'key') = 'string' AND n.value ? 'value'
    UNION ALL
    SELECT h.seq, row_number() OVER (PARTITION BY h.seq ORDER BY h.step, h.key COLLATE "C")::integer, h.key, h.step,
           (extract(epoch FROM h.time) * 1000000)::bigint, h.value
    FROM stepwell.hot_object h
    WHERE h.run_id = $1 AND h.writer_id = x.writer_id AND h.epoch = x.epoch AND h.seq >= x.from_seq AND h.seq <= x.to_seq
) o
CROSS JOIN LATERAL (   -- aggregated, so that the hashes are searched once
    SELECT count(*) > 0 AS needs_files, min(u.sha256) FILTER (WHERE b.sha256 IS NULL) AS missing
    FROM unnest(CASE WHEN o.value ? '_type' OR o.value->0 ? '_type' THEN stepwell.blobs_of_v1(o.value) END) AS u (sha256)
    LEFT JOIN stepwell.blob b ON b.sha256 = decode(u.sha256, 'hex') AND b.removing_at IS NULL
) f
WHERE o.step >= x.from_step AND (l.visible_below IS NULL OR o.step < l.visible_below)
  AND (o.key = ANY ($7) OR f.needs_files)
ORDER BY x.writer_id, x.epoch, o.seq, o.number;

-- name: note_counts
-- The numbers of notes of each kind in some frames, without media (objects_of_frames).
SELECT n.kind, count(*) AS count
FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::bigint[]) AS x (writer_id, epoch, from_seq, to_seq)
JOIN stepwell.note n ON n.run_id = $1 AND n.writer_id = x.writer_id AND n.epoch = x.epoch AND n.seq >= x.from_seq
                    AND n.seq <= x.to_seq
WHERE n.kind <> 'object' GROUP BY n.kind ORDER BY n.kind;

-- name: blobs_there
-- Which of these files are stored.
SELECT encode(b.sha256, 'hex') AS sha256 FROM stepwell.blob b WHERE b.sha256 = ANY ($1::bytea[]) AND b.removing_at IS NULL;

-- name: last_objects
-- The highest step of the objects that were notes in some frames, by writer.
SELECT x.writer_id, max(stepwell.step_v1(n.value->'step')) AS step
FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::bigint[]) AS x (writer_id, epoch, from_seq, to_seq)
JOIN stepwell.note n ON n.run_id = $1 AND n.writer_id = x.writer_id AND n.epoch = x.epoch AND n.seq >= x.from_seq
                    AND n.seq <= x.to_seq
WHERE n.kind = 'object' GROUP BY x.writer_id HAVING count(stepwell.step_v1(n.value->'step')) > 0;

-- name: system
-- The view system with one row per measurement, in order, after a position ($2 to $6; NULL: from the beginning).
SELECT w.name AS writer, s.*,
       (SELECT jsonb_object_agg(e.key, stepwell.float_v1(e.value)) FILTER (WHERE stepwell.float_v1(e.value) IS NOT NULL)
        FROM jsonb_each(stepwell.object_v1(s.given)) e)::text AS value
FROM (
    SELECT n.writer_id, n.epoch, n.seq, n.ord, n.value->'metrics' AS given,
           (extract(epoch FROM coalesce(stepwell.time_v1(n.value->'time'), n.time)) * 1000000)::bigint AS time_us
    FROM stepwell.note n WHERE n.run_id = $1 AND n.kind = 'system' AND n.value ? 'metrics'
) s
JOIN stepwell.writer w ON w.run_id = $1 AND w.writer_id = s.writer_id
WHERE $2::bigint IS NULL OR (s.time_us, s.writer_id, s.epoch, s.seq, s.ord) > ($2, $3::integer, $4::integer, $5::bigint, $6::integer)
ORDER BY s.time_us, s.writer_id, s.epoch, s.seq, s.ord LIMIT $7;

-- name: system_sample
-- About $2 measurements: every n-th of each writer, and its last one. `total`: the number of all measurements.
WITH numbered AS (
    SELECT n.writer_id, n.epoch, n.seq, n.ord, n.time_us, count(*) OVER () AS total,
           count(*) OVER (PARTITION BY n.writer_id) AS of_writer,
           row_number() OVER (PARTITION BY n.writer_id ORDER BY n.time_us, n.epoch, n.seq, n.ord) AS number
    FROM (
        SELECT n.writer_id, n.epoch, n.seq, n.ord,
               (extract(epoch FROM coalesce(stepwell.time_v1(n.value->'time'), n.time)) * 1000000)::bigint AS time_us
        FROM stepwell.note n WHERE n.run_id = $1 AND n.kind = 'system' AND n.value ? 'metrics'
    ) n
)
SELECT w.name AS writer, s.time_us, s.total,
       (SELECT jsonb_object_agg(e.key, stepwell.float_v1(e.value)) FILTER (WHERE stepwell.float_v1(e.value) IS NOT NULL)
        FROM jsonb_each(stepwell.object_v1(n.value->'metrics')) e)::text AS value
FROM numbered s
JOIN stepwell.note n ON n.run_id = $1 AND n.writer_id = s.writer_id AND n.epoch = s.epoch AND n.seq = s.seq AND n.ord = s.ord
JOIN stepwell.writer w ON w.run_id = $1 AND w.writer_id = s.writer_id
WHERE (s.number - 1) % greatest(1, (s.total + $2 - 1) / $2) = 0 OR s.number = s.of_writer
ORDER BY s.time_us, s.writer_id, s.epoch, s.seq, s.ord;

-- name: summaries
-- Some keys of the summaries of some runs.
SELECT s.run_id, s.key, s.value::text AS value FROM stepwell.summary s WHERE s.run_id = ANY ($1) AND s.key = ANY ($2)
ORDER BY array_position($1, s.run_id);

-- name: layout
-- The layout of a project's charts; no row: nobody has changed it.
SELECT l.version, l.layout::text AS layout FROM stepwell.project_layout l WHERE l.entity = $1 AND l.project = $2;

-- name: saved_views
-- The saved views of a project, by name.
SELECT v.name, v.page, v.query, v.layout::text AS layout FROM stepwell.saved_view v
WHERE v.entity = $1 AND v.project = $2 ORDER BY v.name COLLATE "C";

-- name: projects
-- The projects of a scope, the one with the newest run first. The scope: an entity, a project of it; NULL: any.
SELECT r.entity, r.project, count(*) AS runs, count(*) FILTER (WHERE r.state = 'running') AS running,
       max(r.created_at) AS newest_run_at
FROM stepwell.run r WHERE ($2::text IS NULL OR r.entity = $2) AND ($3::text IS NULL OR r.project = $3)
GROUP BY r.entity, r.project ORDER BY max(r.created_at) DESC, r.entity, r.project LIMIT $1;

-- name: newest_runs
-- The newest runs of a project.
SELECT r.run_id, r.name FROM stepwell.run r WHERE r.entity = $1 AND r.project = $2 ORDER BY r.run_id DESC LIMIT $3;

-- name: named_runs
-- The runs of a project that have these names.
SELECT r.run_id, r.name FROM stepwell.run r WHERE r.entity = $1 AND r.project = $2 AND r.name = ANY ($3);

-- name: metrics_of_runs
-- The names of the metrics of some runs, each with the runs that have it.
SELECT m.name, array_agg(DISTINCT g.run_id) AS run_ids
FROM stepwell.lineage g JOIN stepwell.metric m ON m.run_id = g.source_run_id
WHERE g.run_id = ANY ($1) GROUP BY m.name ORDER BY m.name COLLATE "C";

-- name: metrics_of_project
-- The names of the metrics of a project, for suggestions.
SELECT DISTINCT m.name FROM stepwell.metrics m WHERE m.entity = $1 AND m.project = $2 LIMIT $3;

-- name: config_keys
-- The keys in the configs of a project's newest runs, nested ones as paths with dots, for suggestions.
WITH RECURSIVE k (name, value, depth) AS (
    SELECT e.key, e.value, 1
    FROM (SELECT r.config FROM stepwell.runs r WHERE r.entity = $1 AND r.project = $2 ORDER BY r.run_id DESC LIMIT 200) r,
         jsonb_each(stepwell.object_v1(r.config)) e
    UNION ALL
    SELECT k.name || '.' || e.key, e.value, k.depth + 1
    FROM k, jsonb_each(stepwell.object_v1(k.value)) e WHERE k.depth < 5
)
SELECT DISTINCT k.name FROM k WHERE jsonb_typeof(k.value) <> 'object' LIMIT $3;

-- name: definitions_of_runs
-- The definitions of metrics of some runs, as far as pages need them.
SELECT DISTINCT d.name, d.is_glob, d.hidden, d.step_metric
FROM stepwell.definitions d WHERE d.run_id = ANY ($1) AND (d.hidden OR d.step_metric IS NOT NULL);

-- name: chart
-- A metric in buckets as arrays in binary, ordered by bucket and writer; see history_sample. NULL: there are no points.
WITH s AS MATERIALIZED (SELECT * FROM stepwell.history_sample($1, $2, $3, $4, $5)),
     n AS (SELECT s.*, dense_rank() OVER (ORDER BY s.writer) - 1 AS nr FROM s)
SELECT max(n.bucket_width) AS bucket_width, (SELECT array_agg(DISTINCT s.writer ORDER BY s.writer) FROM s) AS writers,
       array_send(array_agg(n.nr ORDER BY n.bucket_step, n.writer)) AS writer,
       array_send(array_agg(n.bucket_step ORDER BY n.bucket_step, n.writer)) AS bucket_step,
       array_send(array_agg(n.count ORDER BY n.bucket_step, n.writer)) AS count,
       array_send(array_agg(n.first_step ORDER BY n.bucket_step, n.writer)) AS first_step,
       array_send(array_agg(n.last_step ORDER BY n.bucket_step, n.writer)) AS last_step,
       array_send(array_agg(n.nans ORDER BY n.bucket_step, n.writer)) AS nans,
       array_send(array_agg(n.pos_infs ORDER BY n.bucket_step, n.writer)) AS pos_infs,
       array_send(array_agg(n.neg_infs ORDER BY n.bucket_step, n.writer)) AS neg_infs,
       array_send(array_agg(coalesce(n.min, 'NaN') ORDER BY n.bucket_step, n.writer)) AS min,
       array_send(array_agg(coalesce(n.max, 'NaN') ORDER BY n.bucket_step, n.writer)) AS max,
       array_send(array_agg(coalesce(n.mean, 'NaN') ORDER BY n.bucket_step, n.writer)) AS mean,
       array_send(array_agg(n.first ORDER BY n.bucket_step, n.writer)) AS first,
       array_send(array_agg(n.last ORDER BY n.bucket_step, n.writer)) AS last
FROM n HAVING count(*) > 0;

-- name: times_of_steps
-- The first time at which a metric was logged at each of these steps, in Unix microseconds.
SELECT x.step, min((extract(epoch FROM p.time) * 1000000)::bigint) AS time_us
FROM unnest($3::bigint[]) AS x (step)
CROSS JOIN stepwell.lineage g
JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5($2::text)::uuid
CROSS JOIN LATERAL stepwell.points_v1(
    g.run_id, g.source_run_id, m.metric_id, x.step,
    least(CASE WHEN x.step < 9223372036854775807 THEN x.step + 1 END, g.below_step), false) p
WHERE g.run_id = $1 GROUP BY x.step;

-- name: writers
-- The writers of a run, with the position up to which each is committed.
SELECT w.name, w.state, w.exit_code, w.attached_at, w.heartbeat_at, w.info->>'host' AS host, l.epochs, l.last_step,
       l.points, l.objects, l.rejected
FROM stepwell.writer w
CROSS JOIN LATERAL (
    SELECT count(*) AS epochs, nullif(max(least(l.last_step, l.visible_below - 1)), -1) AS last_step,
           sum(l.points)::bigint AS points, sum(l.objects)::bigint AS objects, sum(l.rejected)::bigint AS rejected
    FROM stepwell.ledger l WHERE l.run_id = w.run_id AND l.writer_id = w.writer_id
) l
WHERE w.run_id = $1 ORDER BY w.writer_id LIMIT $2;

-- name: rejections
-- The frames of a run that were refused, the newest first.
SELECT j.writer, j.code, j.message, j.points, j.objects, j.first_step, j.last_step, j.rejected_at
FROM stepwell.rejections j WHERE j.run_id = $1 ORDER BY j.rejected_at DESC, j.writer, j.epoch, j.seq DESC LIMIT $2;

-- name: alerts
-- The alerts of a run, the newest first.
SELECT a.writer, a.time, a.step, a.level, a.title, a.text
FROM stepwell.alerts a WHERE a.run_id = $1 ORDER BY a.time DESC LIMIT $2;

-- name: files
-- The stored files of a run, ordered by name, after a name.
SELECT f.name, f.sha256, f.size, f.time, f.writer FROM stepwell.files f
WHERE f.run_id = $1 AND length(f.name) <= 4096 AND ($2::text IS NULL OR f.name > $2) ORDER BY f.name LIMIT $3;

-- name: metadata
-- The metadata of the writers of a run: host, program and so on.
SELECT m.writer, m.metadata::text AS value FROM stepwell.metadata m WHERE m.run_id = $1 ORDER BY m.writer LIMIT $2;

-- name: console
-- Console lines in the parts in which they arrived, the newest first, before a position ($2 to $6; NULL: from the end).
SELECT w.name AS writer, c.*
FROM (
    SELECT n.writer_id, n.epoch, n.seq, n.ord, (extract(epoch FROM n.time) * 1000000)::bigint AS time_us,
           left(n.value->>'stream', 100) AS stream,
           jsonb_build_object(
               'number', stepwell.whole_v1(n.value->'number'),
               'lines', ARRAY(SELECT jsonb_array_elements_text(stepwell.array_v1(n.value->'lines'))),
               'times', stepwell.array_v1(n.value->'times'))::text AS value
    FROM stepwell.note n WHERE n.run_id = $1 AND n.kind = 'console'
) c
JOIN stepwell.writer w ON w.run_id = $1 AND w.writer_id = c.writer_id
WHERE $2::bigint IS NULL OR (c.time_us, c.writer_id, c.epoch, c.seq, c.ord) < ($2, $3::integer, $4::integer, $5::bigint, $6::integer)
ORDER BY c.time_us DESC, c.writer_id DESC, c.epoch DESC, c.seq DESC, c.ord DESC LIMIT $7;
