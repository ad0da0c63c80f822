-- The functions of the SQL contract (docs/sql.md). Their names and columns change only with a new version of it.

CREATE OR REPLACE FUNCTION stepwell.history_between(min_step bigint, max_step bigint)
RETURNS TABLE (entity text, project text, run text, run_id bigint, writer text, metric text, step bigint,
               "time" timestamptz, value float8)
LANGUAGE sql STABLE AS $$
-- The view history, restricted to steps from min_step up to but not including max_step (NULL: no limit). Unlike a
-- condition on the column step, these bounds reach the indexes. Inlined, so conditions on run and metric reach them
-- too.
    SELECT r.entity, r.project, r.name, r.run_id, p.writer, m.name, p.step, p.time, p.value
    FROM stepwell.run r
    CROSS JOIN LATERAL stepwell.sources_v1(r.run_id, r.next_metric) g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id
    CROSS JOIN LATERAL stepwell.points_in_v1(
        g.run_id, g.source_run_id, m.metric_id, min_step, least(max_step, g.below_step), false,
        g.metric_ids, g.first_ends, g.last_ends, g.has_chunks, g.steps, g.times, g."values", g.writer_nrs, g.writers) p
$$;

CREATE OR REPLACE FUNCTION stepwell.history_in_time(from_time timestamptz, to_time timestamptz)
RETURNS TABLE (entity text, project text, run text, run_id bigint, writer text, metric text, step bigint,
               "time" timestamptz, value float8)
