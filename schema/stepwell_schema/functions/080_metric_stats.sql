-- What the points of a run's metrics come to: their last values, for summaries, and their statistics, for define_metric.
-- Sealed points cost a row a metric (metric_total); hot ones are few. Epochs that a later one has cut short are the
-- exception: of those the chunks are looked at.

CREATE OR REPLACE FUNCTION stepwell.metric_last_v1(run_id_ bigint)
RETURNS TABLE (metric text, last float8, last_step bigint, last_time timestamptz)
LANGUAGE sql STABLE AS $$
    -- The last visible value of each metric of a run: of the highest step, and among writers of the latest time.
    WITH epoch AS MATERIALIZED (
        SELECT l.run_id, l.writer_id, l.epoch, l.sealed_below,
               coalesce(stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below),
                        9223372036854775807) AS bound
        FROM stepwell.lineage g JOIN stepwell.ledger l ON l.run_id = g.source_run_id
        WHERE g.run_id = run_id_
    ), found AS (
        SELECT t.run_id, t.metric_id, t.last AS value, t.last_step AS step, t.last_time AS "time"
        FROM epoch e
        JOIN stepwell.metric_total t ON t.run_id = e.run_id AND t.writer_id = e.writer_id AND t.epoch = e.epoch
        WHERE t.last_step < e.bound
        UNION ALL   -- epochs that end within the chunks
        SELECT t.run_id, t.metric_id, p.value, p.step, p.time
        FROM epoch e
        JOIN stepwell.writer w ON w.run_id = e.run_id AND w.writer_id = e.writer_id
        CROSS JOIN LATERAL (
            SELECT t.* FROM stepwell.metric_total t
            WHERE t.run_id = e.run_id AND t.writer_id = e.writer_id AND t.epoch = e.epoch
              AND t.last_step >= e.bound AND t.first_step < e.bound
            OFFSET 0   -- first: without the fence the chunks of all metrics were looked at, 100 ms for 10,000 of them
        ) t
        CROSS JOIN LATERAL (
            SELECT max(c.step_lo) AS step_lo FROM stepwell.chunk c
            WHERE c.run_id = t.run_id AND c.metric_id = t.metric_id AND c.writer_id = t.writer_id
              AND c.epoch = t.epoch AND c.step_lo < e.bound
        ) c
        CROSS JOIN LATERAL (
            SELECT p.value, p.step, p.time
            FROM stepwell.points_v1(run_id_, t.run_id, t.metric_id, c.step_lo, e.bound, false) p
            WHERE p.epoch = t.epoch AND p.writer = w.name AND p.step < e.sealed_below
            ORDER BY p.step DESC LIMIT 1
        ) p
        UNION ALL   -- the newest block of each set of keys
        SELECT b.run_id, k.metric_id, b.vals[k.j][b.at], b.steps[b.at], b.times[b.at]
        FROM epoch e
        CROSS JOIN LATERAL (
            SELECT h.keys, max(h.step_hi) AS step_hi
            FROM stepwell.hot_block h
            WHERE h.run_id = e.run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
              AND h.step_hi >= e.sealed_below AND h.step_lo < e.bound
            GROUP BY h.keys
        ) newest
        CROSS JOIN LATERAL (
            SELECT h.run_id, h.keys, h.steps || '{}' AS steps, h.times || '{}' AS times, h.vals || '{}' AS vals,
                   stepwell.steps_below_v1(
                       e.bound, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) AS at
            FROM stepwell.hot_block h
            -- a step stands in one block of an epoch
            WHERE h.run_id = e.run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
              AND h.step_hi = newest.step_hi
            OFFSET 0
        ) b
        CROSS JOIN LATERAL unnest(b.keys) WITH ORDINALITY AS k (metric_id, j)
        WHERE b.steps[b.at] >= e.sealed_below
    )
    SELECT DISTINCT ON (m.name) m.name, f.value, f.step, f.time
    FROM found f JOIN stepwell.metric m ON m.run_id = f.run_id AND m.metric_id = f.metric_id
    ORDER BY m.name, f.step DESC, f.time DESC
$$;

