-- Histories in buckets of 2^k steps: a bucket holds the steps from a multiple of 2^k up to, but not including, the next one. So
-- buckets stay where they are while a run grows, until k increases and two of them become one.

-- Earlier versions, whose parameters had other names.
DROP FUNCTION IF EXISTS stepwell.slices_v1(bigint, integer, bigint, bigint, integer);
DROP FUNCTION IF EXISTS stepwell.split_chunks_v1(bigint, bigint, integer, bigint, bigint, integer);
DROP FUNCTION IF EXISTS stepwell.slices_v1(bigint, bigint, integer, bigint, bigint, integer);
DROP FUNCTION IF EXISTS stepwell.parts_v1(bigint, bigint, integer, bigint, bigint, integer);
DROP FUNCTION IF EXISTS stepwell.in_square_v1(bigint, bigint, bigint, bigint, integer);

CREATE OR REPLACE FUNCTION stepwell.of_values_v1("values" float8[])
RETURNS TABLE (points bigint, nans bigint, pos_infs bigint, neg_infs bigint, min float8, max float8, sum float8,
               large_sum float8)
LANGUAGE sql IMMUTABLE ROWS 1 AS $$
    -- Statistics of an array: min, max and sums (see slices_v1) of the finite values, and counts of the others.
    SELECT count(*), count(*) FILTER (WHERE v = 'NaN'), count(*) FILTER (WHERE v = 'Infinity'),
           count(*) FILTER (WHERE v = '-Infinity'), min(v) FILTER (WHERE abs(v) < 'Infinity'),
           max(v) FILTER (WHERE abs(v) < 'Infinity'), sum(v) FILTER (WHERE abs(v) < 1e270),
           sum(v * 2::float8 ^ -64) FILTER (WHERE abs(v) >= 1e270 AND abs(v) < 'Infinity')
    FROM unnest("values") v
$$;

CREATE OR REPLACE FUNCTION stepwell.split_chunks_v1(
    shown_run_id bigint, run_id_ bigint, metric_id_ integer, from_step bigint, to_step bigint, k integer
) RETURNS TABLE (run_id bigint, track_id bigint, writer text, below bigint, vals8 float8[], rest8 float8[], vals4 float4[],
                 rest4 float4[])
LANGUAGE sql STABLE AS $$
-- The chunks of a metric that do not lie in one bucket of 2^k steps (in_bucket_v1), or whose sum is not finite, each
-- with the step below which its points count. Without `OFFSET 0`, Postgres would compare the track of each chunk with
-- all tracks of the run if it expects few of both.
    SELECT c.run_id, c.track_id, w.name, v.below, c.vals8, c.rest8, c.vals4, c.rest4
    FROM stepwell.chunk c
    JOIN stepwell.writer w ON w.run_id = c.run_id AND w.writer_id = c.writer_id
    JOIN stepwell.ledger l ON l.run_id = c.run_id AND l.writer_id = c.writer_id AND l.epoch = c.epoch
    CROSS JOIN LATERAL (
        SELECT least(to_step, stepwell.shown_below_v1(
                   shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)) AS below OFFSET 0
    ) v
    WHERE c.run_id = run_id_ AND c.metric_id = metric_id_
      AND c.step_hi >= coalesce(from_step, -1) AND c.step_lo < coalesce(to_step, 9223372036854775807)
      AND NOT (stepwell.in_bucket_v1(c.step_lo, c.step_hi, from_step, v.below, k) AND abs(c.sum) < 'Infinity')
    OFFSET 0
$$;

CREATE OR REPLACE FUNCTION stepwell.slices_v1(
    shown_run_id bigint, run_id_ bigint, metric_id_ integer, from_step bigint, to_step bigint, k integer
) RETURNS TABLE (writer text, step_lo bigint, step_hi bigint, points bigint, nans bigint, pos_infs bigint, neg_infs bigint,
                 min float8, max float8, sum float8, large_sum float8, first float8, last float8)