LANGUAGE sql STABLE AS $$
-- The view history, of points that were logged from from_time up to but not including to_time (NULL: no limit). Unlike
-- a condition on the column time, these bounds reach an index: only tracks that have such points are opened. Inlined,
-- so conditions on run and metric reach the indexes, too.
    SELECT r.entity, r.project, r.name, r.run_id, a.writer, m.name,
           CASE WHEN a.stride > 0 THEN a.step_lo + (i - 1) * a.stride ELSE a.steps[i] END, x.time,
           coalesce(a.vals8[i], a.vals4[i])
    FROM stepwell.run r
    JOIN stepwell.lineage g ON g.run_id = r.run_id
    JOIN stepwell.track t ON t.run_id = g.source_run_id AND t.time_max >= coalesce(from_time, '-infinity')
                         AND t.time_min < coalesce(to_time, 'infinity')
    JOIN stepwell.chunk c ON c.run_id = t.run_id AND c.track_id = t.track_id
    JOIN stepwell.metric m ON m.run_id = c.run_id AND m.metric_id = c.metric_id
    CROSS JOIN LATERAL (
        SELECT w.name AS writer, t.stride, t.step_lo, t.time_lo, t.steps || '{}' AS steps, t.times || '{}' AS times,
               t.times_us || '{}' AS times_us, c.vals8 || c.rest8 AS vals8, c.vals4 || c.rest4 AS vals4,
               stepwell.steps_below_v1(
                   least(g.below_step, stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)),
                   t.step_lo, t.step_hi, t.stride, t.points, t.steps) AS last
        FROM stepwell.ledger l JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
        WHERE l.run_id = c.run_id AND l.writer_id = c.writer_id AND l.epoch = c.epoch
          -- m is needed here, so that it is joined to the chunks: joined to their points, it was a hash of all metrics there are
          AND m.metric_id = c.metric_id
        OFFSET 0
    ) a
    CROSS JOIN LATERAL (SELECT generate_series(1, a.last) AS i) p
    CROSS JOIN LATERAL (
        SELECT coalesce(a.time_lo + a.times_us[i] * interval '1 microsecond', a.times[i]) AS "time" OFFSET 0
    ) x
    WHERE x.time >= coalesce(from_time, '-infinity') AND x.time < coalesce(to_time, 'infinity')
    UNION ALL
    SELECT r.entity, r.project, r.name, r.run_id, p.writer, p.metric, p.step, p.time, p.value
    FROM stepwell.run r
    JOIN stepwell.lineage g ON g.run_id = r.run_id
    CROSS JOIN LATERAL stepwell.hot_ranges_v1(
        r.run_id, CASE WHEN r.next_metric > 256 OR g.source_run_id <> r.run_id THEN g.source_run_id END,
        stepwell.most_listed_v1()) q
    CROSS JOIN LATERAL (
        SELECT e.writer, m.name AS metric, b.steps[i] AS step, b.times[i] AS "time", b.vals[1][i] AS value
        FROM (
            SELECT l.writer_id, l.epoch, l.sealed_below, w.name AS writer,
                   least(g.below_step,
                         stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)) AS below
            FROM stepwell.ledger l JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
            WHERE l.run_id = CASE WHEN q.steps IS NULL THEN g.source_run_id END AND l.last_step >= l.sealed_below
              -- else each of its blocks would be opened for each metric
              AND EXISTS (SELECT FROM stepwell.hot_block h CROSS JOIN LATERAL unnest(h.times) AS t (at)
                          WHERE h.run_id = l.run_id AND h.writer_id = l.writer_id AND h.epoch = l.epoch
                            AND h.step_hi >= l.sealed_below
                            AND t.at >= coalesce(from_time, '-infinity') AND t.at < coalesce(to_time, 'infinity'))
            OFFSET 0
        ) e
        CROSS JOIN LATERAL (   -- a fence that a condition on the name passes
            SELECT m.metric_id, m.name FROM stepwell.metric m WHERE m.run_id = g.source_run_id GROUP BY 1, 2
        ) m
        CROSS JOIN LATERAL (
            SELECT h.steps || '{}' AS steps, h.times || '{}' AS times, h.vals[k.j:k.j] AS vals,
                   stepwell.steps_below_v1(
                       e.sealed_below, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) + 1 AS first,
                   stepwell.steps_below_v1(e.below, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) AS last
            FROM stepwell.hot_block h
            CROSS JOIN LATERAL (SELECT array_position(h.keys, m.metric_id) AS j OFFSET 0) k
            WHERE h.run_id = g.source_run_id AND h.writer_id = e.writer_id AND h.epoch = e.epoch
              AND h.step_hi >= greatest(e.sealed_below, q.first_ends[width_bucket(m.metric_id, q.metric_ids)])
              AND h.step_hi <= coalesce(q.last_ends[width_bucket(m.metric_id, q.metric_ids)], 9223372036854775807)
              AND h.step_lo < coalesce(e.below, 9223372036854775807) AND k.j IS NOT NULL
            OFFSET 0
        ) b
        CROSS JOIN LATERAL (SELECT generate_series(b.first, b.last) AS i) p
        UNION ALL
        SELECT q.writers[q.writer_nrs[i]], m.name, q.steps[i], q.times[i], q."values"[i]
        FROM stepwell.metric m
        CROSS JOIN LATERAL (SELECT generate_series(width_bucket(m.metric_id - 1, q.metric_ids) + 1,
                                                   width_bucket(m.metric_id, q.metric_ids)) AS i) p
        WHERE m.run_id = CASE WHEN q.steps IS NOT NULL THEN g.source_run_id END
          AND (g.below_step IS NULL OR q.steps[i] < g.below_step)
    ) p
    WHERE p.time >= coalesce(from_time, '-infinity') AND p.time < coalesce(to_time, 'infinity')
      -- Most runs have nothing hot: Postgres finds those that have with one scan of the ledgers, instead of a lookup for each run.
      AND EXISTS (SELECT FROM stepwell.ledger l WHERE l.run_id = g.source_run_id AND l.last_step >= l.sealed_below)
$$;

