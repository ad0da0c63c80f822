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

-- A run's objects of one key, in the order of steps. Keys may be longer than a btree entry (2,704 bytes), so the few that may
-- not fit have an index of their own; objects_v1 asks both.
CREATE INDEX hot_object_by_key ON stepwell.hot_object (run_id, key, step) WHERE octet_length(key) <= 2000;
CREATE INDEX hot_object_by_long_key ON stepwell.hot_object (run_id, step) WHERE octet_length(key) > 2000;
-- Nothing asked for writer and seq, and the two find a run, too. Three indexes took twice the time of Postgres that one took.
DROP INDEX stepwell.hot_object_by_writer;
