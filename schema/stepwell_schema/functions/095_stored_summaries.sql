-- Stored summaries: whether they are current, and making them. migrations/0017 has the tables.

CREATE OR REPLACE FUNCTION stepwell.summary_form_v1() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Raise it with every change of a value of summary_v1, also by what it reads (history_objects, notes): what was stored
    -- before counts no more.
    SELECT 1
$$;

CREATE OR REPLACE FUNCTION stepwell.ledger_moves_v1(run_id_ bigint) RETURNS TABLE (moves bigint, moved_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    -- How often the ledgers of a run have moved, and when one moved last. All that its summary is made of comes with a frame
    -- (next_seq rises), with an attach (an epoch is added), or with an edit; none of the three ever goes back.
    SELECT sum(l.next_seq + l.edits + 1)::bigint, max(l.moved_at) FROM stepwell.ledger l WHERE l.run_id = run_id_
$$;

CREATE OR REPLACE FUNCTION stepwell.summary_is_stored_v1(run_id_ bigint) RETURNS TABLE (stored boolean)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    -- Whether stored_value has the summary of a run as it is in this snapshot.
    SELECT EXISTS (
        SELECT FROM stepwell.stored_summary s
        WHERE s.run_id = run_id_ AND s.stored AND s.form = stepwell.summary_form_v1()
          AND s.moves = CASE WHEN s.sources IS NULL
                             THEN (SELECT m.moves FROM stepwell.ledger_moves_v1(run_id_) m)
                             ELSE (SELECT sum(m.moves)::bigint FROM unnest(s.sources) u (id), stepwell.ledger_moves_v1(u.id) m) END)
    OFFSET 0   -- a fence: once a run
$$;
