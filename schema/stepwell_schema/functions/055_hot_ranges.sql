-- Where the hot points of each metric are, for runs that log new names all the time.

CREATE OR REPLACE FUNCTION stepwell.most_listed_v1() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The most hot points of a run that are listed. A read of one metric pays for the whole list, too: 4 µs of CPU per
    -- point.
    SELECT 32768
$$;

CREATE OR REPLACE FUNCTION stepwell.hot_ranges_v1(
    shown_run_id bigint, run_id_ bigint, most_points integer,
    OUT metric_ids integer[], OUT first_ends bigint[], OUT last_ends bigint[], OUT has_chunks boolean,
    OUT steps bigint[], OUT times timestamptz[], OUT "values" float8[], OUT writer_nrs integer[], OUT writers text[]
)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE COST 10000 AS $$
-- A run that logs new names all the time has many hot blocks with few of its metrics each. A read of the whole run
-- would look for each metric in each block: 10.7 s for 4,000 names. So this function is called once for each read, and
-- returns one of these:
--   * Up to most_points hot points: the points, as far as shown_run_id shows them, in the order of their metrics; writer_nrs are
--     places in writers. The points of a metric are neighbours, so width_bucket finds the first and the last.
--   * More hot points: the blocks in which each metric is, as metric_ids in order, and the last steps of the first and
--     of the last block that has the metric. Ids without hot blocks are included, as ranges from an id to the next one
--     with the last step -1, so width_bucket finds the place of any metric. steps and the following are NULL.
--   * NULL for a run whose blocks (a few are examined) have on average more than a sixteenth of its metrics: both of
--     the above would cost more than they save.
-- has_chunks: whether any points are sealed (NULL: not known).
#variable_conflict use_column
DECLARE
    per_block float8;
    points    bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM stepwell.ledger l WHERE l.run_id = run_id_ AND l.last_step >= l.sealed_below) THEN
        metric_ids := '{}';
        steps := '{}';
        RETURN;
    END IF;
    per_block := (SELECT avg(cardinality(s.keys))
                  FROM (SELECT h.keys FROM stepwell.hot_block h WHERE h.run_id = run_id_ LIMIT 16) s);
    IF per_block * 16 > (SELECT r.next_metric FROM stepwell.run r WHERE r.run_id = run_id_) THEN
        RETURN;
    END IF;
    -- pg_column_size does not open the array: 8 bytes a value, and 28 to 32 of header.
    SELECT coalesce(sum((pg_column_size(h.vals) - 28) / 8), 0), bool_or(l.sealed_points > 0) INTO points, has_chunks
    FROM stepwell.ledger l
    LEFT JOIN stepwell.hot_block h ON h.run_id = l.run_id AND h.writer_id = l.writer_id AND h.epoch = l.epoch
                                  AND h.step_hi >= l.sealed_below
    WHERE l.run_id = run_id_;
    IF points <= most_points THEN
        writers := ARRAY(SELECT w.name FROM stepwell.writer w WHERE w.run_id = run_id_ ORDER BY w.writer_id);
        SELECT coalesce(array_agg(p.metric_id), '{}'), coalesce(array_agg(p.step), '{}'), array_agg(p.time), array_agg(p.value),
               array_agg(p.writer_nr)
        INTO metric_ids, steps, times, "values", writer_nrs
        FROM (
            SELECT p.keys[p.j] AS metric_id, p.steps[p.i] AS step, p.times[p.i] AS "time", p.vals[p.j][p.i] AS value, p.writer_nr
            FROM (
                -- functions that return sets are in select lists, because in FROM they first write their rows to a tuple store
                SELECT k.*, generate_series(k.first, k.last) AS i
                FROM (SELECT b.*, generate_series(1, cardinality(b.keys)) AS j FROM (
                    SELECT h.keys, h.steps || '{}' AS steps, h.times || '{}' AS times, h.vals || '{}' AS vals, l.writer_nr,
                           stepwell.steps_below_v1(
                               l.sealed_below, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) + 1 AS first,
                           stepwell.steps_below_v1(l.below, h.step_lo, h.step_hi, 0, cardinality(h.steps), h.steps) AS last
                    FROM (
                        SELECT l.writer_id, l.epoch, l.sealed_below, array_position(writers, w.name) AS writer_nr,
                               stepwell.shown_below_v1(shown_run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below
                        FROM stepwell.ledger l
                        JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
                        WHERE l.run_id = run_id_
                        OFFSET 0
                    ) l
                    JOIN stepwell.hot_block h ON h.run_id = run_id_ AND h.writer_id = l.writer_id AND h.epoch = l.epoch
                                             AND h.step_hi >= l.sealed_below
                    OFFSET 0
                ) b) k
            ) p
            ORDER BY 1
        ) p;
        RETURN;
    END IF;
    SELECT 0 || array_agg(p.id), -1 || array_agg(p.lo), -1 || array_agg(p.hi) INTO metric_ids, first_ends, last_ends
    FROM (
        SELECT i.id, CASE WHEN i.id = k.id THEN k.lo END AS lo, CASE WHEN i.id = k.id THEN k.hi ELSE -1 END AS hi
        FROM (
            SELECT b.id, min(b.step_hi) AS lo, max(b.step_hi) AS hi, lead(b.id) OVER (ORDER BY b.id) AS next
            FROM stepwell.ledger l
            CROSS JOIN LATERAL (
                SELECT h.step_hi, unnest(h.keys) AS id FROM stepwell.hot_block h
                WHERE h.run_id = l.run_id AND h.writer_id = l.writer_id AND h.epoch = l.epoch AND h.step_hi >= l.sealed_below
            ) b
            WHERE l.run_id = run_id_ GROUP BY b.id
        ) k
        CROSS JOIN LATERAL (SELECT k.id UNION ALL SELECT k.id + 1 WHERE k.next IS DISTINCT FROM k.id + 1) i (id)
        ORDER BY 1
    ) p;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.sources_v1(shown_run_id bigint, next_metric_ integer)
RETURNS TABLE (run_id bigint, source_run_id bigint, below_step bigint, metric_ids integer[], first_ends bigint[],
               last_ends bigint[], has_chunks boolean, steps bigint[], times timestamptz[], "values" float8[],
               writer_nrs integer[], writers text[])
LANGUAGE sql STABLE AS $$
    -- The runs whose points a run shows (itself, and its ancestors if it is a fork), each with its hot points or
    -- ranges. These are looked up only for runs with more than 256 metrics, and for ancestors, whose number of metrics
    -- is not known here. Inlined. `OFFSET 0`: evaluated once for each run, and a single relation in the join of a
    -- query.
    SELECT i.run_id, i.source_run_id, i.below_step, h.*
    FROM stepwell.lineage i
    CROSS JOIN LATERAL stepwell.hot_ranges_v1(
        i.run_id, CASE WHEN next_metric_ > 256 OR i.source_run_id <> shown_run_id THEN i.source_run_id END,
        stepwell.most_listed_v1()) h
    WHERE i.run_id = shown_run_id
    OFFSET 0
$$;
