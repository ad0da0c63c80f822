-- The SQL contract: what people and dashboards query. Names and types here change only with a new version of the contract.

-- One row a run.
CREATE OR REPLACE VIEW stepwell.runs AS
SELECT r.entity, r.project, r.name AS run, r.display_name, r.state, r.config,
       r.created_at, r.finished_at, r.exit_code, s.last_step, s.points, s.objects, s.rejected, s.writers, r.run_id
FROM stepwell.run r
LEFT JOIN LATERAL (
    SELECT nullif(max(l.last_step), -1) AS last_step, sum(l.points)::bigint AS points, sum(l.objects)::bigint AS objects,
           sum(l.rejected)::bigint AS rejected, count(DISTINCT l.writer_id) AS writers
    FROM stepwell.ledger l WHERE l.run_id = r.run_id
) s ON true;

-- One row a point.
CREATE OR REPLACE VIEW stepwell.history AS
SELECT r.entity, r.project, r.name AS run, r.run_id, p.writer, m.name AS metric, p.step, p.time, p.value
FROM stepwell.run r
JOIN stepwell.metric m ON m.run_id = r.run_id
CROSS JOIN LATERAL (
    -- array_position, and one slice of vals: an element access would detoast the whole array each time (design §2).
    SELECT w.name AS writer, u.step, u.time, u.value
    FROM stepwell.hot_block b
    JOIN stepwell.writer w ON w.run_id = b.run_id AND w.writer_id = b.writer_id
    CROSS JOIN LATERAL (SELECT array_position(b.keys, m.metric_id) AS j) k
    CROSS JOIN LATERAL unnest(b.steps, b.times, b.vals[k.j:k.j]) AS u (step, time, value)
    WHERE b.run_id = r.run_id AND k.j IS NOT NULL
    -- Metrics first, then blocks. Before the tables are analyzed the planner would look the metric up once a block:
    -- 245 ms instead of 105 ms for one metric of 20,400 blocks.
    OFFSET 0
) p;

-- One row a logged value that is no number.
CREATE OR REPLACE VIEW stepwell.history_objects AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, o.key, o.step, o.time, o.value
FROM stepwell.run r
JOIN stepwell.hot_object o ON o.run_id = r.run_id
JOIN stepwell.writer w ON w.run_id = r.run_id AND w.writer_id = o.writer_id;

-- One row a frame that was refused for good.
CREATE OR REPLACE VIEW stepwell.rejections AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, j.epoch, j.seq, j.code, j.message,
       j.points, j.objects, j.first_step, j.last_step, j.rejected_at
FROM stepwell.rejection j
JOIN stepwell.run r ON r.run_id = j.run_id
JOIN stepwell.writer w ON w.run_id = j.run_id AND w.writer_id = j.writer_id;