LANGUAGE sql STABLE ROWS 1000 AS $$
-- Statistics of the points of a metric that shown_run_id shows (points_v1), for each bucket of 2^k steps; a bucket may be
-- returned in several parts.
-- Chunks that lie in one bucket as a whole (see split_chunks_v1) are left out: callers use their stored statistics.
-- Within a chunk or a block, the points of a bucket are a slice, so points are neither sorted nor grouped: 29 ms for
-- 100,000 steps in 1,000 buckets, where grouping the points took 87 ms. Large values have a sum of their own, scaled by
-- 2^-64, so that no sum overflows.
    SELECT a.writer, a.step_lo + (r.first - 1) * a.stride, a.step_lo + (r.last - 1) * a.stride, v.*,
           coalesce(a.vals8[r.first], a.vals4[r.first]), coalesce(a.vals8[r.last], a.vals4[r.last])
    FROM (
        SELECT c.writer, t.stride, t.step_lo, c.vals8 || c.rest8 AS vals8, c.vals4 || c.rest4 AS vals4,
               stepwell.steps_below_v1(
                   coalesce(from_step, t.step_lo), t.step_lo, t.step_hi, t.stride, t.points, t.steps) + 1 AS first,
               stepwell.steps_below_v1(c.below, t.step_lo, t.step_hi, t.stride, t.points, t.steps) AS last,
               t.step_hi, t.points
        FROM stepwell.split_chunks_v1(shown_run_id, run_id_, metric_id_, from_step, to_step, k) c
        CROSS JOIN LATERAL (
            SELECT * FROM stepwell.track t WHERE t.run_id = c.run_id AND t.track_id = c.track_id AND t.stride > 0 OFFSET 0
        ) t
        OFFSET 0
    ) a
    CROSS JOIN LATERAL generate_series((a.step_lo + (a.first - 1) * a.stride) >> k,
                                       (a.step_lo + (a.last - 1) * a.stride) >> k) AS q
    CROSS JOIN LATERAL (
        SELECT greatest(a.first, stepwell.steps_below_v1(
                   q << k, a.step_lo, a.step_hi, a.stride, a.points, NULL) + 1) AS first,
               least(a.last, CASE WHEN q = 9223372036854775807 >> k THEN a.last ELSE stepwell.steps_below_v1(
                   (q + 1) << k, a.step_lo, a.step_hi, a.stride, a.points, NULL) END) AS last
        OFFSET 0
    ) r
    CROSS JOIN LATERAL stepwell.of_values_v1(
        coalesce(a.vals8[r.first:r.last], a.vals4[r.first:r.last]::float8[])) v
    WHERE a.last >= a.first AND r.last >= r.first
    UNION ALL
    -- Irregular steps, and hot blocks, which store their steps beside the values.
    SELECT a.writer, a.steps[r.first], a.steps[r.last], v.*, a.vals[r.first], a.vals[r.last]
    FROM (
        SELECT c.writer, t.steps || '{}' AS steps,
               coalesce(c.vals8 || c.rest8, (c.vals4 || c.rest4)::float8[]) AS vals,
               stepwell.steps_below_v1(
                   coalesce(from_step, t.step_lo), t.step_lo, t.step_hi, 0, t.points, t.steps) + 1 AS first,
               stepwell.steps_below_v1(c.below, t.step_lo, t.step_hi, 0, t.points, t.steps) AS last
        FROM stepwell.split_chunks_v1(shown_run_id, run_id_, metric_id_, from_step, to_step, k) c
        CROSS JOIN LATERAL (
            SELECT * FROM stepwell.track t WHERE t.run_id = c.run_id AND t.track_id = c.track_id AND t.stride = 0 OFFSET 0
        ) t
        UNION ALL
        SELECT w.name, h.steps, ARRAY(SELECT unnest(h.vals[k.j:k.j])),
               stepwell.steps_below_v1(
                   greatest(l.sealed_below, from_step), h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) + 1,
               stepwell.steps_below_v1(
                   least(to_step, stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)),
                   h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps)
        FROM stepwell.ledger l
        JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
        CROSS JOIN LATERAL (
            SELECT b.steps || '{}' AS steps, b.vals, b.keys, b.step_lo, b.step_hi
            FROM stepwell.hot_block b
            WHERE b.run_id = l.run_id AND b.writer_id = l.writer_id AND b.epoch = l.epoch
              AND b.step_hi >= greatest(l.sealed_below, from_step)
              AND b.step_lo < coalesce(least(
                  to_step, stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)), 9223372036854775807)
            OFFSET 0
        ) h
        CROSS JOIN LATERAL (SELECT array_position(h.keys, metric_id_) AS j OFFSET 0) k
        WHERE l.run_id = run_id_ AND k.j IS NOT NULL
        OFFSET 0
    ) a
    -- Only the buckets that have a step: an irregular track may have few steps in a wide range.
    CROSS JOIN LATERAL (
        SELECT min(i)::integer AS first, max(i)::integer AS last
        FROM generate_series(a.first, a.last) AS i GROUP BY a.steps[i] >> k
    ) r
    CROSS JOIN LATERAL stepwell.of_values_v1(a.vals[r.first:r.last]) v
    WHERE a.last >= a.first
$$;

CREATE OR REPLACE FUNCTION stepwell.parts_v1(
    shown_run_id bigint, run_id_ bigint, metric_id_ integer, from_step bigint, to_step bigint, k integer
) RETURNS TABLE (writer text, step_lo bigint, step_hi bigint, points bigint, nans bigint, pos_infs bigint, neg_infs bigint,
                 min float8, max float8, sum float8, large_sum float8, first float8, last float8)
