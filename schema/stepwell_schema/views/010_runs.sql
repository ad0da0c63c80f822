-- The SQL contract's view of runs: one row a run, with what its notes have made of its config and its names.

CREATE OR REPLACE VIEW stepwell.runs AS
SELECT r.entity, r.project, r.name AS run, coalesce(m.meta->>'name', r.name) AS display_name, r.state,
       m.config,
       r.created_at, r.finished_at, r.exit_code, greatest(s.last_step, i.last_step) AS last_step, s.points, s.objects, s.rejected, s.writers, r.run_id,
       p.name AS parent, r.fork_step,
       m.meta->>'notes' AS notes,
       ARRAY(SELECT jsonb_array_elements_text(stepwell.array_v1(m.meta->'tags'))) AS tags,
       m.meta->>'job_type' AS job_type, m.meta->>'group' AS run_group, w.host, w.heartbeat_at
FROM stepwell.run r
LEFT JOIN stepwell.run p ON p.run_id = r.parent_run_id
LEFT JOIN LATERAL (
    -- an epoch that has stored no step has the one behind which it may begin
    SELECT max(least(l.last_step, l.visible_below - 1))
               FILTER (WHERE l.first_step < coalesce(l.visible_below, 9223372036854775807)) AS last_step, sum(l.points)::bigint AS points,
           sum(l.objects)::bigint AS objects, sum(l.rejected)::bigint AS rejected,
           count(DISTINCT l.writer_id) AS writers
    FROM stepwell.ledger l WHERE l.run_id = r.run_id
) s ON true
LEFT JOIN LATERAL (
    -- of a fork: what it shows of its ancestors
    SELECT max(least(l.last_step, x.below_step - 1)) AS last_step
    FROM stepwell.lineage_epoch x
    JOIN stepwell.ledger l ON l.run_id = x.source_run_id AND l.writer_id = x.writer_id AND l.epoch = x.epoch
    WHERE x.run_id = r.run_id AND l.first_step < x.below_step
) i ON true
LEFT JOIN LATERAL (
    -- the host of the writer that came first
    SELECT max(w.info->>'host') FILTER (WHERE w.writer_id = 1) AS host, max(w.heartbeat_at) AS heartbeat_at
    FROM stepwell.writer w WHERE w.run_id = r.run_id
) w ON true
-- Fenced: else a query that groups points by config would make it once a point (14 s for 100,000). What is not asked for is
-- not made at all.
LEFT JOIN LATERAL (
    SELECT stepwell.run_config_v1(r.run_id) AS config, stepwell.run_meta_v1(r.run_id) AS meta OFFSET 0
) m ON true;
