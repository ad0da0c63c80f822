-- The summary of a run: for each key its last value, the aggregate that define_metric asks for, or a value that was
-- set.

CREATE OR REPLACE FUNCTION stepwell.visible_notes_v1(run_id_ bigint, kind_ text) RETURNS TABLE (
    nr bigint, step bigint, value jsonb
)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- The notes of a run and of its ancestors in order, without those of superseded steps. A note that was sent while
    -- step N was open was sent after step N − 1, so it stays when N is the first hidden step.
    SELECT row_number() OVER (ORDER BY n.time, n.run_id, n.writer_id, n.epoch, n.seq, n.ord), n.step, n.value
    FROM stepwell.lineage g
    JOIN stepwell.note n ON n.run_id = g.source_run_id
    JOIN stepwell.ledger l ON l.run_id = n.run_id AND l.writer_id = n.writer_id AND l.epoch = n.epoch
    CROSS JOIN LATERAL (
        SELECT stepwell.shown_below_v1(g.run_id, l.run_id, l.writer_id, l.epoch, l.visible_below) AS below
    ) v
    WHERE g.run_id = run_id_ AND n.kind = kind_ AND (v.below IS NULL OR n.step <= v.below)
$$;

CREATE OR REPLACE FUNCTION stepwell.definitions_v1(run_id_ bigint) RETURNS TABLE (
    name text, is_glob boolean, step_metric text, step_sync boolean, hidden boolean, summary text[], goal text
)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- The definitions of define_metric, combined by name; `overwrite` discards the earlier ones. The name of a glob
    -- includes its `*`.
    WITH said AS MATERIALIZED (
        SELECT n.nr, n.value, coalesce(n.value->>'glob', n.value->>'name') AS name, n.value ? 'glob' AS is_glob
        FROM stepwell.visible_notes_v1(run_id_, 'define') n
    ), since AS (
        SELECT s.name, s.is_glob, max(s.nr) FILTER (WHERE s.value->'overwrite' = 'true') AS nr
        FROM said s WHERE s.name IS NOT NULL GROUP BY 1, 2
    )
    SELECT s.name, s.is_glob,
           (array_agg(s.value->>'step_metric' ORDER BY s.nr DESC)
                FILTER (WHERE s.value->>'step_metric' IS NOT NULL))[1],
           coalesce(bool_or(s.value->'step_sync' = 'true'), false), coalesce(bool_or(s.value->'hidden' = 'true'), false),
           ARRAY(SELECT DISTINCT w.word
                 FROM said o, jsonb_array_elements_text(stepwell.array_v1(o.value->'summary')) w (word)
                 WHERE o.name = s.name AND o.is_glob = s.is_glob AND o.nr >= coalesce(max(since.nr), 0) ORDER BY 1),
           (array_agg(s.value->>'goal' ORDER BY s.nr DESC) FILTER (WHERE s.value->>'goal' IS NOT NULL))[1]
    FROM said s JOIN since ON since.name = s.name AND since.is_glob = s.is_glob AND s.nr >= coalesce(since.nr, 0)
    GROUP BY s.name, s.is_glob
$$;

CREATE OR REPLACE FUNCTION stepwell.last_object_v1(run_id_ bigint) RETURNS TABLE (
    key text, step bigint, "time" timestamptz, value jsonb
)
LANGUAGE sql STABLE AS $$
    -- The last object of each key.
    SELECT DISTINCT ON (o.key) o.key, o.step, o.time, stepwell.plain_v1(o.value)
    FROM stepwell.history_objects o WHERE o.run_id = run_id_ AND o.value <> 'null'
    ORDER BY o.key, o.step DESC, o.time DESC
$$;

CREATE OR REPLACE FUNCTION stepwell.first_object_v1(run_id_ bigint) RETURNS TABLE (key text, step bigint, value jsonb)
LANGUAGE plpgsql STABLE AS $$
-- The first object of each key. In PL/pgSQL, so that it is not inlined: only the definition `first` needs it.
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (o.key) o.key, o.step, stepwell.plain_v1(o.value)
    FROM stepwell.history_objects o WHERE o.run_id = run_id_ AND o.value <> 'null'
    ORDER BY o.key, o.step, o.time;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.last_of_all_v1(run_id_ bigint) RETURNS TABLE (step bigint, "time" float8)
LANGUAGE sql STABLE ROWS 1 AS $$
    -- The highest step of a run's last values and the latest of their times, in seconds since 1970; no row: it has none.
    SELECT max(l.step), extract(epoch FROM max(l.time))::float8
    FROM (SELECT m.last_step AS step, m.last_time AS "time" FROM stepwell.metric_last_v1(run_id_) m
          UNION ALL SELECT o.step, o.time FROM stepwell.last_object_v1(run_id_) o) l
    HAVING count(*) > 0
$$;