CREATE OR REPLACE FUNCTION stepwell.history_sample(
    run_id bigint, metric text, buckets integer, min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (writer text, bucket_step bigint, bucket_width bigint, count bigint, min float8, max float8, mean float8,
                 first float8, last float8, first_step bigint, last_step bigint, nans bigint, pos_infs bigint,
                 neg_infs bigint)
LANGUAGE plpgsql STABLE
-- Planning took half of the time. One plan fits all runs, as long as it uses the indexes. Memoize would hash all values of a chunk
-- for each of its slices.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_memoize = off
AS $$
-- One metric of a run in at most `buckets` buckets per writer, exactly. For each bucket: the number of points, min, max
-- and mean of the finite ones (NULL: there are none), the first and the last, and the numbers of NaN and infinite ones.
-- Buckets have 2^k steps, with the smallest k for which they are few enough over the range of steps (057_buckets.sql). Chunks
-- inside a bucket are not opened. bucket_width is 2^k; for one bucket over all possible steps it is 2^63 - 1, the largest
-- bigint. Raises 22023 (invalid_parameter_value) when buckets is below 1.
#variable_conflict use_column
DECLARE
    lo       bigint;
    hi       bigint;
    k        integer := 0;
BEGIN
    IF history_sample.buckets IS NULL OR history_sample.buckets < 1 THEN
        RAISE EXCEPTION 'history_sample takes at least 1 bucket, not %', history_sample.buckets USING ERRCODE = '22023';
    END IF;
    SELECT CASE WHEN count(e.lo) > 0 THEN greatest(min(e.lo), history_sample.min_step) END,   -- greatest ignores NULL
           least(max(e.hi), CASE WHEN history_sample.max_step > 0 THEN history_sample.max_step - 1
                                 WHEN history_sample.max_step <= 0 THEN -1 END) INTO lo, hi
    FROM stepwell.lineage g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name = history_sample.metric
    CROSS JOIN LATERAL stepwell.extent_v1(g.run_id, g.source_run_id, m.metric_id) e
    WHERE g.run_id = history_sample.run_id;
    IF lo IS NULL OR hi < lo THEN
        RETURN;
    END IF;
    WHILE (hi >> k) - (lo >> k) + 1 > history_sample.buckets LOOP
        k := k + 1;
    END LOOP;
    RETURN QUERY
    SELECT * FROM stepwell.buckets_v1(history_sample.run_id, history_sample.metric, lo, hi, k) b ORDER BY b.writer, b.bucket_step;
END
$$;

DROP FUNCTION IF EXISTS stepwell.extent_v1(bigint, integer, bigint);   -- as it was without shown_run_id

CREATE OR REPLACE FUNCTION stepwell.extent_v1(shown_run_id bigint, run_id_ bigint, metric_id_ integer)
RETURNS TABLE (lo bigint, hi bigint)
LANGUAGE sql STABLE AS $$
    -- Bounds of the steps of a metric that shown_run_id shows, found without reading any point: they may be too wide.
    SELECT min(e.lo), max(least(e.hi, e.below - 1))
    FROM (
        SELECT t.first_step AS lo, t.last_step AS hi,
               stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below
        FROM stepwell.metric_total t
        JOIN stepwell.ledger l ON l.run_id = t.run_id AND l.writer_id = t.writer_id AND l.epoch = t.epoch
        WHERE t.run_id = run_id_ AND t.metric_id = metric_id_
        UNION ALL
        SELECT greatest(h.step_lo, l.sealed_below), h.step_hi,
               stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)
        FROM stepwell.ledger l
        CROSS JOIN LATERAL (
            SELECT b.step_lo, b.step_hi FROM stepwell.hot_block b
            WHERE b.run_id = l.run_id AND b.writer_id = l.writer_id AND b.epoch = l.epoch AND b.step_hi >= l.sealed_below
              AND array_position(b.keys, metric_id_) IS NOT NULL
            OFFSET 0
        ) h
        WHERE l.run_id = run_id_
    ) e
    WHERE e.lo < coalesce(e.below, 9223372036854775807)
$$;

CREATE OR REPLACE FUNCTION stepwell.history_last(run_id bigint, metric text, n integer)
RETURNS TABLE (writer text, step bigint, "time" timestamptz, value float8)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
-- The n points of a metric with the highest steps, newest first. Reads the last n steps, then four times as many, and
-- so on, until it has enough: earlier chunks are not opened. Raises 22023 (invalid_parameter_value) when n is negative.
#variable_conflict use_column
DECLARE
    lo        bigint;
    hi        bigint;
    from_step bigint;
    width     numeric := history_last.n;   -- which may outgrow a bigint
