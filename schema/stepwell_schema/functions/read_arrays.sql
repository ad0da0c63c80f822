-- Points as the arrays in which they lie, for whole reads over HTTP (ingest/stepwell_ingest/read/arrays.py).

CREATE OR REPLACE FUNCTION stepwell.history_arrays_v1(
    run_id_ bigint, names text[] DEFAULT NULL, min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (writer text, metric text, first_step bigint, stride bigint, points integer, steps bigint[],
                 time_lo timestamptz, times_us integer[], times timestamptz[], vals8 float8[], vals4 float4[])
LANGUAGE sql STABLE ROWS 1000 AS $$
-- The visible points with min_step <= step < max_step (NULL: no limit) of `names` (NULL: all metrics), in any number of
-- arrays a metric and writer, in any order; steps ascend within one.
--   steps   NULL: first_step, first_step + stride, …, as many as points
--   times   NULL: time_lo + times_us microseconds; the other way round time_lo counts for nothing
--   vals    either float8 or float4; one dimension or two (1 × n)
    SELECT w.name, m.name,
           CASE WHEN t.stride > 0 THEN t.step_lo + (u.first - 1) * t.stride END, t.stride, u.last - u.first + 1,
           CASE WHEN u.whole THEN t.steps ELSE t.steps[u.first:u.last] END, t.time_lo,
           CASE WHEN u.whole THEN t.times_us ELSE t.times_us[u.first:u.last] END,
           CASE WHEN u.whole THEN t.times ELSE t.times[u.first:u.last] END,
           CASE WHEN u.whole THEN c.vals8 || c.rest8 ELSE (c.vals8 || c.rest8)[u.first:u.last] END,
           CASE WHEN u.whole THEN c.vals4 || c.rest4 ELSE (c.vals4 || c.rest4)[u.first:u.last] END
    FROM stepwell.lineage g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id AND (names IS NULL OR m.name = ANY (names))
    JOIN stepwell.chunk c ON c.run_id = m.run_id AND c.metric_id = m.metric_id
    JOIN stepwell.writer w ON w.run_id = c.run_id AND w.writer_id = c.writer_id
    JOIN stepwell.ledger l ON l.run_id = c.run_id AND l.writer_id = c.writer_id AND l.epoch = c.epoch
    JOIN stepwell.track t ON t.run_id = c.run_id AND t.track_id = c.track_id
    CROSS JOIN LATERAL (
        SELECT stepwell.steps_below_v1(
                   coalesce(min_step, t.step_lo), t.step_lo, t.step_hi, t.stride, t.points, t.steps) + 1 AS first,
               stepwell.steps_below_v1(
                   least(max_step, g.below_step, l.visible_below), t.step_lo, t.step_hi, t.stride, t.points, t.steps
               ) AS last,
               stepwell.in_square_v1(
                   t.step_lo, t.step_hi, min_step, least(max_step, g.below_step, l.visible_below), 62) AS whole
        OFFSET 0
    ) u
    WHERE g.run_id = run_id_ AND u.last >= u.first
      AND c.step_hi >= coalesce(min_step, -1)
      AND c.step_lo < coalesce(least(max_step, g.below_step, l.visible_below), 9223372036854775807)
    UNION ALL
    -- A block is opened once for all of its metrics that are wanted.
    SELECT w.name, m.name, NULL, 0, b.last - b.first + 1, b.steps[b.first:b.last], NULL, NULL,
           b.times[b.first:b.last], b.vals[k.j:k.j][b.first:b.last], NULL
    FROM stepwell.lineage g
    JOIN stepwell.ledger l ON l.run_id = g.source_run_id
    JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
    CROSS JOIN LATERAL (
        SELECT h.keys, h.steps || '{}' AS steps, h.times || '{}' AS times, h.vals || '{}' AS vals,
               stepwell.steps_below_v1(
                   greatest(l.sealed_below, min_step), h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps
               ) + 1 AS first,
               stepwell.steps_below_v1(
                   least(max_step, g.below_step, l.visible_below), h.step_lo, h.step_hi, 0, cardinality(h.steps),
                   h.steps) AS last
        FROM stepwell.hot_block h
        WHERE h.run_id = l.run_id AND h.writer_id = l.writer_id AND h.epoch = l.epoch
          AND h.step_hi >= greatest(l.sealed_below, min_step)
          AND h.step_lo < coalesce(least(max_step, g.below_step, l.visible_below), 9223372036854775807)
        OFFSET 0
    ) b
    CROSS JOIN LATERAL unnest(b.keys) WITH ORDINALITY AS k (metric_id, j)
    JOIN stepwell.metric m ON m.run_id = l.run_id AND m.metric_id = k.metric_id
    WHERE g.run_id = run_id_ AND (names IS NULL OR m.name = ANY (names)) AND b.last >= b.first
$$;
