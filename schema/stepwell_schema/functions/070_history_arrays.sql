-- Points as the arrays in which they are stored, for reads over HTTP (ingest/stepwell_ingest/read/arrays.py).

CREATE OR REPLACE FUNCTION stepwell.history_arrays_v1(
    run_id_ bigint, names text[] DEFAULT NULL, min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (writer text, source_run_id bigint, metric_ids integer[], first_step bigint, stride bigint, points integer,
                 steps bigint[], time_lo timestamptz, times_us integer[], times timestamptz[], vals8 float8[],
                 vals4 float4[])
LANGUAGE sql STABLE ROWS 1000 AS $$
-- The visible points with min_step <= step < max_step (NULL: no limit) of `names` (NULL: all metrics), as any number of
-- matrices (metrics by steps) in any order. Metrics other than `names` may be among them. Columns of a matrix:
--   steps   ascending; NULL: first_step, first_step + stride, …, as many as points
--   times   NULL: the times are time_lo + times_us microseconds; else time_lo has no meaning
--   vals    either float8 or float4; one row per metric, in one dimension or two
-- The CTE determines first which part of each epoch is wanted, so that the chunks of named metrics are found by their
-- index: with everything in one join, reading one of 10,000 metrics took 235 ms instead of 1.
    WITH epoch AS MATERIALIZED (
        SELECT l.run_id, l.writer_id, l.epoch, w.name AS writer, l.sealed_below, greatest(l.sealed_below, min_step) AS hot_from,
               least(max_step, stepwell.shown_below_v1(
                   g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)) AS below,
               CASE WHEN names IS NOT NULL THEN
                   ARRAY(SELECT m.metric_id FROM stepwell.metric m
                         WHERE m.run_id = g.source_run_id
                           AND m.name_hash IN (SELECT md5(n.name)::uuid FROM unnest(names) AS n (name)))
               END AS ids
        FROM stepwell.lineage g
        JOIN stepwell.ledger l ON l.run_id = g.source_run_id
        JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
        WHERE g.run_id = run_id_
    )
    SELECT e.writer, c.run_id, ARRAY[c.metric_id],
           CASE WHEN t.stride > 0 THEN t.step_lo + (u.first - 1) * t.stride END, t.stride, u.last - u.first + 1,
           CASE WHEN u.whole THEN t.steps ELSE t.steps[u.first:u.last] END, t.time_lo,
           CASE WHEN u.whole THEN t.times_us ELSE t.times_us[u.first:u.last] END,
           CASE WHEN u.whole THEN t.times ELSE t.times[u.first:u.last] END,
           CASE WHEN u.whole THEN c.vals8 || c.rest8 ELSE (c.vals8 || c.rest8)[u.first:u.last] END,
           CASE WHEN u.whole THEN c.vals4 || c.rest4 ELSE (c.vals4 || c.rest4)[u.first:u.last] END
    FROM epoch e
    CROSS JOIN LATERAL (
        SELECT c.* FROM unnest(e.ids) AS i (id)
        CROSS JOIN LATERAL (
            SELECT c.* FROM stepwell.chunk c
            WHERE c.run_id = e.run_id AND c.metric_id = i.id AND c.writer_id = e.writer_id AND c.epoch = e.epoch
              AND c.step_hi >= coalesce(min_step, -1) AND c.step_lo < coalesce(e.below, 9223372036854775807)
            OFFSET 0
        ) c
        UNION ALL
        SELECT c.* FROM stepwell.chunk c
        WHERE e.ids IS NULL AND c.run_id = e.run_id AND c.writer_id = e.writer_id AND c.epoch = e.epoch
          AND c.step_hi >= coalesce(min_step, -1) AND c.step_lo < coalesce(e.below, 9223372036854775807)
    ) c
    JOIN stepwell.track t ON t.run_id = c.run_id AND t.track_id = c.track_id
    CROSS JOIN LATERAL (
        SELECT stepwell.steps_below_v1(
                   coalesce(min_step, t.step_lo), t.step_lo, t.step_hi, t.stride, t.points, t.steps) + 1 AS first,
               stepwell.steps_below_v1(e.below, t.step_lo, t.step_hi, t.stride, t.points, t.steps) AS last,
               stepwell.in_bucket_v1(t.step_lo, t.step_hi, min_step, e.below, 62) AS whole
        OFFSET 0
    ) u
    WHERE u.last >= u.first
    UNION ALL
    SELECT e.writer, e.run_id, CASE WHEN k.j IS NULL THEN b.keys ELSE b.keys[k.j:k.j] END, NULL, 0, u.last - u.first + 1,
           b.steps[u.first:u.last], NULL, NULL, b.times[u.first:u.last],
           CASE WHEN k.j IS NULL AND u.last - u.first + 1 = cardinality(b.steps) THEN b.vals
                ELSE b.vals[coalesce(k.j, 1):coalesce(k.j, cardinality(b.keys))][u.first:u.last] END, NULL
    FROM epoch e
    CROSS JOIN LATERAL (
        SELECT h.keys, h.steps || '{}' AS steps, h.times, h.vals, h.step_lo, h.step_hi
        FROM stepwell.hot_block h
        WHERE h.run_id = e.run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
          AND h.step_hi >= e.hot_from AND h.step_lo < coalesce(e.below, 9223372036854775807) AND cardinality(h.keys) > 0
        OFFSET 0
    ) b
    CROSS JOIN LATERAL (
        SELECT stepwell.steps_below_v1(e.hot_from, b.step_lo, b.step_hi, 0, cardinality(b.steps), b.steps) + 1 AS first,
               stepwell.steps_below_v1(e.below, b.step_lo, b.step_hi, 0, cardinality(b.steps), b.steps) AS last
        OFFSET 0
    ) u
    -- Each slice reads all of vals (array_get_slice), so many slices of a block cost more than the whole block.
    CROSS JOIN LATERAL (
        SELECT NULL::integer AS j WHERE e.ids IS NULL OR (cardinality(e.ids) > 16 AND b.keys && e.ids)
        UNION ALL
        SELECT array_position(b.keys, i.id) FROM unnest(e.ids) AS i (id)
        WHERE cardinality(e.ids) <= 16 AND array_position(b.keys, i.id) IS NOT NULL
    ) k
    WHERE u.last >= u.first
$$;
