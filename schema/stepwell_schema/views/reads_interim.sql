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

-- Points as the matrices in which they lie, for whole reads: 30 ns a point instead of 240 of `history`. The visible points
-- with min_step <= step < max_step (NULL: no limit), in any number of rows, in any order. A row has K metrics (their ids
-- are those of stepwell.metric in source_run_id) and S steps, which ascend; vals has K x S values, one metric after the
-- other, in one dimension or two. `names` NULL: all metrics; else these at least: others may be among them.
CREATE OR REPLACE FUNCTION stepwell.history_arrays(
    run_id_ bigint, names text[] DEFAULT NULL, min_step bigint DEFAULT NULL, max_step bigint DEFAULT NULL
) RETURNS TABLE (writer text, source_run_id bigint, metric_ids integer[], steps bigint[], times timestamptz[], vals float8[])
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 AS $$
    SELECT w.name, g.source_run_id,
           CASE WHEN k.j IS NULL THEN b.keys ELSE b.keys[k.j:k.j] END,
           CASE WHEN cut.whole THEN b.steps ELSE b.steps[cut.first_:cut.last_] END,
           CASE WHEN cut.whole THEN b.times ELSE b.times[cut.first_:cut.last_] END,
           CASE WHEN cut.whole AND k.j IS NULL THEN b.vals
                WHEN cut.whole THEN b.vals[k.j:k.j]
                ELSE b.vals[coalesce(k.j, 1):coalesce(k.j, cardinality(b.keys))][cut.first_:cut.last_] END
    FROM stepwell.lineage g
    CROSS JOIN LATERAL (
        SELECT CASE WHEN names IS NOT NULL THEN
                   ARRAY(SELECT m.metric_id FROM stepwell.metric m
                         WHERE m.run_id = g.source_run_id AND m.name_hash IN (SELECT md5(n.name)::uuid FROM unnest(names) AS n (name)))
               END AS ids
    ) n
    JOIN stepwell.hot_block b ON b.run_id = g.source_run_id
    JOIN stepwell.writer w ON w.run_id = b.run_id AND w.writer_id = b.writer_id
    JOIN stepwell.ledger l ON l.run_id = b.run_id AND l.writer_id = b.writer_id AND l.epoch = b.epoch
    -- Each slice reads the whole of vals (array_get_slice), so that many of one block cost more than the block.
    CROSS JOIN LATERAL (
        SELECT NULL::integer AS j WHERE n.ids IS NULL OR (cardinality(n.ids) > 16 AND b.keys && n.ids)
        UNION ALL
        SELECT array_position(b.keys, i.id) FROM unnest(n.ids) AS i (id)
        WHERE cardinality(n.ids) <= 16 AND array_position(b.keys, i.id) IS NOT NULL
    ) k
    CROSS JOIN LATERAL (SELECT least(max_step, g.below_step, l.visible_below) AS below_step) u
    -- Steps ascend, so a binary search finds where to cut: width_bucket counts how many are <= its operand.
    CROSS JOIN LATERAL (
        SELECT (min_step IS NULL OR b.step_lo >= min_step) AND (u.below_step IS NULL OR b.step_hi < u.below_step) AS whole,
               coalesce(width_bucket(min_step - 1, b.steps), 0) + 1 AS first_,
               coalesce(width_bucket(u.below_step - 1, b.steps), cardinality(b.steps)) AS last_
    ) cut
    WHERE g.run_id = run_id_
      AND (min_step IS NULL OR b.step_hi >= min_step) AND (u.below_step IS NULL OR b.step_lo < u.below_step)
$$;

-- The last value of each key of a run: of the highest step, and there the latest. JSON knows no NaN: those are strings.
CREATE OR REPLACE VIEW stepwell.summary AS
SELECT r.run_id, s.key, s.value
FROM stepwell.run r
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (v.key) v.key, v.value
    FROM (SELECT h.metric AS key, h.step, h.time,
                 CASE WHEN h.value IN ('NaN', 'Infinity', '-Infinity') THEN to_jsonb(h.value::text)
                      ELSE to_jsonb(h.value) END AS value
          FROM (SELECT DISTINCT ON (m.name) m.name AS metric, a.steps[cardinality(a.steps)] AS step,
                       a.times[cardinality(a.times)] AS time, u.value
                FROM stepwell.history_arrays(r.run_id) a
                CROSS JOIN LATERAL unnest(
                    a.metric_ids, a.vals[1:cardinality(a.metric_ids)][cardinality(a.steps):cardinality(a.steps)]
                ) AS u (metric_id, value)
                JOIN stepwell.metric m ON m.run_id = a.source_run_id AND m.metric_id = u.metric_id
                WHERE cardinality(a.steps) > 0
                ORDER BY m.name, step DESC, time DESC) h
          UNION ALL
          SELECT o.key, o.step, o.time, o.value FROM stepwell.history_objects o WHERE o.run_id = r.run_id) v
    ORDER BY v.key, v.step DESC, v.time DESC
) s;

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