LANGUAGE sql STABLE ROWS 1000 AS $$
-- All that shown_run_id shows of a metric from from_step up to but not including to_step, in parts that each lie in one bucket of
-- 2^k steps, with their statistics: whole chunks and slices of chunks.
    SELECT w.name, c.step_lo, c.step_hi, c.points::bigint, c.nans::bigint, c.pos_infs::bigint, c.neg_infs::bigint, c.min, c.max,
           CASE WHEN abs(c.sum) < 1e270 THEN c.sum END, CASE WHEN abs(c.sum) >= 1e270 THEN c.sum * 2::float8 ^ -64 END,
           c.first, c.last
    FROM stepwell.chunk c
    JOIN stepwell.writer w ON w.run_id = c.run_id AND w.writer_id = c.writer_id
    JOIN stepwell.ledger l ON l.run_id = c.run_id AND l.writer_id = c.writer_id AND l.epoch = c.epoch
    WHERE c.run_id = run_id_ AND c.metric_id = metric_id_ AND c.step_hi >= from_step AND c.step_lo < to_step
      AND stepwell.in_bucket_v1(c.step_lo, c.step_hi, from_step, least(
              to_step, stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below)), k)
      AND abs(c.sum) < 'Infinity'
    UNION ALL
    SELECT * FROM stepwell.slices_v1(shown_run_id, run_id_, metric_id_, from_step, to_step, k)
$$;

CREATE OR REPLACE FUNCTION stepwell.buckets_v1(run_id_ bigint, metric_ text, lo bigint, hi bigint, k integer)
RETURNS TABLE (writer text, bucket_step bigint, bucket_width bigint, count bigint, min float8, max float8, mean float8,
               first float8, last float8, first_step bigint, last_step bigint, nans bigint, pos_infs bigint, neg_infs bigint)
LANGUAGE sql STABLE ROWS 1000 AS $$
-- The steps lo to hi of a metric of a run in buckets of 2^k steps, as history_sample returns them. There are three
-- ways; the CASE in the condition on run_id switches the other two off:
--   * k = 0: a bucket is a point, since a writer has one visible point at a step. Nothing is grouped.
--   * k <= 3: points are grouped, since the statistics of a slice take as long as those of some points. Both array_agg have
--     the same order, so that Postgres 16 and later sort the points once for all buckets; a sort for each bucket took longer
--     than all the rest.
--   * else: parts are grouped, and chunks inside a bucket are not opened.
    SELECT p.writer, p.step, 1::bigint, 1::bigint, f.value, f.value, f.value + 0, p.value, p.value, p.step, p.step,
           (p.value = 'NaN')::integer::bigint, (p.value = 'Infinity')::integer::bigint, (p.value = '-Infinity')::integer::bigint
    FROM stepwell.lineage g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5(metric_)::uuid
    CROSS JOIN LATERAL stepwell.points_v1(g.run_id, g.source_run_id, m.metric_id, lo, least(hi + 1, g.below_step), false) p
    CROSS JOIN LATERAL (SELECT CASE WHEN abs(p.value) < 'Infinity' THEN p.value END AS value) f
    WHERE g.run_id = CASE WHEN k = 0 THEN run_id_ END
    UNION ALL
    SELECT p.writer, (p.step >> k) << k, 1::bigint << k, count(*), min(p.value) FILTER (WHERE abs(p.value) < 'Infinity'),
           max(p.value) FILTER (WHERE abs(p.value) < 'Infinity'),
           stepwell.mean_v1(sum(p.value) FILTER (WHERE abs(p.value) < 1e270),
                            sum(p.value * 2::float8 ^ -64) FILTER (WHERE abs(p.value) >= 1e270 AND abs(p.value) < 'Infinity'),
                            count(*) FILTER (WHERE abs(p.value) < 'Infinity')),
           (array_agg(p.value ORDER BY p.step))[1], (array_agg(p.value ORDER BY p.step))[count(*)::integer],
           min(p.step), max(p.step), count(*) FILTER (WHERE p.value = 'NaN'), count(*) FILTER (WHERE p.value = 'Infinity'),
           count(*) FILTER (WHERE p.value = '-Infinity')
    FROM stepwell.lineage g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5(metric_)::uuid
    CROSS JOIN LATERAL stepwell.points_v1(g.run_id, g.source_run_id, m.metric_id, lo, least(hi + 1, g.below_step), false) p
    WHERE g.run_id = CASE WHEN k BETWEEN 1 AND 3 THEN run_id_ END
    GROUP BY p.writer, p.step >> k
    UNION ALL
    SELECT p.writer, (p.step_lo >> k) << k, CASE WHEN k < 63 THEN 1::bigint << k ELSE 9223372036854775807 END,
           sum(p.points)::bigint, nullif(min(p.min), 'Infinity'), nullif(max(p.max), '-Infinity'),
           stepwell.mean_v1(sum(p.sum), sum(p.large_sum), sum(p.points - p.nans - p.pos_infs - p.neg_infs)::bigint),
           (array_agg(p.first ORDER BY p.step_lo))[1], (array_agg(p.last ORDER BY p.step_hi DESC))[1],
           min(p.step_lo), max(p.step_hi), sum(p.nans)::bigint, sum(p.pos_infs)::bigint, sum(p.neg_infs)::bigint
    FROM stepwell.lineage g
    JOIN stepwell.metric m ON m.run_id = g.source_run_id AND m.name_hash = md5(metric_)::uuid
    CROSS JOIN LATERAL stepwell.parts_v1(g.run_id, g.source_run_id, m.metric_id, lo, least(hi + 1, g.below_step), k) p
    WHERE g.run_id = CASE WHEN k > 3 THEN run_id_ END
    GROUP BY p.writer, p.step_lo >> k
$$;
