-- Which runs name which blobs, so that blobs which no run names can go; and an index for objects by key.

-- One row a run and content that its objects or notes name, written in the transaction that stores them. The blob need not
-- be there yet. A deleted run's rows are swept like the rest of it.
CREATE TABLE stepwell.blob_use (
    run_id bigint NOT NULL,
    sha256 bytea  NOT NULL CHECK (octet_length(sha256) = 32),
    PRIMARY KEY (run_id, sha256)
);
CREATE INDEX blob_use_by_blob ON stepwell.blob_use (sha256);

-- Of what is there already. Any field that may name a blob counts: one too many costs room, one too few a picture.
INSERT INTO stepwell.blob_use (run_id, sha256)
SELECT s.run_id, decode(f.found #>> '{}', 'hex')
FROM (SELECT o.run_id, o.value FROM stepwell.hot_object o WHERE o.value::text LIKE '%sha256%'
      UNION ALL
      SELECT n.run_id, n.value FROM stepwell.note n WHERE n.value::text LIKE '%sha256%') s
CROSS JOIN LATERAL jsonb_path_query(s.value, 'strict $.**.sha256 ? (@ like_regex "^[0-9a-f]{64}$")', '{}', true) f (found)
ON CONFLICT DO NOTHING;

-- touched_at: when it was stored, or when a client was last told that it is there. removing_at: since when its file is being
-- removed; NULL: it is there. A row that is being removed counts for no blob.
ALTER TABLE stepwell.blob ADD COLUMN touched_at timestamptz NOT NULL DEFAULT now(), ADD COLUMN removing_at timestamptz;
ALTER TABLE stepwell.blob ALTER touched_at SET DEFAULT clock_timestamp();
CREATE INDEX blob_removing ON stepwell.blob (removing_at) WHERE removing_at IS NOT NULL;

-- A run's objects of one key. Keys may be longer than a btree entry (2,704 bytes), so the few that may not fit have an index of
-- their own; objects_v1 asks both. Without the step: entries of a key then share their room; with it an object cost Postgres
-- 0.6 µs of CPU and 38 bytes of WAL more. Steps are found by BRIN, which costs nothing measurable. hot_object_by_writer stays:
-- live views read what has come since a frame.
CREATE INDEX hot_object_by_key ON stepwell.hot_object (run_id, key) WHERE octet_length(key) <= 2000;
CREATE INDEX hot_object_by_long_key ON stepwell.hot_object (run_id) WHERE octet_length(key) > 2000;
CREATE INDEX hot_object_by_step ON stepwell.hot_object USING brin (run_id, step) WITH (pages_per_range = 8, autosummarize = on);

-- Else the planner takes a third of all keys for long ones, and reads whole runs by the wrong plan. Of the months that are there,
-- too; later ones are made like the parent.
CREATE STATISTICS stepwell.hot_object_key_length ON (octet_length(key)) FROM stepwell.hot_object;
DO $$
DECLARE
    month record;
BEGIN
    FOR month IN SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'stepwell.hot_object'::regclass LOOP
        EXECUTE format('CREATE STATISTICS stepwell.%I ON (octet_length(key)) FROM stepwell.%I', month.name || '_key_length', month.name);
    END LOOP;
END
$$;