CREATE OR REPLACE FUNCTION stepwell.summary_end_v1(run_id_ bigint) RETURNS TABLE (step bigint, "time" float8)
LANGUAGE plpgsql STABLE ROWS 1 AS $$
-- As last_of_all_v1, but not inlined: only `_step`, `_timestamp` and `_runtime` need it.
BEGIN
    RETURN QUERY SELECT l.step, l.time FROM stepwell.last_of_all_v1(run_id_) l;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.runtime_v1(run_id_ bigint, "time" float8) RETURNS TABLE (seconds float8)
LANGUAGE sql STABLE ROWS 1 AS $$
    -- The seconds from the start of a run's first process to a time; no row: no process has reported when it started.
    SELECT "time" - min(stepwell.float_v1(w.info->'started_at')) FROM stepwell.writer w
    WHERE w.run_id = run_id_ AND stepwell.float_v1(w.info->'started_at') IS NOT NULL HAVING count(*) > 0
$$;

CREATE OR REPLACE FUNCTION stepwell.summary_keys_v1(run_id_ bigint) RETURNS TABLE (key text, value jsonb)
LANGUAGE sql STABLE AS $$
    -- The summary of one run, except `_step` and the like. Keys of nested values are dot paths. Inlined, and built so that a
    -- condition on the key reaches the tables: `fact` has at most one row per key and source, grouped by key, and no CTE is in
    -- between.
    SELECT k.key, v.value
    FROM (
        -- Definitions, and which keys were unset, once per run. Not the values that were set: they may be large, and what is
        -- here is read again for each key.
        SELECT d.definitions, s.unset, s.notes > 0 AS with_notes,
               d.definitions @? '$[*].summary[*] ? (@ == "min" || @ == "max" || @ == "mean" || @ == "best" || @ == "first")'
                   AS with_stats,
               d.definitions @? '$[*].summary[*] ? (@ == "first")' AS with_first
        FROM (SELECT jsonb_agg(to_jsonb(d)) AS definitions FROM stepwell.definitions_v1(run_id_) d) d,
             (SELECT count(*) AS notes,
                     jsonb_agg(jsonb_build_object('nr', n.nr, 'step', n.step, 'keys', n.value->'unset'))
                         FILTER (WHERE n.value ? 'unset') AS unset
              FROM stepwell.visible_notes_v1(run_id_, 'summary') n) s
        OFFSET 0
    ) c
    CROSS JOIN LATERAL (
        SELECT fact.key,
               (array_agg(fact.last ORDER BY fact.step DESC, fact.time DESC, fact.rank)
                    FILTER (WHERE fact.rank IS NOT NULL))[1] AS last,
               max(fact.step) FILTER (WHERE fact.rank IS NOT NULL) AS step,
               (array_agg(fact.first ORDER BY fact.first_step, fact.rank) FILTER (WHERE fact.first IS NOT NULL))[1] AS first,
               min(fact.min) AS min, max(fact.max) AS max, sum(fact.sum) AS sum, sum(fact.finite)::bigint AS finite,
               sum(fact.pos_infs) AS pos_infs, sum(fact.neg_infs) AS neg_infs,
               (array_agg(fact.set_value) FILTER (WHERE fact.nr IS NOT NULL))[1] AS set_value, max(fact.nr) AS nr,
               max(fact.step) FILTER (WHERE fact.nr IS NOT NULL) AS set_step
        FROM (
            SELECT m.metric AS key, 1 AS rank, stepwell.number_v1(m.last) AS last, m.last_step AS step,
                   m.last_time AS "time", stepwell.number_v1(m.first) AS first, m.first_step, m.min, m.max, m.sum,
                   m.points - m.nans - m.pos_infs - m.neg_infs AS finite, m.pos_infs, m.neg_infs,
                   NULL::jsonb AS set_value, NULL::bigint AS nr
            FROM stepwell.metric_values_v1(run_id_, c.with_stats) m
            UNION ALL
            SELECT o.key, 2, o.value, o.step, o.time, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            FROM stepwell.last_object_v1(run_id_) o
            UNION ALL
            SELECT o.key, NULL, NULL, NULL, NULL, o.value, o.step, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            FROM stepwell.first_object_v1(run_id_) o WHERE c.with_first
            UNION ALL
            SELECT s.key, NULL, NULL, s.step, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, s.value, s.nr
            FROM (
                SELECT DISTINCT ON (e.key) e.key, n.step, n.nr, stepwell.plain_v1(e.value) AS value
                FROM stepwell.visible_notes_v1(run_id_, 'summary') n,
                     jsonb_each(stepwell.object_v1(n.value->'set')) e
                WHERE c.with_notes AND stepwell.blobs_there_v1(e.value)   -- media: once their files are stored
                ORDER BY e.key, n.nr DESC
            ) s
        ) fact
        GROUP BY fact.key
    ) k
    LEFT JOIN LATERAL (   -- the definition by name, else that of the longest glob
        SELECT d.summary, d.goal
        FROM jsonb_to_recordset(c.definitions) AS d (name text, is_glob boolean, summary text[], goal text)
        WHERE (d.name = k.key AND NOT d.is_glob)
           OR (d.is_glob AND starts_with(k.key, left(d.name, -1)) AND NOT starts_with(k.key, '_'))
        ORDER BY d.is_glob, length(d.name) DESC LIMIT 1
    ) d ON true
    LEFT JOIN LATERAL (   -- the last note that unset the key, or a key above it
        SELECT max(n.nr) AS nr, max(n.step) AS step
        FROM jsonb_to_recordset(c.unset) AS n (nr bigint, step bigint, keys jsonb),
             jsonb_array_elements_text(stepwell.array_v1(n.keys)) u (key)
        WHERE u.key = k.key OR starts_with(k.key, u.key || '.')
        GROUP BY u.key ORDER BY 1 DESC LIMIT 1
    ) u ON true
    CROSS JOIN LATERAL (   -- the later of set and unset: the value, or NULL if it was unset
        SELECT k.nr IS NOT NULL OR u.nr IS NOT NULL AS said,
               CASE WHEN k.nr >= u.nr OR u.nr IS NULL THEN k.set_value END AS value,
               CASE WHEN k.nr >= u.nr OR u.nr IS NULL THEN k.set_step ELSE u.step END AS step
    ) w
    CROSS JOIN LATERAL (
        SELECT CASE WHEN w.said AND (k.step IS NULL OR k.step < w.step) THEN w.value
                    WHEN w.said OR d.summary IS NULL OR d.summary <@ '{copy}' THEN k.last
                    WHEN 'none' = ANY (d.summary) THEN NULL
                    ELSE (
                        SELECT jsonb_object_agg(v.word, v.value)
                        FROM (
                            SELECT CASE WHEN k.neg_infs > 0 THEN '-Infinity'
                                        WHEN k.min = 'Infinity' THEN CASE WHEN k.pos_infs > 0 THEN float8 'Infinity' END
                                        WHEN k.min IS NULL AND k.pos_infs > 0 THEN 'Infinity' ELSE k.min END AS min,
                                   CASE WHEN k.pos_infs > 0 THEN 'Infinity'
                                        WHEN k.max = '-Infinity' THEN CASE WHEN k.neg_infs > 0 THEN float8 '-Infinity' END
                                        WHEN k.max IS NULL AND k.neg_infs > 0 THEN '-Infinity' ELSE k.max END AS max,
                                   CASE WHEN k.pos_infs > 0 AND k.neg_infs > 0 THEN 'NaN' WHEN k.pos_infs > 0 THEN 'Infinity'
                                        WHEN k.neg_infs > 0 THEN '-Infinity'
                                        ELSE stepwell.metric_mean_v1(k.sum, k.finite) END AS mean
                        ) s
                        CROSS JOIN LATERAL (
                            VALUES ('min', stepwell.number_v1(s.min)), ('max', stepwell.number_v1(s.max)),
                                   ('mean', stepwell.number_v1(s.mean)), ('last', k.last), ('first', k.first),
                                   ('best', stepwell.number_v1(CASE WHEN d.goal = 'maximize' THEN s.max ELSE s.min END))
                        ) v (word, value)
                        WHERE v.word = ANY (d.summary) AND v.value IS NOT NULL)
               END AS value
    ) v
    WHERE v.value IS NOT NULL AND k.key NOT IN ('_step', '_timestamp', '_runtime')
