-- The summary of a run: for each key its last value, what define_metric makes of it, or what was set by hand.

CREATE OR REPLACE FUNCTION stepwell.number_v1(value float8) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- JSON has no word for NaN and infinities: they are strings.
    SELECT CASE WHEN value IN ('NaN', 'Infinity', '-Infinity') THEN to_jsonb(value::text) ELSE to_jsonb(value) END
$$;

CREATE OR REPLACE FUNCTION stepwell.plain_v1(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The same for a number that came as an object.
    SELECT CASE WHEN value->>'_type' = 'float64' AND jsonb_typeof(value->'value') = 'string' THEN value->'value'
                ELSE value END
$$;

CREATE OR REPLACE FUNCTION stepwell.visible_notes_v1(run_id_ bigint, kind_ text) RETURNS TABLE (
    nr bigint, step bigint, value jsonb
)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- The notes of a run and of the runs that it is a fork of, in order; without those of steps that are superseded.
    -- What was said when step N was open was said behind step N − 1, so it stays when N is the first step to be hidden.
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
    -- What define_metric was told, added up by name; `overwrite` starts anew. A glob is named with its `*`.
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

CREATE OR REPLACE FUNCTION stepwell.summary_v1(run_id_ bigint) RETURNS TABLE (key text, value jsonb)
LANGUAGE sql STABLE AS $$
    -- The summary of one run. Keys of nested values are dot paths.
    WITH definition AS MATERIALIZED (
        SELECT * FROM stepwell.definitions_v1(run_id_)
    ), said AS MATERIALIZED (
        SELECT * FROM stepwell.visible_notes_v1(run_id_, 'summary')
    ), last_object AS (
        SELECT DISTINCT ON (o.key) o.key, o.step, o.time, stepwell.plain_v1(o.value) AS value
        FROM stepwell.history_objects o WHERE o.run_id = run_id_ AND o.value <> 'null'
        ORDER BY o.key, o.step DESC, o.time DESC
    ), first_object AS (
        SELECT DISTINCT ON (o.key) o.key, o.step, o.time, stepwell.plain_v1(o.value) AS value
        FROM stepwell.history_objects o
        WHERE o.run_id = run_id_ AND o.value <> 'null'
          AND EXISTS (SELECT FROM definition d WHERE 'first' = ANY (d.summary))
        ORDER BY o.key, o.step, o.time
    ), stats AS MATERIALIZED (
        -- Only when something was defined that needs them: the last values cost far less. (In a CTE that is inlined, the
        -- condition was asked of each row that had been made.)
        SELECT * FROM stepwell.metric_stats_v1(run_id_)
        WHERE EXISTS (SELECT FROM definition d WHERE d.summary && '{min,max,mean,best,first}')
    ), logged AS MATERIALIZED (
        SELECT coalesce(p.metric, o.key) AS key, greatest(p.last_step, o.step) AS step,
               greatest(p.last_time, o.time) AS time,
               CASE WHEN (p.last_step, p.last_time) >= (o.step, o.time) OR o.key IS NULL THEN stepwell.number_v1(p.last)
                    ELSE o.value END AS last,
               CASE WHEN s.first_step <= f.step OR f.key IS NULL THEN stepwell.number_v1(s.first) ELSE f.value END
                   AS first,
               CASE WHEN s.neg_infs > 0 THEN '-Infinity' WHEN s.min IS NULL AND s.pos_infs > 0 THEN 'Infinity'
                    ELSE s.min END AS min,
               CASE WHEN s.pos_infs > 0 THEN 'Infinity' WHEN s.max IS NULL AND s.neg_infs > 0 THEN '-Infinity'
                    ELSE s.max END AS max,
               CASE WHEN s.pos_infs > 0 AND s.neg_infs > 0 THEN 'NaN' WHEN s.pos_infs > 0 THEN 'Infinity'
                    WHEN s.neg_infs > 0 THEN '-Infinity' ELSE s.mean END AS mean
        FROM stepwell.metric_last_v1(run_id_) p
        FULL JOIN last_object o ON o.key = p.metric
        LEFT JOIN stats s ON s.metric = p.metric
        LEFT JOIN first_object f ON f.key = coalesce(p.metric, o.key)
    ), set_ AS (
        SELECT DISTINCT ON (e.key) e.key, stepwell.plain_v1(e.value) AS value, s.nr, s.step
        FROM said s, jsonb_each(stepwell.object_v1(s.value->'set')) e
        WHERE stepwell.blobs_there_v1(e.value)   -- media that are set here: when their files are there
        ORDER BY e.key, s.nr DESC
    ), unset AS MATERIALIZED (
        SELECT u.key, max(s.nr) AS nr, max(s.step) AS step
        FROM said s, jsonb_array_elements_text(stepwell.array_v1(s.value->'unset')) u (key) GROUP BY 1
    ), word AS (   -- what was said of each key last: its value, or that it is gone (NULL)
        SELECT k.key, CASE WHEN s.nr >= u.nr OR u.nr IS NULL THEN s.value END AS value,
               CASE WHEN s.nr >= u.nr OR u.nr IS NULL THEN s.step ELSE u.step END AS step
        FROM (SELECT l.key FROM logged l UNION SELECT s.key FROM set_ s) k
        LEFT JOIN set_ s ON s.key = k.key
        LEFT JOIN LATERAL (
            SELECT u.nr, u.step FROM unset u WHERE u.key = k.key OR starts_with(k.key, u.key || '.')
            ORDER BY u.nr DESC LIMIT 1
        ) u ON true
        WHERE s.key IS NOT NULL OR u.nr IS NOT NULL
    ), found AS (
        SELECT coalesce(l.key, w.key) AS key,
               CASE WHEN w.key IS NOT NULL AND (l.key IS NULL OR l.step < w.step) THEN w.value
                    WHEN w.key IS NOT NULL OR d.summary IS NULL OR d.summary <@ '{copy}' THEN l.last
                    WHEN 'none' = ANY (d.summary) THEN NULL
                    ELSE (SELECT jsonb_object_agg(v.word, v.value)
                          FROM (VALUES ('min', stepwell.number_v1(l.min)), ('max', stepwell.number_v1(l.max)),
                                       ('mean', stepwell.number_v1(l.mean)), ('last', l.last), ('first', l.first),
                                       ('best', stepwell.number_v1(CASE WHEN d.goal = 'maximize' THEN l.max
                                                                        ELSE l.min END))) v (word, value)
                          WHERE v.word = ANY (d.summary) AND v.value IS NOT NULL)
               END AS value
        FROM logged l
        FULL JOIN word w ON w.key = l.key
        LEFT JOIN LATERAL (   -- by name, else by the longest glob
            SELECT d.summary, d.goal FROM definition d
            WHERE (d.name = l.key AND NOT d.is_glob)
               OR (d.is_glob AND starts_with(l.key, left(d.name, -1)) AND NOT starts_with(l.key, '_'))
            ORDER BY d.is_glob, length(d.name) DESC LIMIT 1
        ) d ON true
    ), ending AS (
        SELECT max(l.step) AS step, extract(epoch FROM max(l.time))::float8 AS time FROM logged l HAVING count(*) > 0
    )
    SELECT f.key, f.value FROM found f
    WHERE f.value IS NOT NULL AND f.key NOT IN ('_step', '_timestamp', '_runtime')
    UNION ALL SELECT '_step', to_jsonb(e.step) FROM ending e
    UNION ALL SELECT '_timestamp', to_jsonb(e.time) FROM ending e
    UNION ALL
    SELECT '_runtime', to_jsonb(e.time - min((w.info->>'started_at')::float8))
    FROM ending e, stepwell.writer w
    WHERE w.run_id = run_id_ AND jsonb_typeof(w.info->'started_at') = 'number' GROUP BY e.time
$$;

CREATE OR REPLACE VIEW stepwell.summary AS
SELECT r.entity, r.project, r.name AS run, r.run_id, s.key, s.value
FROM stepwell.run r CROSS JOIN LATERAL stepwell.summary_v1(r.run_id) s;

-- What define_metric was told.
CREATE OR REPLACE VIEW stepwell.definitions AS
SELECT r.entity, r.project, r.name AS run, r.run_id, d.name, d.is_glob, d.step_metric, d.step_sync, d.hidden,
       d.summary, d.goal
FROM stepwell.run r CROSS JOIN LATERAL stepwell.definitions_v1(r.run_id) d;
