-- The metrics of runs, as the SQL contract shows them: one row per name of a run and of the runs that it was forked
-- from. The steps cost nothing unless they are selected: Postgres leaves the join out.

CREATE OR REPLACE VIEW stepwell.metrics AS
SELECT r.entity, r.project, r.name AS run, r.run_id, m.name, s.first_step, s.last_step
FROM stepwell.run r
CROSS JOIN LATERAL (
    SELECT DISTINCT m.name FROM stepwell.lineage g JOIN stepwell.metric m ON m.run_id = g.source_run_id
    WHERE g.run_id = r.run_id
) m
LEFT JOIN LATERAL stepwell.metric_steps_v1(r.run_id) s ON s.metric = m.name;
