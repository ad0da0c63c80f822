-- Aggregates of the points of a run's metrics: their last values, for summaries, and their statistics, for
-- define_metric. Sealed points cost one row per metric (metric_total); hot ones are few. The exception is epochs that a
-- later one has cut short: their chunks are read.

CREATE OR REPLACE FUNCTION stepwell.more_stats_v1(shown_run_id bigint, run_id_ bigint)
RETURNS TABLE (metric_id integer, first float8, first_step bigint, min float8, max float8, sum float8, points bigint,
               nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE plpgsql STABLE
-- One plan fits all runs, as long as it uses the indexes.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
-- The statistics of a run's own metrics that are not in metric_total: of epochs that end within the chunks, and of hot
-- points. In parts; sum is scaled by scaled_v1. Not inlined: summaries need it only for some definitions, and planning
-- it takes longer than all the rest.
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH epoch AS MATERIALIZED (
        SELECT l.writer_id, l.epoch, l.sealed_below, l.last_step,
               coalesce(stepwell.shown_below_v1(shown_run_id, run_id_, l.writer_id, l.epoch, l.visible_below),
                        9223372036854775807) AS bound
        FROM stepwell.ledger l WHERE l.run_id = run_id_
    )
    SELECT c.metric_id, c.first, c.step_lo, c.min, c.max, stepwell.scaled_v1(c.sum), c.points::bigint, c.nans::bigint,
           c.pos_infs::bigint, c.neg_infs::bigint
    FROM epoch e
    JOIN stepwell.metric_total t ON t.run_id = run_id_ AND t.writer_id = e.writer_id AND t.epoch = e.epoch
    JOIN stepwell.chunk c ON c.run_id = run_id_ AND c.metric_id = t.metric_id AND c.writer_id = e.writer_id
                         AND c.epoch = e.epoch AND c.step_hi < e.bound
    WHERE e.bound <= e.last_step AND t.last_step >= e.bound AND t.first_step < e.bound
    UNION ALL
    SELECT p.metric_id, p.value, p.step, f.value, f.value, coalesce(stepwell.scaled_v1(f.value), 0), 1,
           (p.value = 'NaN')::integer, (p.value = 'Infinity')::integer, (p.value = '-Infinity')::integer
    FROM (
        -- For the chunks in which an epoch ends, their own points below the bound. A chunk's range of steps does not
        -- tell which points it holds: merges of earlier versions left chunks that overlap.
        SELECT b.metric_id, coalesce(b.vals8[i], b.vals4[i]) AS value,
               CASE WHEN b.stride > 0 THEN b.step_lo + (i - 1) * b.stride ELSE b.steps[i] END AS step
        FROM epoch e
        JOIN stepwell.metric_total t ON t.run_id = run_id_ AND t.writer_id = e.writer_id AND t.epoch = e.epoch
        CROSS JOIN LATERAL (
            SELECT c.metric_id, c.vals8 || c.rest8 AS vals8, c.vals4 || c.rest4 AS vals4,
                   k.stride, k.step_lo, k.steps || '{}' AS steps,
                   stepwell.steps_below_v1(e.bound, k.step_lo, k.step_hi, k.stride, k.points, k.steps) AS last
            FROM stepwell.chunk c JOIN stepwell.track k ON k.run_id = run_id_ AND k.track_id = c.track_id
            WHERE c.run_id = run_id_ AND c.metric_id = t.metric_id AND c.writer_id = e.writer_id AND c.epoch = e.epoch
              AND c.step_hi >= e.bound AND c.step_lo < e.bound
            OFFSET 0
        ) b
        CROSS JOIN LATERAL generate_series(1, b.last) AS i
        WHERE e.bound <= e.last_step AND t.last_step >= e.bound AND t.first_step < e.bound
        UNION ALL
        SELECT k.metric_id, b.vals[k.j][i], b.steps[i]
        FROM epoch e
        CROSS JOIN LATERAL (
            SELECT h.keys, h.steps || '{}' AS steps, h.vals || '{}' AS vals,
                   stepwell.steps_below_v1(
                       e.sealed_below, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) + 1 AS first,
                   stepwell.steps_below_v1(
                       e.bound, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) AS last
            FROM stepwell.hot_block h
            WHERE h.run_id = run_id_ AND h.writer_id = e.writer_id AND h.epoch = e.epoch
              AND h.step_hi >= e.sealed_below AND h.step_lo < e.bound
            OFFSET 0
        ) b
        CROSS JOIN LATERAL unnest(b.keys) WITH ORDINALITY AS k (metric_id, j)
        CROSS JOIN LATERAL generate_series(b.first, b.last) AS i
        WHERE e.last_step >= e.sealed_below
    ) p
    CROSS JOIN LATERAL (
        SELECT CASE WHEN p.value NOT IN ('NaN', 'Infinity', '-Infinity') THEN p.value END AS value OFFSET 0
    ) f;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.metric_parts_v1(shown_run_id bigint, run_id_ bigint, with_stats boolean)
RETURNS TABLE (metric_id integer, last float8, last_step bigint, last_time timestamptz, first float8, first_step bigint,
               min float8, max float8, sum float8, points bigint, nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE sql STABLE AS $$
    -- The points of a run's own metrics that shown_run_id shows (it, or a fork of it), in parts. The last value of a
    -- metric is that of its part with the highest last_step (NULL: unknown), and its statistics are those of all parts
    -- that have some; without with_stats, only parts with precomputed ones have them. sum is scaled by scaled_v1.
    SELECT t.metric_id, t.last, t.last_step, t.last_time, t.first, t.first_step, t.min, t.max, stepwell.scaled_v1(t.sum),
           t.points, t.nans, t.pos_infs, t.neg_infs
    FROM stepwell.ledger l
    JOIN stepwell.metric_total t ON t.run_id = run_id_ AND t.writer_id = l.writer_id AND t.epoch = l.epoch
    WHERE l.run_id = run_id_
      AND t.last_step < coalesce(stepwell.shown_below_v1(shown_run_id, run_id_, l.writer_id, l.epoch, l.visible_below),
                                 9223372036854775807)
    UNION ALL
    -- Epochs that end within the chunks: the last point below the bound.
    SELECT t.metric_id, p.value, p.step, p.time, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM (
        SELECT l.writer_id, l.epoch, l.last_step,
               stepwell.shown_below_v1(shown_run_id, run_id_, l.writer_id, l.epoch, l.visible_below) AS bound
        FROM stepwell.ledger l WHERE l.run_id = run_id_ OFFSET 0
    ) e
    CROSS JOIN LATERAL (
        SELECT t.metric_id FROM stepwell.metric_total t
        WHERE t.run_id = run_id_ AND t.writer_id = e.writer_id AND t.epoch = e.epoch
          AND t.last_step >= e.bound AND t.first_step < e.bound
        OFFSET 0   -- first: without the fence the chunks of all metrics were looked at, 100 ms for 10,000 of them
    ) t
    CROSS JOIN LATERAL (
        SELECT coalesce((c.vals8 || c.rest8)[a.at], (c.vals4 || c.rest4)[a.at]) AS value,
               CASE WHEN k.stride > 0 THEN k.step_lo + (a.at - 1) * k.stride ELSE k.steps[a.at] END AS step,
               coalesce(k.time_lo + k.times_us[a.at] * interval '1 microsecond', k.times[a.at]) AS "time"
        FROM stepwell.chunk c
        CROSS JOIN LATERAL (
            SELECT * FROM stepwell.track k WHERE k.run_id = run_id_ AND k.track_id = c.track_id OFFSET 0
        ) k
        CROSS JOIN LATERAL (
            SELECT stepwell.steps_below_v1(e.bound, k.step_lo, k.step_hi, k.stride, k.points, k.steps) AS at OFFSET 0
        ) a
        WHERE c.run_id = run_id_ AND c.metric_id = t.metric_id AND c.writer_id = e.writer_id AND c.epoch = e.epoch
          AND c.step_lo < e.bound
          -- chunks may overlap (more_stats_v1): all that reach the first step of the last one
          AND c.step_hi >= (SELECT max(o.step_lo) FROM stepwell.chunk o
                            WHERE o.run_id = run_id_ AND o.metric_id = t.metric_id AND o.writer_id = e.writer_id
                              AND o.epoch = e.epoch AND o.step_lo < e.bound)
        ORDER BY 2 DESC LIMIT 1
    ) p
    WHERE e.bound <= e.last_step
    UNION ALL
    -- Hot points: the last value is in the newest block of each key set.
    SELECT k.metric_id, b.vals[k.j][b.at], b.steps[b.at], b.times[b.at],
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM (
        SELECT l.writer_id, l.epoch, l.sealed_below, l.last_step,
               coalesce(stepwell.shown_below_v1(shown_run_id, run_id_, l.writer_id, l.epoch, l.visible_below),
                        9223372036854775807) AS bound
        FROM stepwell.ledger l WHERE l.run_id = run_id_ OFFSET 0
    ) e
    CROSS JOIN LATERAL (
        SELECT h.keys, max(h.step_hi) AS step_hi
        FROM stepwell.hot_block h
        WHERE h.run_id = run_id_ AND h.writer_id = e.writer_id AND h.epoch = e.epoch
          AND h.step_hi >= e.sealed_below AND h.step_lo < e.bound
        GROUP BY h.keys
    ) newest
    CROSS JOIN LATERAL (
        SELECT h.keys, h.steps || '{}' AS steps, h.times || '{}' AS times, h.vals || '{}' AS vals,
               stepwell.steps_below_v1(e.bound, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) AS at
        FROM stepwell.hot_block h
        -- a step is in one block of an epoch
        WHERE h.run_id = run_id_ AND h.writer_id = e.writer_id AND h.epoch = e.epoch AND h.step_hi = newest.step_hi
        OFFSET 0
    ) b
    CROSS JOIN LATERAL unnest(b.keys) WITH ORDINALITY AS k (metric_id, j)
    WHERE e.last_step >= e.sealed_below AND b.steps[b.at] >= e.sealed_below
    UNION ALL
    SELECT s.metric_id, NULL, NULL, NULL, s.first, s.first_step, s.min, s.max, s.sum, s.points, s.nans, s.pos_infs, s.neg_infs
    FROM stepwell.more_stats_v1(shown_run_id, run_id_) s
    WHERE with_stats AND EXISTS (
        SELECT FROM stepwell.ledger l
        WHERE l.run_id = run_id_
          AND (l.last_step >= l.sealed_below OR l.last_step >= stepwell.shown_below_v1(
                  shown_run_id, run_id_, l.writer_id, l.epoch, l.visible_below)))
$$;

CREATE OR REPLACE FUNCTION stepwell.metric_values_v1(run_id_ bigint, with_stats boolean)
RETURNS TABLE (metric text, last float8, last_step bigint, last_time timestamptz, first float8, first_step bigint,
               min float8, max float8, sum float8, points bigint, nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE sql STABLE AS $$
    -- Combines the parts of each metric, one row per metric and run whose points the run shows (it, and its ancestors).
    -- GROUP BY is a fence that a condition on the metric passes: without it, Postgres hashed the whole table of metrics
    -- once for each run of a query.
    SELECT v.* FROM stepwell.lineage g
    CROSS JOIN LATERAL (
        SELECT m.name,
               (array_agg(p.last ORDER BY p.last_step DESC, p.last_time DESC) FILTER (WHERE p.last_step IS NOT NULL))[1],
               max(p.last_step),
               (array_agg(p.last_time ORDER BY p.last_step DESC, p.last_time DESC)
                    FILTER (WHERE p.last_step IS NOT NULL))[1],
               (array_agg(p.first ORDER BY p.first_step) FILTER (WHERE p.first_step IS NOT NULL))[1], min(p.first_step),
               min(p.min), max(p.max), sum(p.sum), sum(p.points)::bigint, sum(p.nans)::bigint, sum(p.pos_infs)::bigint,
               sum(p.neg_infs)::bigint
        FROM stepwell.metric m
        JOIN stepwell.metric_parts_v1(run_id_, g.source_run_id, with_stats) p ON p.metric_id = m.metric_id
        WHERE m.run_id = g.source_run_id
        GROUP BY m.name
    ) v
    WHERE g.run_id = run_id_
$$;

CREATE OR REPLACE FUNCTION stepwell.metric_last_v1(run_id_ bigint)
RETURNS TABLE (metric text, last float8, last_step bigint, last_time timestamptz)
LANGUAGE sql STABLE AS $$
    -- The last visible value of each metric of a run: that of the highest step, and among writers that of the latest
    -- time.
    SELECT DISTINCT ON (v.metric) v.metric, v.last, v.last_step, v.last_time
    FROM stepwell.metric_values_v1(run_id_, false) v ORDER BY v.metric, v.last_step DESC, v.last_time DESC
$$;

CREATE OR REPLACE FUNCTION stepwell.metric_mean_v1(scaled_sum float8, points bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The mean of finite values, from the sum of their scaled_v1; NULL when there is none.
    SELECT scaled_sum / nullif(points, 0)::float8 * 2::float8 ^ 32
$$;

CREATE OR REPLACE FUNCTION stepwell.metric_stats_v1(run_id_ bigint)
RETURNS TABLE (metric text, first float8, first_step bigint, min float8, max float8, mean float8, points bigint,
               nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE sql STABLE AS $$
    -- Statistics of all visible points of each metric: min, max and mean of the finite ones (NULL: there are none), and
    -- counts.
    SELECT v.metric, (array_agg(v.first ORDER BY v.first_step))[1], min(v.first_step), nullif(min(v.min), 'Infinity'),
           nullif(max(v.max), '-Infinity'),
           stepwell.metric_mean_v1(sum(v.sum), sum(v.points - v.nans - v.pos_infs - v.neg_infs)::bigint),
           sum(v.points)::bigint, sum(v.nans)::bigint, sum(v.pos_infs)::bigint, sum(v.neg_infs)::bigint
    FROM stepwell.metric_values_v1(run_id_, true) v
    GROUP BY v.metric
$$;

CREATE OR REPLACE FUNCTION stepwell.metric_steps_v1(run_id_ bigint)
RETURNS TABLE (metric text, first_step bigint, last_step bigint)
LANGUAGE sql STABLE AS $$
    -- The first and last step of each metric with visible points. For a cut epoch, one track per metric is read; for
    -- hot points, the blocks at the ends of each key set.
    SELECT v.name, min(v.first_step), max(v.last_step)
    FROM stepwell.lineage g
    CROSS JOIN LATERAL (
        SELECT m.name, min(p.first_step) AS first_step, max(p.last_step) AS last_step
        FROM stepwell.metric m
        JOIN (
            SELECT t.metric_id, t.first_step,
                   CASE WHEN t.last_step < e.bound THEN t.last_step ELSE (
                       SELECT max(CASE WHEN k.stride > 0 THEN k.step_lo + (b.at - 1) * k.stride ELSE k.steps[b.at] END)
                       FROM (
                           SELECT c.track_id FROM stepwell.chunk c
                           WHERE c.run_id = g.source_run_id AND c.metric_id = t.metric_id AND c.writer_id = e.writer_id
                             AND c.epoch = e.epoch AND c.step_lo < e.bound
                             AND c.step_hi >= (SELECT max(o.step_lo) FROM stepwell.chunk o
                                               WHERE o.run_id = g.source_run_id AND o.metric_id = t.metric_id
                                                 AND o.writer_id = e.writer_id AND o.epoch = e.epoch
                                                 AND o.step_lo < e.bound)
                       ) c
                       CROSS JOIN LATERAL (
                           SELECT * FROM stepwell.track k
                           WHERE k.run_id = g.source_run_id AND k.track_id = c.track_id OFFSET 0
                       ) k
                       CROSS JOIN LATERAL (
                           SELECT stepwell.steps_below_v1(
                               e.bound, k.step_lo, k.step_hi, k.stride, k.points, k.steps) AS at OFFSET 0
                       ) b) END AS last_step
            FROM (
                SELECT l.writer_id, l.epoch,
                       coalesce(stepwell.shown_below_v1(
                           run_id_, g.source_run_id, l.writer_id, l.epoch, l.visible_below), 9223372036854775807) AS bound
                FROM stepwell.ledger l WHERE l.run_id = g.source_run_id OFFSET 0
            ) e
            JOIN stepwell.metric_total t
              ON t.run_id = g.source_run_id AND t.writer_id = e.writer_id AND t.epoch = e.epoch AND t.first_step < e.bound
            UNION ALL
            SELECT k.metric_id, b.first_step, b.last_step
            FROM (
                SELECT l.writer_id, l.epoch, l.sealed_below, l.last_step,
                       coalesce(stepwell.shown_below_v1(
                           run_id_, g.source_run_id, l.writer_id, l.epoch, l.visible_below), 9223372036854775807) AS bound
                FROM stepwell.ledger l WHERE l.run_id = g.source_run_id OFFSET 0
            ) e
            CROSS JOIN LATERAL (
                SELECT h.keys, min(h.step_lo) AS step_lo, max(h.step_hi) AS step_hi
                FROM stepwell.hot_block h
                WHERE h.run_id = g.source_run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
                  AND h.step_hi >= e.sealed_below AND h.step_lo < e.bound
                GROUP BY h.keys
            ) s
            CROSS JOIN LATERAL (
                SELECT CASE WHEN s.step_lo >= e.sealed_below THEN s.step_lo ELSE (
                           SELECT h.steps[stepwell.steps_below_v1(
                                      e.sealed_below, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) + 1]
                           FROM stepwell.hot_block h
                           WHERE h.run_id = g.source_run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
                             AND h.step_hi >= e.sealed_below AND h.step_lo = s.step_lo) END AS first_step,
                       CASE WHEN s.step_hi < e.bound THEN s.step_hi ELSE (
                           SELECT h.steps[stepwell.steps_below_v1(
                                      e.bound, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps)]
                           FROM stepwell.hot_block h
                           WHERE h.run_id = g.source_run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
                             AND h.step_hi = s.step_hi) END AS last_step
                OFFSET 0
            ) b
            CROSS JOIN LATERAL unnest(s.keys) AS k (metric_id)
            -- A block around both bounds may have no step between them.
            WHERE e.last_step >= e.sealed_below AND b.first_step <= b.last_step
        ) p ON p.metric_id = m.metric_id
        WHERE m.run_id = g.source_run_id
        GROUP BY m.name
    ) v
    WHERE g.run_id = run_id_
    GROUP BY v.name
$$;
