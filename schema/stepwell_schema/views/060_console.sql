-- The console output of runs, as the SQL contract shows it: one row per line that a process has printed. `number`
-- counts the lines of a process.

CREATE OR REPLACE VIEW stepwell.console AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer,
       coalesce(stepwell.time_v1(n.value->'times'->(l.ord::integer - 1)), n.time) AS time,
       n.value->>'stream' AS stream, n.epoch, stepwell.whole_v1(n.value->'number') + l.ord - 1 AS number, l.line
FROM stepwell.run r
JOIN stepwell.note n ON n.run_id = r.run_id AND n.kind = 'console'
JOIN stepwell.writer w ON w.run_id = n.run_id AND w.writer_id = n.writer_id
CROSS JOIN LATERAL jsonb_array_elements_text(stepwell.array_v1(n.value->'lines')) WITH ORDINALITY l (line, ord);
