-- What is left of deleted runs: enough to refuse what still comes for them, and to find rows of theirs that are still there.
--
-- Deleting takes two steps. One transaction takes the run out of the catalog and the ledger, which ends it for every
-- reader and writer, and leaves a row here. Then the rows of its history go, in as many transactions as it takes, by
-- whoever sweeps; a crash in between leaves rows that nobody can see, and this row, by which the next sweep finds them.

CREATE TABLE stepwell.deleted_run (
    run_id     bigint      NOT NULL PRIMARY KEY,
    entity     text        NOT NULL,
    project    text        NOT NULL,
    name       text        NOT NULL,
    writers    integer     NOT NULL,   -- its writers' ids were 1 … writers
    deleted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    swept_at   timestamptz             -- since when none of its rows is left; NULL: some may be
);
CREATE INDEX deleted_run_to_sweep ON stepwell.deleted_run (run_id) WHERE swept_at IS NULL;

-- Their writers' sessions: a spool may be found years later, and must not bring the run back. For ever; about 100 bytes each.
CREATE TABLE stepwell.deleted_session (
    run_id  bigint NOT NULL,
    session uuid   NOT NULL,
    PRIMARY KEY (run_id, session)
);
CREATE INDEX deleted_session_by_session ON stepwell.deleted_session (session);

-- Whose points forks show, so that deleting need not look at all runs.
CREATE INDEX lineage_of_forks ON stepwell.lineage (source_run_id) WHERE source_run_id <> run_id;

-- Bytes of the frames that were stored, as they came: 8 a point, and keys, steps, times and objects.
ALTER TABLE stepwell.ledger ADD COLUMN bytes bigint NOT NULL DEFAULT 0;
