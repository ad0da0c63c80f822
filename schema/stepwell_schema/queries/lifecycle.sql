-- name: heartbeat
-- Records heartbeats of epochs that are not fenced. Returns those whose writer is marked as crashed. Skips locked rows:
-- the holder of the lock is probably updating them anyway, and heartbeats must not wait.
WITH heard AS (
    SELECT w.run_id, w.writer_id, n.epoch, w.state
    FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS u (run_id, writer_id, epoch)
    JOIN stepwell.ledger l USING (run_id, writer_id, epoch)
    -- the epoch, or the one in which its session continues after a rewind
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
-- Handles a writer that was marked crashed and has returned; see return_v1.
SELECT stepwell.return_v1($1, $2, $3);

-- name: reap
-- Marks silent writers as crashed; see reap_v1.
SELECT stepwell.reap_v1($1);
