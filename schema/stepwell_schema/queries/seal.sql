-- name: candidates
-- Epochs with something to seal: those with less than a pass of points, the one that has waited longest first; then the others
-- (`large`), the one with the most points first. With a single order, small runs would wait behind wide ones, or wide ones behind
-- thousands of small ones. `whole`: the epoch has ended, or has waited long enough to be sealed completely. $1 idle, $2 age (intervals);
-- $3 points and $4 steps at which a live epoch is worth a pass; $5 the most of each kind; $6 … $8 epochs to leave out.
WITH worth AS MATERIALIZED (
    SELECT l.run_id, l.writer_id, l.epoch, l.sealed_at, l.points - l.sealed_points AS points, e.whole
    FROM stepwell.ledger l
    JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
    CROSS JOIN LATERAL (
        SELECT l.fenced OR w.state <> 'running' OR l.moved_at < clock_timestamp() - $1::interval
               OR l.sealed_at < clock_timestamp() - $2::interval AS whole
    ) e
    WHERE l.last_step >= l.sealed_below
      AND (e.whole OR l.points - l.sealed_points >= $3::bigint OR l.last_step - l.sealed_below >= $4::bigint)
      AND NOT EXISTS (SELECT FROM unnest($6::bigint[], $7::integer[], $8::integer[]) AS u (run_id, writer_id, epoch)
                      WHERE u.run_id = l.run_id AND u.writer_id = l.writer_id AND u.epoch = l.epoch)
)
(SELECT w.run_id, w.writer_id, w.epoch, w.whole, false AS large FROM worth w WHERE w.points < $3::bigint
 ORDER BY w.sealed_at LIMIT $5)
UNION ALL
(SELECT w.run_id, w.writer_id, w.epoch, w.whole, true FROM worth w WHERE w.points >= $3::bigint
 ORDER BY w.points DESC LIMIT $5);

-- name: claim
-- Takes the lock for sealing and merging a writer until the transaction ends. False: another process has it.
SELECT stepwell.claim_sealing_v1($1, $2);

-- name: unsealed
-- The hot part of an epoch: its rows and bytes, and the last step that a pass of $4 bytes reaches.
SELECT l.last_step, l.sealed_below, h.step_hi, h.pass_step_hi, h.rows, h.bytes
FROM stepwell.ledger l
LEFT JOIN LATERAL (
    SELECT max(b.step_hi) AS step_hi, max(b.step_hi) FILTER (WHERE b.bytes_before < $4::bigint) AS pass_step_hi,
           sum(b.rows)::bigint AS rows, max(b.bytes_before + b.bytes)::bigint AS bytes
    FROM (
        -- pg_column_size does not open the array: 8 bytes a value, and 20 to 24 of header.
        SELECT h.step_hi, (pg_column_size(h.steps) - 20) / 8 AS rows, s.bytes,
               sum(s.bytes) OVER (ORDER BY h.step_hi) - s.bytes AS bytes_before
        FROM stepwell.hot_block h
        CROSS JOIN LATERAL (SELECT pg_column_size(h.vals) + 2 * pg_column_size(h.steps) AS bytes OFFSET 0) s
        WHERE h.run_id = l.run_id AND h.writer_id = l.writer_id AND h.epoch = l.epoch AND h.step_hi >= l.sealed_below
    ) b
) h ON true
WHERE l.run_id = $1 AND l.writer_id = $2 AND l.epoch = $3;

-- name: hot_blocks
-- Blocks with steps from $4 up to but not including $5, in the order of steps.
SELECT keys, steps, times, vals FROM stepwell.hot_block
WHERE run_id = $1 AND writer_id = $2 AND epoch = $3 AND step_hi >= $4 AND step_lo < $5
ORDER BY step_lo;

-- name: serials
-- Ids for $1 tracks.
SELECT nextval('stepwell.track_serial') FROM generate_series(1, $1::integer);

-- name: add_totals
-- Adds new chunks of an epoch to the totals of its metrics. Their steps are above all earlier ones.
INSERT INTO stepwell.metric_total AS t (run_id, writer_id, epoch, metric_id, points, nans, pos_infs, neg_infs, sum, min, max,
                                        first, last, first_step, last_step, last_time)
