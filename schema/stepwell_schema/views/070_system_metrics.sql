-- System metrics, as the SQL contract shows them: one row per number that was measured on the host of a writer. They belong
-- to no step, so `history` and `summary` do not include them.

CREATE OR REPLACE VIEW stepwell.system AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, e.key AS metric,
       coalesce(stepwell.time_v1(n.value->'time'), n.time) AS time, stepwell.float_v1(e.value) AS value
FROM stepwell.run r
JOIN stepwell.note n ON n.run_id = r.run_id AND n.kind = 'system'
JOIN stepwell.writer w ON w.run_id = n.run_id AND w.writer_id = n.writer_id
CROSS JOIN LATERAL jsonb_each(stepwell.object_v1(n.value->'metrics')) e
WHERE stepwell.float_v1(e.value) IS NOT NULL;
