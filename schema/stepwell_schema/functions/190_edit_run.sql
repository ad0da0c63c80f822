-- Changes to a run that come from a reader instead of its own processes: names, config and summary.

CREATE OR REPLACE FUNCTION stepwell.edit_run_v1(
    run_id_ bigint, meta_ jsonb, config_ jsonb, summary_ jsonb
) RETURNS boolean
LANGUAGE plpgsql AS $$
-- Adds one note for each argument that is not NULL; false: there is no such run. Notes belong to a writer and an epoch,
-- so these belong to the first writer's latest one, with seq -2, which no process uses. They count until a process of
-- the run changes the same value: a summary value counts until the metric is logged at a later step.
DECLARE
    at_   stepwell.ledger;
    step_ bigint;
    ord_  integer;
BEGIN
    PERFORM FROM stepwell.run r WHERE r.run_id = run_id_ FOR UPDATE;
    SELECT l.* INTO at_ FROM stepwell.ledger l
    WHERE l.run_id = run_id_ ORDER BY l.writer_id, l.epoch DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT coalesce(max(r.last_step) + 1, 0) INTO step_ FROM stepwell.runs r WHERE r.run_id = run_id_;
    SELECT count(*) INTO ord_ FROM stepwell.note n
    WHERE n.run_id = run_id_ AND n.writer_id = at_.writer_id AND n.epoch = at_.epoch AND n.seq = -2;
    INSERT INTO stepwell.note (run_id, writer_id, epoch, seq, ord, step, time, kind, value)
    SELECT run_id_, at_.writer_id, at_.epoch, -2, ord_ + v.nr, step_, clock_timestamp(), v.kind, v.value
    FROM (VALUES (0, 'meta', meta_), (1, 'config', jsonb_build_object('set', config_)),
                 (2, 'summary', jsonb_build_object('set', summary_))) v (nr, kind, value)
    WHERE (ARRAY[meta_, config_, summary_])[v.nr + 1] IS NOT NULL;
    PERFORM stepwell.use_blobs_v1(ARRAY[run_id_], ARRAY[summary_::text]);
    -- No frame has moved the ledger, so without this, a stored summary would still count as current.
    UPDATE stepwell.ledger l SET edits = l.edits + 1
    WHERE l.run_id = at_.run_id AND l.writer_id = at_.writer_id AND l.epoch = at_.epoch;
    RETURN true;
END
$$;