CREATE OR REPLACE FUNCTION stepwell.metric_stats_v1(run_id_ bigint)
RETURNS TABLE (metric text, first float8, first_step bigint, min float8, max float8, mean float8, points bigint,
               nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE sql STABLE AS $$
    -- Of all visible points of each metric: min, max and mean of the finite ones (NULL: there is none), and counts.
    WITH epoch AS MATERIALIZED (
        SELECT l.run_id, l.writer_id, l.epoch, l.sealed_below,
               coalesce(stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below),
                        9223372036854775807) AS bound
        FROM stepwell.lineage g JOIN stepwell.ledger l ON l.run_id = g.source_run_id
        WHERE g.run_id = run_id_
    ), part AS (
        SELECT t.run_id, t.metric_id, t.first, t.first_step, t.min, t.max, stepwell.scaled_v1(t.sum) AS sum,
               t.points, t.nans, t.pos_infs, t.neg_infs
        FROM epoch e
        JOIN stepwell.metric_total t ON t.run_id = e.run_id AND t.writer_id = e.writer_id AND t.epoch = e.epoch
        WHERE t.last_step < e.bound
        UNION ALL   -- of epochs that end within the chunks: those that do not
        SELECT c.run_id, c.metric_id, c.first, c.step_lo, c.min, c.max, stepwell.scaled_v1(c.sum), c.points, c.nans,
               c.pos_infs, c.neg_infs
        FROM epoch e
        JOIN stepwell.metric_total t ON t.run_id = e.run_id AND t.writer_id = e.writer_id AND t.epoch = e.epoch
        JOIN stepwell.chunk c ON c.run_id = t.run_id AND c.metric_id = t.metric_id AND c.writer_id = t.writer_id
                             AND c.epoch = t.epoch AND c.step_hi < e.bound
        WHERE t.last_step >= e.bound AND t.first_step < e.bound
        UNION ALL
        SELECT p.run_id, p.metric_id, p.value, p.step, f.value, f.value, coalesce(stepwell.scaled_v1(f.value), 0), 1,
               (p.value = 'NaN')::integer, (p.value = 'Infinity')::integer, (p.value = '-Infinity')::integer
        FROM (
            -- and of each chunk that does, its own points below the bound. Its range of steps says nothing about which points
            -- it holds: merges of earlier versions left chunks that overlap.
            SELECT b.run_id, b.metric_id, coalesce(b.vals8[i], b.vals4[i]) AS value,
                   CASE WHEN b.stride > 0 THEN b.step_lo + (i - 1) * b.stride ELSE b.steps[i] END AS step
            FROM epoch e
            JOIN stepwell.metric_total t ON t.run_id = e.run_id AND t.writer_id = e.writer_id AND t.epoch = e.epoch
            CROSS JOIN LATERAL (
                SELECT c.run_id, c.metric_id, c.vals8 || c.rest8 AS vals8, c.vals4 || c.rest4 AS vals4,
                       k.stride, k.step_lo, k.steps || '{}' AS steps,
                       stepwell.steps_below_v1(e.bound, k.step_lo, k.step_hi, k.stride, k.points, k.steps) AS last
                FROM stepwell.chunk c JOIN stepwell.track k ON k.run_id = c.run_id AND k.track_id = c.track_id
                WHERE c.run_id = t.run_id AND c.metric_id = t.metric_id AND c.writer_id = t.writer_id AND c.epoch = t.epoch
                  AND c.step_hi >= e.bound AND c.step_lo < e.bound
                OFFSET 0
            ) b
            CROSS JOIN LATERAL generate_series(1, b.last) AS i
            WHERE t.last_step >= e.bound AND t.first_step < e.bound
            UNION ALL
            SELECT b.run_id, k.metric_id, b.vals[k.j][i], b.steps[i]
            FROM epoch e
            CROSS JOIN LATERAL (
                SELECT h.run_id, h.keys, h.steps || '{}' AS steps, h.vals || '{}' AS vals,
                       stepwell.steps_below_v1(
                           e.sealed_below, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) + 1 AS first,
                       stepwell.steps_below_v1(
                           e.bound, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) AS last
                FROM stepwell.hot_block h
                WHERE h.run_id = e.run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
                  AND h.step_hi >= e.sealed_below AND h.step_lo < e.bound
                OFFSET 0
            ) b
            CROSS JOIN LATERAL unnest(b.keys) WITH ORDINALITY AS k (metric_id, j)
            CROSS JOIN LATERAL generate_series(b.first, b.last) AS i
        ) p
        CROSS JOIN LATERAL (
            SELECT CASE WHEN p.value NOT IN ('NaN', 'Infinity', '-Infinity') THEN p.value END AS value OFFSET 0
        ) f
    )
    SELECT m.name, (array_agg(p.first ORDER BY p.first_step))[1], min(p.first_step), nullif(min(p.min), 'Infinity'),
           nullif(max(p.max), '-Infinity'),
           sum(p.sum) / nullif(sum(p.points - p.nans - p.pos_infs - p.neg_infs), 0)::float8 * 2::float8 ^ 32,
           sum(p.points)::bigint, sum(p.nans)::bigint, sum(p.pos_infs)::bigint, sum(p.neg_infs)::bigint
    FROM part p JOIN stepwell.metric m ON m.run_id = p.run_id AND m.metric_id = p.metric_id
    GROUP BY m.name
$$;
