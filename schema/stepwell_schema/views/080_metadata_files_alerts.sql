-- Metadata, files and alerts of runs, as the SQL contract shows them.

-- One row per writer: command line, host, git commit, packages and so on, as one JSON object.
CREATE OR REPLACE VIEW stepwell.metadata AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, m.metadata
FROM stepwell.run r
JOIN stepwell.writer w ON w.run_id = r.run_id
CROSS JOIN LATERAL (
    -- if a key was reported twice (after a restart), jsonb keeps the last value
    SELECT jsonb_object_agg(e.key, e.value ORDER BY n.time, n.epoch, n.seq, n.ord) AS metadata
    FROM stepwell.note n CROSS JOIN LATERAL jsonb_each(stepwell.object_v1(n.value)) e
    WHERE n.run_id = r.run_id AND n.writer_id = w.writer_id AND n.kind = 'metadata'
) m
WHERE m.metadata IS NOT NULL;

-- One row per name: the newest content of a file that `run.save` has stored and whose bytes have arrived. GET
-- /v1/blobs/{sha256} returns them.
CREATE OR REPLACE VIEW stepwell.files AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, f.name, f.sha256, f.size, f.time
FROM stepwell.run r
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (n.value->>'name') n.writer_id, n.value->>'name' AS name, n.value->>'sha256' AS sha256,
           b.size, n.time
    FROM stepwell.note n
    JOIN stepwell.blob b ON b.sha256 = CASE WHEN n.value->>'sha256' ~ '^[0-9a-f]{64}$'
                                            THEN decode(n.value->>'sha256', 'hex') END AND b.removing_at IS NULL
    WHERE n.run_id = r.run_id AND n.kind = 'file' AND n.value->>'name' IS NOT NULL
    ORDER BY n.value->>'name', n.time DESC, n.epoch DESC, n.seq DESC, n.ord DESC
) f
JOIN stepwell.writer w ON w.run_id = r.run_id AND w.writer_id = f.writer_id;

-- One row per alert. `wait_duration_s`: a notifier need not repeat the same title within this time.
CREATE OR REPLACE VIEW stepwell.alerts AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, n.time, n.step, n.value->>'level' AS level,
       n.value->>'title' AS title, n.value->>'text' AS text,
       stepwell.float_v1(n.value->'wait_duration_s') AS wait_duration_s
FROM stepwell.run r
JOIN stepwell.note n ON n.run_id = r.run_id AND n.kind = 'alert'
JOIN stepwell.writer w ON w.run_id = n.run_id AND w.writer_id = n.writer_id
WHERE jsonb_typeof(n.value) = 'object';
