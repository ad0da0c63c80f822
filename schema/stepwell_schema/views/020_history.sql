-- History, as the SQL contract shows it: what people and dashboards query. Names and types change only with a new
-- version of the contract.

-- One row per point, with the run that shows it (a fork shows points of its parent, too).
CREATE OR REPLACE VIEW stepwell.history AS
SELECT r.entity, r.project, r.name AS run, r.run_id, p.writer, m.name AS metric, p.step, p.time, p.value
FROM stepwell.run r
CROSS JOIN LATERAL stepwell.sources_v1(r.run_id, r.next_metric) g
JOIN stepwell.metric m ON m.run_id = g.source_run_id
CROSS JOIN LATERAL stepwell.points_in_v1(
    g.run_id, g.source_run_id, m.metric_id, NULL, g.below_step, false,
    g.metric_ids, g.first_ends, g.last_ends, g.has_chunks, g.steps, g.times, g."values", g.writer_nrs, g.writers) p;

-- The points that a later epoch of their writer has superseded (a restart from an earlier step, a rewind).
CREATE OR REPLACE VIEW stepwell.history_superseded AS
SELECT r.entity, r.project, r.name AS run, r.run_id, p.writer, p.epoch, m.name AS metric, p.step, p.time, p.value
FROM stepwell.run r
CROSS JOIN LATERAL (   -- as in history; only where something is superseded
    SELECT i.run_id, i.source_run_id, i.below_step, h.metric_ids, h.first_ends, h.last_ends
    FROM stepwell.lineage i
    CROSS JOIN LATERAL stepwell.hot_ranges_v1(
        i.run_id, CASE WHEN i.source_run_id <> r.run_id
                         OR r.next_metric > 256 AND EXISTS (SELECT FROM stepwell.ledger l WHERE l.run_id = r.run_id
                                                            AND l.visible_below IS NOT NULL)
                       THEN i.source_run_id END, -1) h
    WHERE i.run_id = r.run_id
    OFFSET 0
) g
JOIN stepwell.metric m ON m.run_id = g.source_run_id
CROSS JOIN LATERAL stepwell.points_in_v1(
    g.run_id, g.source_run_id, m.metric_id, NULL, g.below_step, true,
    g.metric_ids, g.first_ends, g.last_ends, NULL, NULL, NULL, NULL, NULL, NULL) p;

-- Earlier versions; the views above used them until they were replaced.
DROP FUNCTION IF EXISTS stepwell.points_v1(bigint, integer, bigint, bigint, boolean);
DROP FUNCTION IF EXISTS stepwell.points_in_v1(bigint, bigint, integer, bigint, bigint, boolean, bigint, bigint);
DROP FUNCTION IF EXISTS stepwell.hot_ranges_v1(bigint);

-- One row per object (a logged value that is not a number). Media are sent as notes; they are shown when their files
-- are stored.
CREATE OR REPLACE VIEW stepwell.history_objects AS
SELECT r.entity, r.project, r.name AS run, r.run_id, o.writer, o.key, o.step, o.time, o.value
FROM stepwell.run r
JOIN stepwell.lineage g ON g.run_id = r.run_id
CROSS JOIN LATERAL (
    SELECT w.name AS writer, o.key, o.step, o.time, o.value
    FROM stepwell.objects_v1(g.source_run_id) o
    JOIN stepwell.writer w ON w.run_id = o.run_id AND w.writer_id = o.writer_id
    JOIN stepwell.ledger l ON l.run_id = o.run_id AND l.writer_id = o.writer_id AND l.epoch = o.epoch
    CROSS JOIN LATERAL (
        SELECT stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below
    ) v
    WHERE o.run_id = g.source_run_id AND (v.below IS NULL OR o.step < v.below)
    UNION ALL
    SELECT w.name, n.value->>'key', e.step,
           coalesce(timestamptz 'epoch' + stepwell.micros_v1(n.value->'time') * interval '1 microsecond', n.time), n.value->'value'
    FROM stepwell.note n
    JOIN stepwell.writer w ON w.run_id = n.run_id AND w.writer_id = n.writer_id
    JOIN stepwell.ledger l ON l.run_id = n.run_id AND l.writer_id = n.writer_id AND l.epoch = n.epoch
    CROSS JOIN LATERAL (SELECT stepwell.step_v1(n.value->'step') AS step) e
    CROSS JOIN LATERAL (
        SELECT stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below
    ) v
    WHERE n.run_id = g.source_run_id AND n.kind = 'object' AND (v.below IS NULL OR e.step < v.below)
      -- A note may contain any JSON; one that is not an object is hidden, without affecting others.
      AND e.step IS NOT NULL AND jsonb_typeof(n.value->'key') = 'string' AND n.value ? 'value'
) o
WHERE stepwell.blobs_there_v1(o.value);
