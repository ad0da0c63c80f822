-- Heartbeats and ends of writers; the state of a run follows from those of its writers.

CREATE OR REPLACE FUNCTION stepwell.settle_run_v1(run_id_ bigint) RETURNS void
LANGUAGE plpgsql AS $$
-- Sets the state of a run from those of its writers: running while any writer runs, else the worst of failed, crashed
-- and finished, in this order. Late writers do not count: they only bring what was logged before.
BEGIN
    UPDATE stepwell.run r
    SET state = ends.state, exit_code = ends.exit_code,
        finished_at = CASE WHEN ends.state = 'running' THEN NULL ELSE coalesce(r.finished_at, clock_timestamp()) END
    FROM (SELECT CASE WHEN bool_or(w.state = 'running') THEN 'running'
                      WHEN bool_or(w.state = 'failed') THEN 'failed'
                      WHEN bool_or(w.state = 'crashed') THEN 'crashed'
                      ELSE 'finished' END AS state,
                 -- the code of a failed writer, even if a signal made it negative; a crash has no known code
                 CASE WHEN bool_or(w.state = 'running') THEN NULL
                      WHEN bool_or(w.state = 'failed') THEN max(w.exit_code) FILTER (WHERE w.exit_code <> 0)
                      WHEN bool_or(w.state = 'crashed') THEN NULL
                      ELSE 0 END AS exit_code
          FROM stepwell.writer w WHERE w.run_id = run_id_ AND NOT w.late HAVING count(*) > 0) ends
    WHERE r.run_id = run_id_ AND (r.state, r.exit_code) IS DISTINCT FROM (ends.state, ends.exit_code);
END
$$;

CREATE OR REPLACE FUNCTION stepwell.revive_v1(run_id_ bigint, writer_id_ integer) RETURNS void
LANGUAGE plpgsql AS $$
-- A writer has attached: it and its run are running, whatever their state was. The caller has locked the run.
BEGIN
    UPDATE stepwell.writer w SET state = 'running', exit_code = NULL, heartbeat_at = clock_timestamp(), left_at = NULL
    WHERE w.run_id = run_id_ AND w.writer_id = writer_id_;
    PERFORM stepwell.settle_run_v1(run_id_);
END
$$;

CREATE OR REPLACE FUNCTION stepwell.finish_v1(run_id_ bigint, writer_id_ integer, epoch_ integer, exit_code_ integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
-- Ends a writer, unless a newer epoch has taken it over. Returns whether this epoch was the current one.
BEGIN
    PERFORM 1 FROM stepwell.run r WHERE r.run_id = run_id_ FOR UPDATE;
    PERFORM 1 FROM stepwell.ledger l
    WHERE l.run_id = run_id_ AND l.writer_id = writer_id_ AND l.epoch = epoch_ AND NOT l.fenced FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE stepwell.writer w
    SET state = CASE WHEN exit_code_ = 0 THEN 'finished' ELSE 'failed' END, exit_code = exit_code_
    WHERE w.run_id = run_id_ AND w.writer_id = writer_id_;
    PERFORM stepwell.settle_run_v1(run_id_);
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.finish_all_v2(
    run_ids bigint[], writer_ids integer[], epochs integer[], exit_codes integer[]
) RETURNS TABLE (ord integer, current boolean)
LANGUAGE plpgsql AS $$
-- `finish_v1` for many writers in one transaction. They are locked in the order of their keys, to avoid deadlocks. Does
-- not wait long for a run that another transaction has locked: `current` is NULL for its writers. The caller sets a
-- lock_timeout.
#variable_conflict use_column
DECLARE
    i      integer;
    locked bigint[] := '{}';
BEGIN
    FOR i IN
        SELECT n.i FROM generate_subscripts(run_ids, 1) AS n (i) ORDER BY run_ids[n.i], writer_ids[n.i], epochs[n.i]
    LOOP
        BEGIN
            IF run_ids[i] = ANY (locked) THEN
                RAISE EXCEPTION 'locked' USING ERRCODE = '55P03';
            END IF;
            RETURN QUERY SELECT i, stepwell.finish_v1(run_ids[i], writer_ids[i], epochs[i], exit_codes[i]);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            locked := locked || run_ids[i];
            IF cardinality(locked) > 2 THEN
                PERFORM set_config('lock_timeout', '1ms', true);
            END IF;
            RETURN QUERY SELECT i, NULL::boolean;
        END;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.return_v1(run_id_ bigint, writer_id_ integer, epoch_ integer) RETURNS void
LANGUAGE plpgsql AS $$
-- Handles a writer marked as crashed that has sent something again: it runs, unless a newer epoch has taken it over.
BEGIN
    PERFORM 1 FROM stepwell.run r WHERE r.run_id = run_id_ FOR UPDATE;
    IF EXISTS (SELECT FROM stepwell.ledger l JOIN stepwell.writer w USING (run_id, writer_id)
               WHERE l.run_id = run_id_ AND l.writer_id = writer_id_ AND l.epoch = epoch_
                 AND NOT l.fenced AND w.state = 'crashed') THEN
        PERFORM stepwell.revive_v1(run_id_, writer_id_);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.reap_v1(silent interval) RETURNS integer
LANGUAGE plpgsql AS $$
-- Marks writers that have not been heard from for `silent` as crashed. Returns how many. Only one caller works at a
-- time; others return 0 at once. Runs that another transaction has locked are left to the next call.
DECLARE
    silent_run bigint;
    silent_writers integer[];
    reaped integer := 0;
BEGIN
    PERFORM 1 FROM stepwell.lock k WHERE k.name = 'reap' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR silent_run, silent_writers IN
        SELECT w.run_id, array_agg(w.writer_id) AS writers
        FROM stepwell.writer w
        WHERE w.state = 'running' AND w.heartbeat_at < clock_timestamp() - silent
        GROUP BY w.run_id ORDER BY w.run_id
    LOOP
        PERFORM 1 FROM stepwell.run r WHERE r.run_id = silent_run FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE stepwell.writer w SET state = 'crashed'
            WHERE w.run_id = silent_run AND w.writer_id = ANY (silent_writers)
              AND w.state = 'running' AND w.heartbeat_at < clock_timestamp() - silent;
            PERFORM stepwell.settle_run_v1(silent_run);
            reaped := reaped + cardinality(silent_writers);
        END IF;
    END LOOP;
    RETURN reaped;
END
$$;