SELECT $1::bigint, $2::integer, $3::integer, u.metric_id, u.points, u.nans, u.pos_infs, u.neg_infs, u.sum, u.min, u.max, u.first, u.last,
       u.first_step, u.last_step,   -- the time in two parts: an interval is multiplied as a float8
       timestamptz '2000-01-01 00:00:00+00' + u.last_time_us / 1000000 * interval '1 second'
           + u.last_time_us % 1000000 * interval '1 microsecond'
FROM unnest($4::integer[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::float8[], $10::float8[], $11::float8[],
            $12::float8[], $13::float8[], $14::bigint[], $15::bigint[], $16::bigint[])
    AS u (metric_id, points, nans, pos_infs, neg_infs, sum, min, max, first, last, first_step, last_step, last_time_us)
ON CONFLICT (run_id, metric_id, writer_id, epoch) DO UPDATE
SET points = t.points + excluded.points, nans = t.nans + excluded.nans, pos_infs = t.pos_infs + excluded.pos_infs,
    neg_infs = t.neg_infs + excluded.neg_infs, sum = stepwell.add_v1(t.sum, excluded.sum), min = least(t.min, excluded.min),
    max = greatest(t.max, excluded.max), last = excluded.last, last_step = excluded.last_step,
    last_time = excluded.last_time;

-- name: hand_over
-- From now on, points below step $5 are read from chunks. Compare-and-set: nothing changes if the run was
-- deleted or another sealer was faster.
UPDATE stepwell.ledger SET sealed_below = $5, sealed_points = sealed_points + $6, sealed_at = clock_timestamp()
WHERE run_id = $1 AND writer_id = $2 AND epoch = $3 AND sealed_below = $4;

-- name: mergeable
-- Epochs with short tracks of at least $1 passes at one level; at most $2 epochs.
SELECT t.run_id, t.writer_id, t.epoch, t.level
FROM stepwell.track t WHERE t.points < 512
GROUP BY 1, 2, 3, 4 HAVING count(DISTINCT t.pass) >= $1::integer
ORDER BY count(DISTINCT t.pass) DESC LIMIT $2;

-- name: short_tracks
-- The short tracks of an epoch at a level, those of the oldest passes first. None for a deleted run: rows that a merge
-- writes for it could be left behind (await_sealing_v1).
SELECT track_id, pass, points, chunks FROM stepwell.track
WHERE run_id = $1 AND writer_id = $2 AND epoch = $3 AND level = $4 AND points < 512
  AND EXISTS (SELECT FROM stepwell.ledger l WHERE l.run_id = $1 AND l.writer_id = $2 AND l.epoch = $3)
ORDER BY pass, track_id;

-- name: tracks_to_merge
-- Steps and times of tracks.
SELECT track_id, step_lo, stride, (extract(epoch FROM time_lo) * 1000000)::bigint - 946684800000000 AS time_lo_us, points,
       steps, times_us, times
FROM stepwell.track WHERE run_id = $1 AND track_id = ANY ($2::bigint[]) ORDER BY step_lo;

-- name: chunks_to_merge
-- Values of the chunks of tracks, by track.
SELECT track_id, metric_id, vals8 || rest8 AS vals8, vals4 || rest4 AS vals4
FROM stepwell.chunk WHERE run_id = $1 AND track_id = ANY ($2::bigint[]) ORDER BY track_id, metric_id;

-- name: merge_breaks
-- The places where chunks of a metric in these tracks cannot be joined, because other chunks of the metric lie in
-- between. One row for each metric of a track; `begins`: the track's chunk is the first one, or others lie between it
-- and the one before.
SELECT m.track_id, m.metric_id, m.step_hi_before IS NULL OR EXISTS (
           SELECT FROM stepwell.chunk o
           WHERE o.run_id = $1 AND o.metric_id = m.metric_id AND o.writer_id = $2 AND o.epoch = $3
             AND o.step_hi > m.step_hi_before AND o.step_hi < m.step_lo
             AND o.track_id <> ALL ($4::bigint[])) AS begins
FROM (SELECT c.track_id, c.metric_id, c.step_lo,
             lag(c.step_hi) OVER (PARTITION BY c.metric_id ORDER BY c.step_hi) AS step_hi_before
      FROM stepwell.chunk c WHERE c.run_id = $1 AND c.track_id = ANY ($4::bigint[])) m
ORDER BY m.metric_id, m.step_lo;

-- name: raise_tracks
-- Moves tracks with nothing to join to level $3 unchanged, as part of pass $4.
UPDATE stepwell.track SET level = $3, pass = $4 WHERE run_id = $1 AND track_id = ANY ($2::bigint[]);

-- name: delete_chunks
-- Deletes the chunks of merged tracks.
DELETE FROM stepwell.chunk WHERE run_id = $1 AND track_id = ANY ($2::bigint[]);

-- name: delete_tracks
-- Deletes merged tracks.
DELETE FROM stepwell.track WHERE run_id = $1 AND track_id = ANY ($2::bigint[]);

-- name: rotate
-- Makes another slot of the hot ring current; see rotate_ring_v1.
SELECT stepwell.rotate_ring_v1($1::bigint, $2::interval);

-- name: mark_sealed
-- Marks sealed slots; see mark_sealed_slots_v1.
SELECT stepwell.mark_sealed_slots_v1();

-- name: empty_slot
-- Empties a sealed slot; see empty_slot_v1.
SELECT stepwell.empty_slot_v1();

-- name: unsealed_bytes
-- The size of the slots that are not known to be sealed.
SELECT coalesce(sum(pg_table_size(format('stepwell.hot_block_%s', h.ring)::regclass)), 0)::bigint
FROM stepwell.hot_ring h WHERE h.sealed_xid IS NULL;

-- name: may_see_snapshots
-- Whether this role sees the snapshots of all sessions.
SELECT pg_has_role('pg_read_all_stats', 'USAGE');

-- name: summary_candidates
-- Runs that have not changed for a while and have no current stored summary, the newest first, each with its count of metric names
-- (plus one). $1: how long a run must not have changed; $2: how much longer for each of its names, while it runs (intervals);
-- $3: when to try again a summary that could not be stored; $4: the most runs; $5: runs to leave out.
SELECT r.run_id, r.next_metric AS names
FROM (
    SELECT l.run_id, sum(l.next_seq + l.edits + 1)::bigint AS moves, max(l.moved_at) AS moved_at   -- as ledger_moves_v1
    FROM stepwell.ledger l GROUP BY l.run_id
) l
JOIN stepwell.run r ON r.run_id = l.run_id
LEFT JOIN stepwell.stored_summary s ON s.run_id = l.run_id
LEFT JOIN LATERAL (
    SELECT sum(m.moves)::bigint AS moves, max(m.moved_at) AS moved_at
    FROM unnest(s.sources) u (id), stepwell.ledger_moves_v1(u.id) m
) f ON s.sources IS NOT NULL
WHERE (s.run_id IS NULL OR s.moves <> coalesce(f.moves, l.moves) OR s.form <> stepwell.summary_form_v1()
       OR (NOT s.stored AND s.made_at < clock_timestamp() - $3::interval))
  AND coalesce(f.moved_at, l.moved_at) < clock_timestamp() - $1::interval
      - CASE WHEN r.state = 'running' THEN r.next_metric * $2::interval ELSE interval '0' END
  AND r.run_id <> ALL ($5::bigint[])
ORDER BY r.run_id DESC LIMIT $4;

-- name: claim_summaries
-- Takes the lock for storing summaries until the transaction ends. No row: another process has it. A statement of its
-- own before store_summaries, whose snapshot then shows what the previous holder of the lock has stored.
SELECT true FROM stepwell.lock k WHERE k.name = 'summaries' FOR UPDATE SKIP LOCKED;

-- name: store_summaries
-- Stores the summaries of the runs $1. One statement, so values and the position of the ledgers are of one snapshot. A summary that
-- references a file which is not stored yet is left out, because it changes when the file arrives; so is one with a key that is
-- too long for an index.
WITH made AS MATERIALIZED (
    SELECT r.run_id, g.sources, g.moves, g.complete
    FROM stepwell.run r
    CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) > 1 THEN array_agg(g.source_run_id) END AS sources, sum(m.moves)::bigint AS moves,
               NOT bool_or(
                   EXISTS (SELECT FROM stepwell.blob_use u WHERE u.run_id = g.source_run_id AND NOT EXISTS (
                               SELECT FROM stepwell.blob b WHERE b.sha256 = u.sha256 AND b.removing_at IS NULL))
                   -- a config may have a value that looks like a hash but does not name a file
                   AND (EXISTS (SELECT FROM stepwell.hot_object o WHERE o.run_id = g.source_run_id)
                        OR EXISTS (SELECT FROM stepwell.note n
                                   WHERE n.run_id = g.source_run_id AND n.kind IN ('object', 'summary')))) AS complete
        FROM stepwell.lineage g CROSS JOIN LATERAL stepwell.ledger_moves_v1(g.source_run_id) m
        WHERE g.run_id = r.run_id
    ) g
    WHERE r.run_id = ANY ($1::bigint[]) AND g.moves IS NOT NULL
), folded AS MATERIALIZED (
    SELECT m.run_id, f.key, f.value, stepwell.float_v1(f.value) AS number, octet_length(f.key) > 2000 AS too_long
    FROM made m
    CROSS JOIN LATERAL (   -- as summary_v1; what follows from the last step and time is looked up once
        SELECT k.key, k.value FROM stepwell.summary_keys_v1(m.run_id) k
        UNION ALL
        SELECT w.key, w.value
        FROM stepwell.last_of_all_v1(m.run_id) e
        CROSS JOIN LATERAL (
            VALUES ('_step', to_jsonb(e.step)), ('_timestamp', to_jsonb(e.time)),
                   ('_runtime', (SELECT to_jsonb(t.seconds) FROM stepwell.runtime_v1(m.run_id, e.time) t))
        ) w (key, value)
        WHERE w.value IS NOT NULL
    ) f
    WHERE m.complete
), gone AS (
    DELETE FROM stepwell.stored_value v USING made m
    WHERE v.run_id = m.run_id AND NOT EXISTS (SELECT FROM folded f WHERE f.run_id = v.run_id AND f.key = v.key)
), put AS (
    INSERT INTO stepwell.stored_value AS v (run_id, key, number, value)
    SELECT f.run_id, f.key, f.number, CASE WHEN stepwell.number_v1(f.number)::text IS DISTINCT FROM f.value::text THEN f.value END
    FROM folded f WHERE NOT f.too_long ORDER BY f.run_id, f.key
    ON CONFLICT (run_id, key) DO UPDATE SET number = excluded.number, value = excluded.value
    WHERE v.number IS DISTINCT FROM excluded.number OR v.value::text IS DISTINCT FROM excluded.value::text
)
INSERT INTO stepwell.stored_summary AS s (run_id, sources, moves, form, stored)
SELECT m.run_id, m.sources, m.moves, stepwell.summary_form_v1(),
       m.complete AND NOT EXISTS (SELECT FROM folded f WHERE f.run_id = m.run_id AND f.too_long)