BEGIN
    IF history_last.n IS NULL OR history_last.n < 0 THEN
        RAISE EXCEPTION 'history_last takes a number of points from 0 on, not %', history_last.n USING ERRCODE = '22023';
    END IF;
    SELECT min(e.lo), max(e.hi) INTO lo, hi
    FROM stepwell.lineage g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5(history_last.metric)::uuid
    CROSS JOIN LATERAL stepwell.extent_v1(g.run_id, g.source_run_id, m.metric_id) e
    WHERE g.run_id = history_last.run_id;
    IF lo IS NULL OR history_last.n = 0 THEN
        RETURN;
    END IF;
    LOOP
        from_step := greatest(hi - width + 1, lo);
        EXIT WHEN from_step = lo OR history_last.n <= (
            SELECT count(*)
            FROM stepwell.lineage g
            JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5(history_last.metric)::uuid
            CROSS JOIN LATERAL stepwell.points_v1(
                g.run_id, g.source_run_id, m.metric_id, from_step, g.below_step, false) p
            WHERE g.run_id = history_last.run_id);
        width := width * 4;
    END LOOP;
    RETURN QUERY
    SELECT p.writer, p.step, p.time, p.value
    FROM stepwell.lineage g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5(history_last.metric)::uuid
    CROSS JOIN LATERAL stepwell.points_v1(g.run_id, g.source_run_id, m.metric_id, from_step, g.below_step, false) p
    WHERE g.run_id = history_last.run_id
    ORDER BY p.step DESC, p.writer LIMIT history_last.n;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.history_samples(
    run_ids bigint[], metrics text[], buckets integer, min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (run_id bigint, metric text, writer text, bucket_step bigint, bucket_width bigint, count bigint,
                 min float8, max float8, mean float8, first float8, last float8, first_step bigint, last_step bigint,
                 nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_memoize = off   -- as in history_sample
AS $$
-- history_sample of several metrics of several runs at once: the same buckets as one by one, without a call for each.
-- The name differs, because two functions of one name would make a call with untyped parameters ambiguous. Raises 22023
-- (invalid_parameter_value) when buckets is below 1.
#variable_conflict use_column
BEGIN
    IF history_samples.buckets IS NULL OR history_samples.buckets < 1 THEN
        RAISE EXCEPTION 'history_samples takes at least 1 bucket, not %', history_samples.buckets USING ERRCODE = '22023';
    END IF;
    RETURN QUERY
    WITH wanted AS MATERIALIZED (
        SELECT r.run_id, n.metric, e.lo, e.hi, (
                   SELECT min(k) FROM generate_series(0, 63) k
                   WHERE (e.hi >> k) - (e.lo >> k) + 1 <= history_samples.buckets) AS k
        FROM (SELECT DISTINCT u FROM unnest(history_samples.run_ids) u) r (run_id)
        CROSS JOIN (SELECT DISTINCT u FROM unnest(history_samples.metrics) u) n (metric)
        CROSS JOIN LATERAL (
            SELECT greatest(min(e.lo), history_samples.min_step) AS lo,
                   least(max(e.hi), CASE WHEN history_samples.max_step > 0 THEN history_samples.max_step - 1
                                         WHEN history_samples.max_step <= 0 THEN -1 END) AS hi
            FROM stepwell.lineage g
            JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5(n.metric)::uuid
            CROSS JOIN LATERAL stepwell.extent_v1(g.run_id, g.source_run_id, m.metric_id) e
            WHERE g.run_id = r.run_id
        ) e
        WHERE e.lo <= e.hi
    )
    SELECT x.run_id, x.metric, b.*
    FROM (SELECT * FROM wanted ORDER BY run_id, metric) x
    -- grouped run by run: one sort of the parts of all runs took most of the time
    CROSS JOIN LATERAL stepwell.buckets_v1(x.run_id, x.metric, x.lo, x.hi, x.k) b
    ORDER BY x.run_id, x.metric, b.writer, b.bucket_step;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.history_wide(
    run_id bigint, metrics text[], min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (writer text, step bigint, "time" timestamptz, "values" float8[])
LANGUAGE plpgsql STABLE AS $$
-- One row per step at which any of the metrics was logged: their values in the order of `metrics`, NULL for those that
-- were not logged.
#variable_conflict use_column
DECLARE
    columns text;
BEGIN
    SELECT string_agg(format('max(h.value) FILTER (WHERE n.j = %s)', j), ', ' ORDER BY j) INTO columns
    FROM generate_series(1, cardinality(history_wide.metrics)) j;
    IF columns IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT h.writer, h.step, max(h.time), ARRAY[%s]::float8[]
         FROM unnest($2) WITH ORDINALITY AS n (metric, j)
         CROSS JOIN LATERAL (SELECT * FROM stepwell.history_between($3, $4) b WHERE b.run_id = $1 AND b.metric = n.metric) h
         GROUP BY h.writer, h.step ORDER BY h.writer, h.step', columns)
    USING history_wide.run_id, history_wide.metrics, history_wide.min_step, history_wide.max_step;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.history_position(run_id bigint) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    -- The stored position of each writer of a run (and of the runs it was forked from), for history_asof. Frames are
    -- committed in order, so everything that a writer sent up to there is stored.
    SELECT jsonb_build_object('run_id', history_position.run_id, 'epochs', coalesce(
        jsonb_agg(jsonb_build_array(l.run_id, l.writer_id, l.epoch, l.last_step, v.below)
                  ORDER BY l.run_id, l.writer_id, l.epoch), '[]'))
    FROM stepwell.lineage g JOIN stepwell.ledger l ON l.run_id = g.source_run_id
    CROSS JOIN LATERAL (
        SELECT stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below
    ) v
    WHERE g.run_id = history_position.run_id AND coalesce(v.below, 0) >= 0
$$;

CREATE OR REPLACE FUNCTION stepwell.history_asof("position" jsonb, only_metric text DEFAULT NULL)
RETURNS TABLE (entity text, project text, run text, run_id bigint, writer text, metric text, step bigint,
               "time" timestamptz, value float8)
LANGUAGE sql STABLE AS $$
-- The view history of that run as it was when history_position was called: always the same points, whatever is logged,
-- restarted or rewound later. (Deleting is the exception.) only_metric restricts it to one metric; conditions on other
-- columns reach the indexes when the position is given as a value.
    SELECT r.entity, r.project, r.name, r.run_id, p.writer, m.name, p.step, p.time, p.value
    FROM stepwell.run r
    JOIN stepwell.lineage g ON g.run_id = r.run_id
    JOIN stepwell.metric m ON m.run_id = g.source_run_id
    JOIN (SELECT (e->>0)::bigint AS run_id, (e->>1)::integer AS writer_id, (e->>2)::integer AS epoch,
                 (e->>3)::bigint + 1 AS end_step, (e->>4)::bigint AS visible_below
          FROM jsonb_array_elements("position"->'epochs') e) x ON x.run_id = g.source_run_id
    JOIN stepwell.writer w ON w.run_id = x.run_id AND w.writer_id = x.writer_id
    -- Points that have been superseded since then belong to the result, too.
    CROSS JOIN LATERAL (
        SELECT * FROM stepwell.points_v1(
            x.run_id, x.run_id, m.metric_id, NULL, least(g.below_step, x.end_step, x.visible_below), false)
        UNION ALL
        SELECT * FROM stepwell.points_v1(
            x.run_id, x.run_id, m.metric_id, NULL, least(g.below_step, x.end_step, x.visible_below), true)
    ) p
    WHERE r.run_id = ("position"->>'run_id')::bigint AND p.writer = w.name AND p.epoch = x.epoch AND (only_metric IS NULL OR m.name = only_metric)
$$;
