-- Stored summaries: what the summary of a run came to when its ledgers stood at a certain position, so that a list of runs need
-- not make the summaries of all of them. A reader compares the position with that of the ledgers in its own snapshot, and makes
-- the summary anew where they differ (views/050_summary.sql). So stored values may be missing, and are never wrong.

-- How many notes came to the epoch beside its frames (edit_run_v1).
ALTER TABLE stepwell.ledger ADD COLUMN edits bigint NOT NULL DEFAULT 0;

-- One row a run whose summary has been looked at.
CREATE TABLE stepwell.stored_summary (
    run_id  bigint      NOT NULL PRIMARY KEY,
    sources bigint[],                -- of a fork: the runs whose ledgers count; NULL: the run's own do
    moves   bigint      NOT NULL,    -- how often these ledgers had moved (ledger_moves_v1)
    form    integer     NOT NULL,    -- which version of summary_v1 made the values (summary_form_v1)
    stored  boolean     NOT NULL,    -- whether stored_value has the values; false: they cannot be stored now
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The values. fillfactor: a value that changes stays in its page, without a new entry in the index.
CREATE TABLE stepwell.stored_value (
    run_id bigint NOT NULL,
    key    text   NOT NULL,
    number float8,                   -- as in the view `summary`
    value  jsonb,                    -- NULL: number says all
    PRIMARY KEY (run_id, key)
) WITH (fillfactor = 90);

-- Only one process stores summaries at a time.
INSERT INTO stepwell.lock (name) VALUES ('summaries');

-- Files that were named by an edit: they count as used from now on, as those that frames name.
INSERT INTO stepwell.blob_use (run_id, sha256)
SELECT DISTINCT n.run_id, decode(f.found #>> '{}', 'hex')
FROM stepwell.note n
CROSS JOIN LATERAL jsonb_path_query(n.value, 'strict $.**.sha256 ? (@ like_regex "^[0-9a-f]{64}$")', '{}', true) f (found)
WHERE n.seq = -2 AND n.kind = 'summary' AND n.value::text LIKE '%sha256%'
ON CONFLICT DO NOTHING;
