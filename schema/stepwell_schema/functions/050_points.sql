-- Blocks and chunks as points. The views and functions of the SQL contract use these functions; all are inlined.

CREATE OR REPLACE FUNCTION stepwell.steps_below_v1(
    bound bigint, step_lo bigint, step_hi bigint, stride bigint, points integer, steps bigint[]
) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- How many of the increasing steps are below the bound (NULL: all). Regular steps (stride > 0) are computed, others
    -- are found by bisection.
    SELECT CASE WHEN bound IS NULL OR bound > step_hi THEN points
                WHEN bound <= step_lo THEN 0
                WHEN stride > 0 THEN ((bound - step_lo - 1) / stride + 1)::integer
                ELSE width_bucket(greatest(bound, 0) - 1, steps) END   -- greatest: a constant is evaluated even if unused
$$;

CREATE OR REPLACE FUNCTION stepwell.add_v1(a float8, b float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- a + b; infinite where the + of Postgres raises an error because no float8 can hold the sum.
    SELECT CASE WHEN sign(a) <> sign(b) OR least(abs(a), abs(b)) < 1e200 THEN a + b
                WHEN abs(a / 2 + b / 2) <= 1.7976931348623157e308 / 2 THEN a + b   -- rounds as a + b would
                ELSE sign(a) * float8 'Infinity' END
$$;

CREATE OR REPLACE FUNCTION stepwell.mean_v1(small float8, big float8, n bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- (small + big * 2^64) / n, where small and huge values have been summed separately; NULL when n is 0. The * and / of
    -- Postgres raise an error where a result is too large or rounds to 0, so a tiny sum is multiplied by 2^64 while it is
    -- divided, and the huge part is limited to the largest float8, which no mean of float8 values exceeds.
    SELECT CASE WHEN n = 0 THEN NULL ELSE
        CASE WHEN small IS NULL THEN 0
             WHEN abs(small) >= 1e-290 THEN small / n
             WHEN abs(small * 2::float8 ^ 64 / n) <= 2::float8 ^ -1011 THEN 0
             ELSE small * 2::float8 ^ 64 / n * 2::float8 ^ -64 END
        + greatest(least(coalesce(big, 0) / n, 1.7976931348623157e308 * 2::float8 ^ -64),
                   -1.7976931348623157e308 * 2::float8 ^ -64) * 2::float8 ^ 64 END
$$;

CREATE OR REPLACE FUNCTION stepwell.scaled_v1(value float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- A value scaled by 2^-32, for a sum that must not overflow. Values too small for that become 0, where the * of Postgres
    -- raises an error.
    SELECT CASE WHEN abs(value) < 1e-290 THEN 0 ELSE value * 2.3283064365386962890625e-10 END
$$;

CREATE OR REPLACE FUNCTION stepwell.in_bucket_v1(
    step_lo bigint, step_hi bigint, from_step bigint, to_step bigint, k integer
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Whether step_lo … step_hi is within the bounds (NULL: no bound) and in one bucket of 2^k steps (see 057_buckets.sql).
    SELECT step_lo >> k = step_hi >> k AND (from_step IS NULL OR step_lo >= from_step)
           AND (to_step IS NULL OR step_hi < to_step)
$$;

CREATE OR REPLACE FUNCTION stepwell.points_in_v1(
    shown_run_id bigint, run_id_ bigint, metric_id_ integer, from_step bigint, to_step bigint, superseded_ boolean,
    hot_ids integer[], first_ends bigint[], last_ends bigint[], has_chunks boolean, hot_steps bigint[], hot_times timestamptz[],
    hot_values float8[], writer_nrs integer[], writers text[]
) RETURNS TABLE (writer text, epoch integer, step bigint, "time" timestamptz, value float8)
LANGUAGE sql STABLE ROWS 10000 AS $$
-- The points of one metric of a run from from_step up to but not including to_step (NULL: no limit): those that the run
-- shown_run_id (the run itself or a fork of it) shows, or those that are superseded there.
--   * hot_ids and the following are the result of hot_ranges_v1 (NULL: not known).
--   * The CASE in the conditions on run_id switches a part off: with a condition that names no column, Postgres would
--     join in another order.
--   * `run_id + 0` keeps the tracks from being found by the run alone, which the run's id would allow: where runs have few tracks on
--     average, a plan compared each chunk of a run with many with all of its tracks.
--   * A row of arrays is read once (`OFFSET 0` keeps the planner from repeating it), and a point is an index into it.
--     Columns that a query does not use cost nothing: 50 ns per point for values alone, 90 ns with steps and times; with
--     unnest of all arrays it was 135 ns (1,000,000 points of one metric, PostgreSQL 18.6).
--     generate_series is in the select list of a subquery, because a function in FROM first writes its rows to a tuple store.
--   * The visible part of an epoch is what is below a step, so it is found as a range, without a look at each point.
    SELECT w.name, c.epoch,
           CASE WHEN a.stride > 0 THEN a.step_lo + (i - 1) * a.stride ELSE a.steps[i] END,
           coalesce(a.time_lo + a.times_us[i] * interval '1 microsecond', a.times[i]),
           coalesce(a.vals8[i], a.vals4[i])
    FROM stepwell.chunk c
    JOIN stepwell.writer w ON w.run_id = c.run_id AND w.writer_id = c.writer_id
    JOIN stepwell.ledger l ON l.run_id = c.run_id AND l.writer_id = c.writer_id AND l.epoch = c.epoch
    JOIN stepwell.track t ON t.run_id = c.run_id + 0 AND t.track_id = c.track_id
    CROSS JOIN LATERAL (
        SELECT t.stride, t.step_lo, t.time_lo, t.steps || '{}' AS steps, t.times || '{}' AS times,
               t.times_us || '{}' AS times_us, c.vals8 || c.rest8 AS vals8, c.vals4 || c.rest4 AS vals4,
               greatest(stepwell.steps_below_v1(coalesce(from_step, t.step_lo), t.step_lo, t.step_hi, t.stride, t.points,
                                                t.steps),
                        CASE WHEN superseded_ THEN stepwell.steps_below_v1(
                            v.below, t.step_lo, t.step_hi, t.stride, t.points, t.steps) END) + 1 AS first,
               stepwell.steps_below_v1(
                   least(to_step, CASE WHEN NOT superseded_ THEN v.below END),
                   t.step_lo, t.step_hi, t.stride, t.points, t.steps) AS last
        FROM (   -- `OFFSET 0`: computed once per chunk; a subquery here adds no table to the join
            SELECT stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below
            OFFSET 0
        ) v
        OFFSET 0
    ) a
    CROSS JOIN LATERAL (SELECT generate_series(a.first, a.last) AS i) p
    WHERE c.run_id = CASE WHEN has_chunks IS DISTINCT FROM false THEN run_id_ END AND c.metric_id = metric_id_
      AND c.step_hi >= coalesce(from_step, -1) AND c.step_lo < coalesce(to_step, 9223372036854775807)
      AND CASE WHEN superseded_ THEN stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)
                                     BETWEEN 0 AND c.step_hi ELSE true END
    UNION ALL
    SELECT w.name, l.epoch, b.steps[i], b.times[i], b.vals[1][i]
    FROM stepwell.ledger l
    JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
    -- `OFFSET 0`, so that the index is searched by sealed_below: sealed blocks stay in the ring for a while.
    CROSS JOIN LATERAL (
        SELECT h.steps || '{}' AS steps, h.times || '{}' AS times, h.vals[k.j:k.j] AS vals,
               stepwell.steps_below_v1(
                   greatest(l.sealed_below, from_step, CASE WHEN superseded_ THEN
                       stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) END),
                   h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) + 1 AS first,
               stepwell.steps_below_v1(
                   least(to_step, CASE WHEN NOT superseded_ THEN
                       stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) END),
                   h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) AS last
        FROM stepwell.hot_block h
        CROSS JOIN LATERAL (SELECT array_position(h.keys, metric_id_) AS j OFFSET 0) k
        WHERE h.run_id = l.run_id AND h.writer_id = l.writer_id AND h.epoch = l.epoch
          AND h.step_hi <= coalesce(last_ends[width_bucket(metric_id_, hot_ids)], 9223372036854775807)
          AND h.step_hi >= greatest(l.sealed_below, from_step, first_ends[width_bucket(metric_id_, hot_ids)],
                                    CASE WHEN superseded_ THEN
                  stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) END)
          AND h.step_lo < coalesce(to_step, 9223372036854775807) AND k.j IS NOT NULL
        OFFSET 0
    ) b
    CROSS JOIN LATERAL (SELECT generate_series(b.first, b.last) AS i) p
    WHERE l.run_id = CASE WHEN hot_steps IS NULL THEN run_id_ END
      AND (NOT superseded_ OR stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) >= 0)
    UNION ALL
    SELECT writers[writer_nrs[i]], NULL, hot_steps[i], hot_times[i], hot_values[i]
    FROM (SELECT generate_series(width_bucket(metric_id_ - 1, hot_ids) + 1, width_bucket(metric_id_, hot_ids)) AS i) p
    WHERE hot_steps IS NOT NULL AND NOT superseded_
      AND (from_step IS NULL OR hot_steps[i] >= from_step) AND (to_step IS NULL OR hot_steps[i] < to_step)
$$;

CREATE OR REPLACE FUNCTION stepwell.points_v1(
    shown_run_id bigint, run_id_ bigint, metric_id_ integer, from_step bigint, to_step bigint, superseded_ boolean
) RETURNS TABLE (writer text, epoch integer, step bigint, "time" timestamptz, value float8)
LANGUAGE sql STABLE ROWS 10000 AS $$
-- As points_in_v1, for callers that have not called hot_ranges_v1.
    SELECT * FROM stepwell.points_in_v1(
        shown_run_id, run_id_, metric_id_, from_step, to_step, superseded_, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
$$;
