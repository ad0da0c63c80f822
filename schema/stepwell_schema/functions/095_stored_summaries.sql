-- Whether stored summaries are current. migrations/0017 has the tables.

CREATE OR REPLACE FUNCTION stepwell.summary_form_v1() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Raise this number with every change of the values of summary_v1, including changes of its sources
    -- (history_objects, notes). Summaries that were stored with another number are ignored.
    SELECT 1
$$;

CREATE OR REPLACE FUNCTION stepwell.ledger_moves_v1(run_id_ bigint) RETURNS TABLE (moves bigint, moved_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    -- How often the ledgers of a run have moved, and when one moved last. Everything that changes its summary comes with a frame
    -- (next_seq rises), an attach (an epoch is added) or an edit (edits rises), so the sum never falls.
    SELECT sum(l.next_seq + l.edits + 1)::bigint, max(l.moved_at) FROM stepwell.ledger l WHERE l.run_id = run_id_
$$;

CREATE OR REPLACE FUNCTION stepwell.summary_is_stored_v1(run_id_ bigint) RETURNS TABLE (stored boolean)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    -- Whether stored_value has the summary that the run has in this snapshot.
    SELECT EXISTS (
        SELECT FROM stepwell.stored_summary s
        WHERE s.run_id = run_id_ AND s.stored AND s.form = stepwell.summary_form_v1()
          AND s.moves = CASE WHEN s.sources IS NULL
                             THEN (SELECT m.moves FROM stepwell.ledger_moves_v1(run_id_) m)
                             ELSE (SELECT sum(m.moves)::bigint FROM unnest(s.sources) u (id), stepwell.ledger_moves_v1(u.id) m) END)
    OFFSET 0   -- an optimization fence: evaluated once for each run
$$;
