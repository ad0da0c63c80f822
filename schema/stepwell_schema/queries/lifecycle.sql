-- name: heartbeat
-- Epochs that were heard of just now; a fenced one does not count. Returns those whose writer is taken for crashed.
-- A row that somebody else holds is being moved anyway: skipped, so that heartbeats wait for nobody.
WITH heard AS (
    SELECT w.run_id, w.writer_id, n.epoch, w.state
    FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS u (run_id, writer_id, epoch)
    JOIN stepwell.ledger l USING (run_id, writer_id, epoch)
    -- the epoch, or the one in which its session goes on after a cut
    JOIN stepwell.ledger n ON n.run_id = l.run_id AND n.writer_id = l.writer_id AND n.session = l.session AND NOT n.fenced
    JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
    WHERE w.state IN ('running', 'crashed')
    FOR UPDATE OF w SKIP LOCKED
), beat AS (
    UPDATE stepwell.writer w SET heartbeat_at = clock_timestamp(), left_at = NULL
    FROM heard h WHERE w.run_id = h.run_id AND w.writer_id = h.writer_id
)
SELECT run_id, writer_id, epoch FROM heard WHERE state = 'crashed';

-- name: return
-- A writer that was taken for crashed; see functions/150_lifecycle.sql.
SELECT stepwell.return_v1($1, $2, $3);

-- name: reap
-- Silent writers have crashed; see functions/150_lifecycle.sql.
SELECT stepwell.reap_v1($1);