FROM made m
ON CONFLICT (run_id) DO UPDATE
SET sources = excluded.sources, moves = excluded.moves, form = excluded.form, stored = excluded.stored,
    made_at = clock_timestamp();

-- name: unfolded_runs
-- Runs with notes of config or names that are not folded yet, the newest first. $1: how long the newest of these notes must be old;
-- $2: how much longer for each such note of the run, since folding reads them all (intervals); $3: the most runs; $4: runs to
-- leave out.
SELECT u.run_id
FROM (
    SELECT n.run_id, max(n.time) AS newest FROM stepwell.note n
    WHERE NOT n.folded AND n.kind IN ('config', 'meta') AND n.run_id <> ALL ($4::bigint[]) GROUP BY n.run_id
) u
JOIN stepwell.run r ON r.run_id = u.run_id   -- the notes of a deleted run may still be there
CROSS JOIN LATERAL (
    SELECT count(*) AS notes FROM stepwell.note n WHERE n.run_id = u.run_id AND n.kind IN ('config', 'meta')
) a
WHERE u.newest < clock_timestamp() - $1::interval - a.notes * $2::interval
ORDER BY u.run_id DESC LIMIT $3;

-- name: fold_notes
-- Folds the notes of config and names of the runs $1 into their columns. One statement, so the notes that are marked are those that
-- the columns contain. Runs that another transaction has locked are left out.
WITH due AS MATERIALIZED (
    SELECT r.run_id, r.config, r.display_name FROM stepwell.run r
    WHERE r.run_id = ANY ($1::bigint[]) FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE stepwell.note n SET folded = true
    FROM due d WHERE n.run_id = d.run_id AND NOT n.folded AND n.kind IN ('config', 'meta')
)
UPDATE stepwell.run r
SET folded_config = CASE WHEN EXISTS (SELECT FROM stepwell.note n WHERE n.run_id = d.run_id AND n.kind = 'config')
                         THEN (SELECT c.config FROM stepwell.config_of_v1(d.run_id, d.config) c) END,
    folded_meta = (SELECT m.meta FROM stepwell.meta_of_v1(d.run_id, d.display_name) m)
FROM due d WHERE r.run_id = d.run_id;
