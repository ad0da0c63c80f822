-- What reads over HTTP are built on, until sealed history brings its own bodies. Correct, and as quick as hot blocks allow.
-- (In this folder, since the functions need the views of contract.sql.)

-- One row a metric of a run: its name, and its first and last visible step.
CREATE OR REPLACE VIEW stepwell.metrics AS
SELECT r.entity, r.project, r.name AS run, r.run_id, m.name,
       -- evaluated only for those who ask for them
       (SELECT min(h.step) FROM stepwell.history h WHERE h.run_id = r.run_id AND h.metric = m.name) AS first_step,
       (SELECT max(h.step) FROM stepwell.history h WHERE h.run_id = r.run_id AND h.metric = m.name) AS last_step
FROM stepwell.run r
CROSS JOIN LATERAL (
    SELECT DISTINCT m.name FROM stepwell.lineage g JOIN stepwell.metric m ON m.run_id = g.source_run_id
    WHERE g.run_id = r.run_id
) m;

-- The last value of each key of a run: of the highest step, and there the latest. JSON knows no NaN: those are strings.
CREATE OR REPLACE VIEW stepwell.summary AS
SELECT r.run_id, s.key, s.value
FROM stepwell.run r
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (v.key) v.key, v.value
    FROM (SELECT h.metric AS key, h.step, h.time,
                 CASE WHEN h.value IN ('NaN', 'Infinity', '-Infinity') THEN to_jsonb(h.value::text)
                      ELSE to_jsonb(h.value) END AS value
          FROM stepwell.history h WHERE h.run_id = r.run_id
          UNION ALL
          SELECT o.key, o.step, o.time, o.value FROM stepwell.history_objects o WHERE o.run_id = r.run_id) v
    ORDER BY v.key, v.step DESC, v.time DESC
) s;

-- Points as the arrays in which they lie, for whole reads: some 90 ns a point instead of 240 (docs/architecture.md).
-- The visible points with min_step <= step < max_step (NULL: no limit) of `names` (NULL: all metrics), in any number of
-- arrays a metric and writer, in any order; steps ascend within one. vals may have one dimension or two (1 x n).
CREATE OR REPLACE FUNCTION stepwell.history_arrays(
    run_id_ bigint, names text[] DEFAULT NULL, min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (writer text, metric text, steps bigint[], times timestamptz[], vals float8[])
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT w.name, m.name,
           CASE WHEN cut.whole THEN b.steps ELSE b.steps[cut.first_:cut.last_] END,
           CASE WHEN cut.whole THEN b.times ELSE b.times[cut.first_:cut.last_] END,
           CASE WHEN cut.whole THEN b.vals[k.j:k.j] ELSE b.vals[k.j:k.j][cut.first_:cut.last_] END
    FROM stepwell.lineage g
    JOIN stepwell.hot_block b ON b.run_id = g.source_run_id
    JOIN stepwell.writer w ON w.run_id = b.run_id AND w.writer_id = b.writer_id
    JOIN stepwell.ledger l ON l.run_id = b.run_id AND l.writer_id = b.writer_id AND l.epoch = b.epoch
    CROSS JOIN LATERAL unnest(b.keys) WITH ORDINALITY AS k (metric_id, j)
    JOIN stepwell.metric m ON m.run_id = b.run_id AND m.metric_id = k.metric_id
    CROSS JOIN LATERAL (
        SELECT least(max_step, g.below_step, l.visible_below) AS below_step
    ) u
    -- Steps ascend, so a binary search finds where to cut: width_bucket counts how many are <= its operand.
    CROSS JOIN LATERAL (
        SELECT (min_step IS NULL OR b.step_lo >= min_step) AND (u.below_step IS NULL OR b.step_hi < u.below_step) AS whole,
               coalesce(width_bucket(min_step - 1, b.steps), 0) + 1 AS first_,
               coalesce(width_bucket(u.below_step - 1, b.steps), cardinality(b.steps)) AS last_
    ) cut
    WHERE g.run_id = run_id_
      AND (names IS NULL OR m.name = ANY (names))
      AND (min_step IS NULL OR b.step_hi >= min_step) AND (u.below_step IS NULL OR b.step_lo < u.below_step)
$$;

-- `history` between two steps: min_step inclusive, max_step exclusive; NULL: no limit.
CREATE OR REPLACE FUNCTION stepwell.history_between(min_step bigint, max_step bigint)
RETURNS TABLE (entity text, project text, run text, run_id bigint, writer text, metric text, step bigint,
               "time" timestamptz, value float8)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT h.entity, h.project, h.run, h.run_id, h.writer, h.metric, h.step, h.time, h.value FROM stepwell.history h
    WHERE (min_step IS NULL OR h.step >= min_step) AND (max_step IS NULL OR h.step < max_step)
$$;

-- A metric in buckets of 2^k steps on a fixed grid, the smallest that are at most `buckets` between the first step and
-- the last one. min, max and mean are those of finite values, NULL when there are none; first and last are as logged.
CREATE OR REPLACE FUNCTION stepwell.history_sample(
    run_id_ bigint, metric_ text, buckets integer, min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (writer text, bucket_step bigint, bucket_width bigint, count bigint, min float8, max float8, mean float8,
                 first float8, last float8, first_step bigint, last_step bigint,
                 nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    lo bigint;
    hi bigint;
    k  integer := 0;
BEGIN
    SELECT pg_catalog.min(h.step), pg_catalog.max(h.step) INTO lo, hi
    FROM stepwell.history_between(min_step, max_step) h WHERE h.run_id = run_id_ AND h.metric = metric_;
    WHILE (hi >> k) - (lo >> k) >= buckets LOOP
        k := k + 1;
    END LOOP;
    RETURN QUERY
    SELECT h.writer, (h.step >> k) << k, 1::bigint << k, pg_catalog.count(*),
           pg_catalog.min(h.value) FILTER (WHERE h.finite), pg_catalog.max(h.value) FILTER (WHERE h.finite),
           -- Not avg(): it sums squares, which overflow, as an error, from 1e154 on. A bucket has 2^k points at most.
           sum(h.value / 2::float8 ^ k) FILTER (WHERE h.finite)
               * (2::float8 ^ k / nullif(pg_catalog.count(*) FILTER (WHERE h.finite), 0)),
           (array_agg(h.value ORDER BY h.step))[1], (array_agg(h.value ORDER BY h.step DESC))[1],
           pg_catalog.min(h.step), pg_catalog.max(h.step),
           pg_catalog.count(*) FILTER (WHERE h.value = 'NaN'), pg_catalog.count(*) FILTER (WHERE h.value = 'Infinity'),
           pg_catalog.count(*) FILTER (WHERE h.value = '-Infinity')
    FROM (SELECT b.writer, b.step, b.value, b.value NOT IN ('NaN', 'Infinity', '-Infinity') AS finite
          FROM stepwell.history_between(min_step, max_step) b WHERE b.run_id = run_id_ AND b.metric = metric_) h
    GROUP BY h.writer, h.step >> k
    ORDER BY h.writer, h.step >> k;
END
$$;
