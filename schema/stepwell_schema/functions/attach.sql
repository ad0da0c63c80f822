-- How a writer session becomes (run, writer, epoch).

CREATE OR REPLACE FUNCTION stepwell.attach_v1(
    entity_ text, project_ text, run_ text, writer_ text, session_ uuid, late boolean, info_ jsonb
) RETURNS TABLE (run_id bigint, writer_id integer, writer text, epoch integer, fenced boolean, resumed boolean)
LANGUAGE plpgsql AS $$
-- Finds or makes the run, the writer and the session's epoch.
--   * A session that is known keeps its epoch, fenced or not.
--   * A new session of a known writer opens the next epoch, which goes on behind the last step, and fences the older ones.
--   * `late` (a spool delivered after the fact) never takes a writer from another session, and brings home what a fenced
--     session had left: it gets a writer of its own, `<writer>+<first 8 digits of the session>`.
#variable_conflict use_column
DECLARE
    id    bigint;
    wid   integer;
    wname text := writer_;
    mine  stepwell.ledger;   -- this session's row
    prior stepwell.ledger;   -- the writer's newest epoch so far
BEGIN
    -- One lock for look-up and insert makes (entity, project, name) unique without a constraint that lacks run_id.
    PERFORM pg_advisory_xact_lock(hashtextextended(concat_ws(E'\x01', entity_, project_, run_), 1));
    -- The run first, then writer and ledger, here and in finish_v1: no deadlocks.
    SELECT r.run_id INTO id FROM stepwell.run r
    WHERE r.entity = entity_ AND r.project = project_ AND r.name = run_ FOR UPDATE;
    IF id IS NULL THEN
        id := stepwell.new_run_id_v1();
        INSERT INTO stepwell.run (run_id, entity, project, name, display_name, config)
        VALUES (id, entity_, project_, run_, coalesce(info_->>'display_name', run_), coalesce(info_->'config', '{}'));
    ELSIF info_->'config' IS NOT NULL THEN
        UPDATE stepwell.run r SET config = r.config || (info_->'config')
        WHERE r.run_id = id AND NOT r.config @> (info_->'config');
    END IF;

    SELECT l.* INTO mine FROM stepwell.ledger l WHERE l.session = session_ ORDER BY l.fenced, l.epoch DESC LIMIT 1;
    IF mine.run_id <> id THEN
        RAISE EXCEPTION 'session % belongs to another run', session_ USING ERRCODE = 'ST003';
    END IF;
    IF mine.run_id IS NOT NULL AND NOT (late AND mine.fenced) THEN
        RETURN QUERY SELECT id, mine.writer_id, w.name, mine.epoch, mine.fenced, true
                     FROM stepwell.writer w WHERE w.run_id = id AND w.writer_id = mine.writer_id;
        RETURN;
    END IF;

    SELECT w.writer_id INTO wid FROM stepwell.writer w WHERE w.run_id = id AND w.name = wname;
    IF late AND wid IS NOT NULL THEN
        wname := writer_ || '+' || left(session_::text, 8);
        SELECT w.writer_id INTO wid FROM stepwell.writer w WHERE w.run_id = id AND w.name = wname;
    END IF;
    IF wid IS NULL THEN
        SELECT coalesce(max(w.writer_id), 0) + 1 INTO wid FROM stepwell.writer w WHERE w.run_id = id;
        INSERT INTO stepwell.writer (run_id, writer_id, name, info) VALUES (id, wid, wname, info_ - 'config');
    ELSE
        UPDATE stepwell.writer w SET info = info_ - 'config', state = 'running', exit_code = NULL,
                                     attached_at = clock_timestamp()
        WHERE w.run_id = id AND w.writer_id = wid;
    END IF;
    UPDATE stepwell.run r SET state = 'running', finished_at = NULL, exit_code = NULL
    WHERE r.run_id = id AND r.state <> 'running' AND NOT late;

    -- The row lock waits for a commit of the older epoch that is under way; after it, the older epoch cannot move.
    SELECT l.* INTO prior FROM stepwell.ledger l
    WHERE l.run_id = id AND l.writer_id = wid ORDER BY l.epoch DESC LIMIT 1 FOR UPDATE;
    UPDATE stepwell.ledger l SET fenced = true WHERE l.run_id = id AND l.writer_id = wid AND NOT l.fenced;
    INSERT INTO stepwell.ledger (run_id, writer_id, epoch, session, next_seq, last_step, checksums)
    VALUES (id, wid, coalesce(prior.epoch, 0) + 1, session_, coalesce(mine.next_seq, 0),
            coalesce(prior.last_step, mine.last_step, -1), coalesce(mine.checksums, ''));
    RETURN QUERY SELECT id, wid, wname, coalesce(prior.epoch, 0) + 1, false, false;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.finish_v1(run_id_ bigint, writer_id_ integer, epoch_ integer, exit_code_ integer)
RETURNS boolean
LANGUAGE plpgsql AS $$
-- Ends a writer, unless a newer epoch has taken it over; the last writer to end ends the run, which has failed if any
-- writer has. Returns whether this epoch was the current one.
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
    UPDATE stepwell.run r
    SET state = ends.state, exit_code = ends.exit_code, finished_at = clock_timestamp()
    FROM (SELECT CASE WHEN bool_and(w.state = 'finished') THEN 'finished' ELSE 'failed' END AS state,
                 -- that of a writer that failed, even when a signal made it negative
                 coalesce(max(w.exit_code) FILTER (WHERE w.exit_code <> 0), 0) AS exit_code
          FROM stepwell.writer w WHERE w.run_id = run_id_ HAVING bool_and(w.state <> 'running')) ends
    WHERE r.run_id = run_id_;
    RETURN true;
END
$$;
