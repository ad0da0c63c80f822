-- The catalog (run, metric), the ledger (writer, ledger, rejection) and hot history (hot_block, hot_object).
--
-- run_id is a time-ordered 64-bit integer: milliseconds since 2020-01-01 UTC, shifted left by 20 bits, plus a counter.
-- It is in every unique constraint, it is the range-partition key, and it can be Citus' distribution column as it is.

CREATE SEQUENCE stepwell.run_serial MINVALUE 0 MAXVALUE 1048575 CYCLE START 0 CACHE 1;

-- One row a run. `name` is the id that users give or see (W&B's run id), `display_name` what pages show.
-- (entity, project, name) is unique too, held by attach_v1 under an advisory lock, as a constraint would lack run_id.
CREATE TABLE stepwell.run (
    run_id       bigint      NOT NULL PRIMARY KEY,
    entity       text        NOT NULL,
    project      text        NOT NULL,
    name         text        NOT NULL,
    display_name text,
    config       jsonb       NOT NULL DEFAULT '{}',
    state        text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished', 'failed', 'crashed')),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    exit_code    integer,
    parent_run_id bigint,              -- of a fork
    fork_step    bigint,
    next_metric  integer     NOT NULL DEFAULT 1
) WITH (fillfactor = 70);
CREATE INDEX run_by_name ON stepwell.run (entity, project, name);

-- Whose points a run shows: its own, and as a fork those of its ancestors below a step.
CREATE TABLE stepwell.lineage (
    run_id        bigint NOT NULL,
    source_run_id bigint NOT NULL,
    below_step    bigint,   -- NULL: all
    PRIMARY KEY (run_id, source_run_id)
);

-- The names of a run's metrics. Names may be longer than a btree entry, hence the hash in the unique constraint.
CREATE TABLE stepwell.metric (
    run_id    bigint  NOT NULL,
    metric_id integer NOT NULL,
    name      text    NOT NULL,
    name_hash uuid    NOT NULL GENERATED ALWAYS AS (md5(name)::uuid) STORED,
    PRIMARY KEY (run_id, metric_id),
    UNIQUE (run_id, name_hash)
) PARTITION BY RANGE (run_id);

-- One row a writer: a process that logs to the run.
CREATE TABLE stepwell.writer (
    run_id      bigint      NOT NULL,
    writer_id   integer     NOT NULL,
    name        text        NOT NULL,
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished', 'failed', 'crashed')),
    exit_code   integer,
    info        jsonb       NOT NULL DEFAULT '{}',
    attached_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, writer_id),
    UNIQUE (run_id, name)
) WITH (fillfactor = 70);

-- One row an epoch of a writer: how far it has come. Moves in the transaction that stores its frames, by
-- compare-and-set on next_seq. A newer epoch fences the older ones. `checksums` are those of the newest frames,
-- newest last, so that a duplicate can be told from a conflict.
CREATE TABLE stepwell.ledger (
    run_id     bigint  NOT NULL,
    writer_id  integer NOT NULL,
    epoch      integer NOT NULL,
    session    uuid    NOT NULL,
    next_seq   bigint  NOT NULL DEFAULT 0,
    last_step  bigint  NOT NULL,
    first_step bigint,              -- NULL until a step is stored
    rewound_to bigint,              -- the epoch began as a rewind to this step; NULL: it did not
    visible_below bigint,           -- points from this step on are superseded by a newer epoch; NULL: none are
    checksums  bytea   NOT NULL DEFAULT '',   -- 4 bytes each, little-endian
    fenced     boolean NOT NULL DEFAULT false,
    points     bigint  NOT NULL DEFAULT 0,
    objects    bigint  NOT NULL DEFAULT 0,
    rejected   bigint  NOT NULL DEFAULT 0,
    moved_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, writer_id, epoch)
) WITH (fillfactor = 50);   -- every commit updates a row; room in the page keeps the update HOT
CREATE INDEX ledger_by_session ON stepwell.ledger (session);

-- Frames that were refused for good, and why. Their seq counts as used.
CREATE TABLE stepwell.rejection (
    run_id      bigint  NOT NULL,
    writer_id   integer NOT NULL,
    epoch       integer NOT NULL,
    seq         bigint  NOT NULL,
    code        text    NOT NULL,
    message     text    NOT NULL,
    points      bigint  NOT NULL,
    objects     bigint  NOT NULL,
    first_step  bigint,
    last_step   bigint,
    rejected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, writer_id, epoch, seq)
);

-- Hot history: a row a block, as it came. vals is float8[K][S]: one row a metric of keys, one column a step of steps.
-- EXTERNAL: the default compression costs most of the write rate (design §2) and gains little on float64.
CREATE TABLE stepwell.hot_block (
    run_id    bigint        NOT NULL,
    seq       bigint        NOT NULL,
    step_lo   bigint        NOT NULL,
    step_hi   bigint        NOT NULL,
    writer_id integer       NOT NULL,
    epoch     integer       NOT NULL,
    keys      integer[]     NOT NULL,
    steps     bigint[]      NOT NULL,
    times     timestamptz[] NOT NULL,
    vals      float8[]      NOT NULL
) PARTITION BY RANGE (run_id);
ALTER TABLE stepwell.hot_block
    ALTER keys SET STORAGE EXTERNAL, ALTER steps SET STORAGE EXTERNAL,
    ALTER times SET STORAGE EXTERNAL, ALTER vals SET STORAGE EXTERNAL;
CREATE INDEX hot_block_by_writer ON stepwell.hot_block (run_id, writer_id, seq);

-- Every logged value that is no number.
CREATE TABLE stepwell.hot_object (
    run_id    bigint      NOT NULL,
    seq       bigint      NOT NULL,
    step      bigint      NOT NULL,
    writer_id integer     NOT NULL,
    epoch     integer     NOT NULL,
    time      timestamptz NOT NULL,
    key       text        NOT NULL,
    value     jsonb       NOT NULL
) PARTITION BY RANGE (run_id);
CREATE INDEX hot_object_by_writer ON stepwell.hot_object (run_id, writer_id, seq);
