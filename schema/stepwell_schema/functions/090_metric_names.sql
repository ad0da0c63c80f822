-- Names of metrics as small integers, which are numbered per run.

CREATE OR REPLACE FUNCTION stepwell.intern_metrics_v1(run_id_ bigint, names text[], max_metrics integer)
RETURNS TABLE (name text, metric_id integer)
LANGUAGE plpgsql AS $$
-- Returns the ids of `names`; new names get the next ids. A lock on the row of the run keeps ids dense and unique.
-- Raises SQLSTATE ST001 when the run would have more than `max_metrics` names; ST002 when the run does not exist.
#variable_conflict use_column
DECLARE
    first_id integer;
    fresh    integer;
BEGIN
    SELECT r.next_metric INTO first_id FROM stepwell.run r WHERE r.run_id = run_id_ FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no run with the run_id %', run_id_ USING ERRCODE = 'ST002';
    END IF;
    INSERT INTO stepwell.metric (run_id, metric_id, name)
    SELECT run_id_, first_id - 1 + row_number() OVER (ORDER BY n.ord)::integer, n.name
    FROM unnest(names) WITH ORDINALITY AS n (name, ord)
    WHERE NOT EXISTS (SELECT FROM stepwell.metric m WHERE m.run_id = run_id_ AND m.name_hash = md5(n.name)::uuid);
    GET DIAGNOSTICS fresh = ROW_COUNT;
    IF first_id - 1 + fresh > max_metrics THEN
        RAISE EXCEPTION 'the run would have % metric names; its limit is %', first_id - 1 + fresh, max_metrics
            USING ERRCODE = 'ST001';
    END IF;
    IF fresh > 0 THEN
        UPDATE stepwell.run r SET next_metric = first_id + fresh WHERE r.run_id = run_id_;
    END IF;
    RETURN QUERY SELECT m.name, m.metric_id FROM stepwell.metric m
                 WHERE m.run_id = run_id_ AND m.name_hash IN (SELECT md5(u.name)::uuid FROM unnest(names) AS u (name));
END
$$;

CREATE OR REPLACE FUNCTION stepwell.try_intern_metrics_v1(run_id_ bigint, names text[], max_metrics integer)
RETURNS TABLE (name text, metric_id integer)
LANGUAGE plpgsql AS $$
-- As intern_metrics_v1, but does not wait for the run: no rows when another transaction has locked it. If all names are
-- known, no lock is needed.
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT m.name, m.metric_id FROM stepwell.metric m
                 WHERE m.run_id = run_id_ AND m.name_hash IN (SELECT md5(u.name)::uuid FROM unnest(names) AS u (name))
                   AND NOT EXISTS (SELECT FROM unnest(names) AS n (name)
                                   WHERE NOT EXISTS (SELECT FROM stepwell.metric k
                                                     WHERE k.run_id = run_id_ AND k.name_hash = md5(n.name)::uuid))
                   AND EXISTS (SELECT FROM stepwell.run r WHERE r.run_id = run_id_);
    IF FOUND THEN
        RETURN;
    END IF;
    PERFORM 1 FROM stepwell.run r WHERE r.run_id = run_id_ FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM stepwell.run r WHERE r.run_id = run_id_) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT i.name, i.metric_id FROM stepwell.intern_metrics_v1(run_id_, names, max_metrics) i;
END
$$;