$$;

CREATE OR REPLACE FUNCTION stepwell.summary_v1(run_id_ bigint) RETURNS TABLE (key text, value jsonb)
LANGUAGE sql STABLE AS $$
    -- The summary of one run, made from its history and its notes. If a change of this code changes values, raise the
    -- number in summary_form_v1.
    SELECT k.key, k.value FROM stepwell.summary_keys_v1(run_id_) k
    UNION ALL SELECT '_step', to_jsonb(e.step) FROM stepwell.summary_end_v1(run_id_) e
    UNION ALL SELECT '_timestamp', to_jsonb(e.time) FROM stepwell.summary_end_v1(run_id_) e
    UNION ALL SELECT '_runtime', to_jsonb(t.seconds)
              FROM stepwell.summary_end_v1(run_id_) e CROSS JOIN LATERAL stepwell.runtime_v1(run_id_, e.time) t
$$;

CREATE OR REPLACE VIEW stepwell.summary AS
SELECT r.entity, r.project, r.name AS run, r.run_id, s.key, s.value, s.number
FROM stepwell.run r
CROSS JOIN LATERAL stepwell.summary_is_stored_v1(r.run_id) c
CROSS JOIN LATERAL (
    SELECT v.key, coalesce(v.value, stepwell.number_v1(v.number)) AS value, v.number
    FROM stepwell.stored_value v WHERE v.run_id = r.run_id AND c.stored
    UNION ALL
    SELECT f.key, f.value, stepwell.float_v1(f.value) FROM stepwell.summary_v1(r.run_id) f WHERE NOT c.stored
) s;

-- The definitions of define_metric.
CREATE OR REPLACE VIEW stepwell.definitions AS
SELECT r.entity, r.project, r.name AS run, r.run_id, d.name, d.is_glob, d.step_metric, d.step_sync, d.hidden,
       d.summary, d.goal
FROM stepwell.run r CROSS JOIN LATERAL stepwell.definitions_v1(r.run_id) d;
