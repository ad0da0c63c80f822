-- The SQL contract: what people and dashboards query. Names and types here change only with a new version of the contract.

-- One row a run.
CREATE OR REPLACE VIEW stepwell.runs AS
SELECT r.entity, r.project, r.name AS run, r.display_name, r.state, r.config,
       r.created_at, r.finished_at, r.exit_code, s.last_step, s.points, s.objects, s.rejected, s.writers, r.run_id,
       p.name AS parent, r.fork_step
FROM stepwell.run r
LEFT JOIN stepwell.run p ON p.run_id = r.parent_run_id
LEFT JOIN LATERAL (
    SELECT nullif(max(least(l.last_step, l.visible_below - 1)), -1) AS last_step, sum(l.points)::bigint AS points,
           sum(l.objects)::bigint AS objects, sum(l.rejected)::bigint AS rejected,
           count(DISTINCT l.writer_id) AS writers
    FROM stepwell.ledger l WHERE l.run_id = r.run_id
) s ON true;

-- One row a point, with the run that shows it (a fork shows its parent's, too).
CREATE OR REPLACE VIEW stepwell.history AS
SELECT r.entity, r.project, r.name AS run, r.run_id, p.writer, m.name AS metric, p.step, p.time, p.value
FROM stepwell.run r
JOIN stepwell.lineage g ON g.run_id = r.run_id
JOIN stepwell.metric m ON m.run_id = g.source_run_id
CROSS JOIN LATERAL stepwell.points_v1(g.source_run_id, m.metric_id, NULL, g.below_step, false) p;

-- The points that a later epoch of their writer has superseded (a restart from an earlier step, a rewind).
CREATE OR REPLACE VIEW stepwell.history_superseded AS
SELECT r.entity, r.project, r.name AS run, r.run_id, p.writer, p.epoch, m.name AS metric, p.step, p.time, p.value
FROM stepwell.run r
JOIN stepwell.lineage g ON g.run_id = r.run_id
JOIN stepwell.metric m ON m.run_id = g.source_run_id
CROSS JOIN LATERAL stepwell.points_v1(g.source_run_id, m.metric_id, NULL, g.below_step, true) p;

-- One row a logged value that is no number.
CREATE OR REPLACE VIEW stepwell.history_objects AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, o.key, o.step, o.time, o.value
FROM stepwell.run r
JOIN stepwell.lineage g ON g.run_id = r.run_id
JOIN stepwell.hot_object o ON o.run_id = g.source_run_id
JOIN stepwell.writer w ON w.run_id = o.run_id AND w.writer_id = o.writer_id
JOIN stepwell.ledger l ON l.run_id = o.run_id AND l.writer_id = o.writer_id AND l.epoch = o.epoch
WHERE (g.below_step IS NULL OR o.step < g.below_step) AND (l.visible_below IS NULL OR o.step < l.visible_below);

-- One row a frame that was refused for good.
CREATE OR REPLACE VIEW stepwell.rejections AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, j.epoch, j.seq, j.code, j.message,
       j.points, j.objects, j.first_step, j.last_step, j.rejected_at
FROM stepwell.rejection j
JOIN stepwell.run r ON r.run_id = j.run_id
JOIN stepwell.writer w ON w.run_id = j.run_id AND w.writer_id = j.writer_id;
