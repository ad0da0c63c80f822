-- The metrics of runs, as the SQL contract shows them.

-- One row a metric of a run (and of those that it was forked from). The steps are looked up for those who ask for them.
CREATE OR REPLACE VIEW stepwell.metrics AS
SELECT r.entity, r.project, r.name AS run, r.run_id, m.name,
       (SELECT min(h.step) FROM stepwell.history h WHERE h.run_id = r.run_id AND h.metric = m.name) AS first_step,
       (SELECT max(h.step) FROM stepwell.history h WHERE h.run_id = r.run_id AND h.metric = m.name) AS last_step
FROM stepwell.run r
CROSS JOIN LATERAL (
    SELECT DISTINCT m.name FROM stepwell.lineage g JOIN stepwell.metric m ON m.run_id = g.source_run_id
    WHERE g.run_id = r.run_id
) m;
