-- Sealed history (track, chunk, metric_total), and hot history as a ring of tables whose space can be given back.
--
-- A chunk is one metric of one epoch of a writer over about a thousand steps; a track holds the steps and times that its
-- chunks share. The hand-over is a step: below ledger.sealed_below an epoch's points lie in chunks, from it on in
-- hot_block. Steps increase within an epoch, so this cuts every frame cleanly, also in its middle.

ALTER TABLE stepwell.ledger
    ADD COLUMN sealed_below  bigint NOT NULL DEFAULT 0,   -- points of lower steps are in chunks, the others in hot_block
    ADD COLUMN sealed_points bigint NOT NULL DEFAULT 0,   -- how many points are in chunks
    ADD COLUMN sealed_at     timestamptz NOT NULL DEFAULT clock_timestamp();   -- of the latest pass, or of the epoch's start

-- The steps and times of some chunks of an epoch. Regular steps are step_lo, step_lo + stride, …; others are in steps.
-- Times within 35 minutes are microseconds after time_lo; others are in times.
CREATE SEQUENCE stepwell.track_serial;
CREATE TABLE stepwell.track (
    run_id    bigint      NOT NULL,
    track_id  bigint      NOT NULL,
    step_lo   bigint      NOT NULL,
    step_hi   bigint      NOT NULL,
    stride    bigint      NOT NULL,   -- 0: the steps are not regular
    time_lo   timestamptz NOT NULL,
    writer_id integer     NOT NULL,
    epoch     integer     NOT NULL,
    points    integer     NOT NULL,   -- steps of the track: points of each of its chunks
    chunks    integer     NOT NULL,   -- how many share it
    level     smallint    NOT NULL,   -- how often its points have been merged
    pass      bigint      NOT NULL,   -- which pass of the sealer wrote it
    steps     bigint[],
    times_us  integer[],
    times     timestamptz[],
    PRIMARY KEY (run_id, track_id)
) PARTITION BY RANGE (run_id);
ALTER TABLE stepwell.track
    ALTER steps SET STORAGE EXTERNAL, ALTER times_us SET STORAGE EXTERNAL, ALTER times SET STORAGE EXTERNAL,
    ALTER steps SET STATISTICS 0, ALTER times_us SET STATISTICS 0, ALTER times SET STATISTICS 0;
-- Short tracks, which a merge may join. Insert-only, so the predicate costs no update anything.
CREATE INDEX track_short ON stepwell.track (run_id, writer_id, epoch, level, pass) WHERE points < 512;

-- One metric over the steps of a track. Values that all survive float4 are stored as such. Statistics are of the finite
-- values (without any, min and max are Infinity and -Infinity, and sum 0; a sum that no float8 can hold is Infinity,
-- -Infinity or NaN); first and last of all. The values lie in two arrays: TOAST cuts what is large into pieces of 1,996
-- bytes, four of which fill a page; 992 values fill pieces to the brim, and the rest stays in the row
-- (docs/architecture.md).
CREATE TABLE stepwell.chunk (
    run_id    bigint  NOT NULL,
    step_lo   bigint  NOT NULL,
    step_hi   bigint  NOT NULL,
    track_id  bigint  NOT NULL,
    first     float8  NOT NULL,
    last      float8  NOT NULL,
    min       float8  NOT NULL,
    max       float8  NOT NULL,
    sum       float8  NOT NULL,
    metric_id integer NOT NULL,
    writer_id integer NOT NULL,
    epoch     integer NOT NULL,
    points    integer NOT NULL,
    nans      integer NOT NULL,
    pos_infs  integer NOT NULL,
    neg_infs  integer NOT NULL,
    vals8     float8[],
    rest8     float8[],
    vals4     float4[],
    rest4     float4[]
) PARTITION BY RANGE (run_id);
ALTER TABLE stepwell.chunk
    ALTER vals8 SET STORAGE EXTERNAL, ALTER rest8 SET STORAGE EXTERNAL,
    ALTER vals4 SET STORAGE EXTERNAL, ALTER rest4 SET STORAGE EXTERNAL;
ALTER TABLE stepwell.chunk   -- statistics of arrays help no plan, and gathering them opens every array
    ALTER vals8 SET STATISTICS 0, ALTER rest8 SET STATISTICS 0, ALTER vals4 SET STATISTICS 0, ALTER rest4 SET STATISTICS 0;
CREATE INDEX chunk_by_metric ON stepwell.chunk (run_id, metric_id, writer_id, step_hi, step_lo);
CREATE INDEX chunk_by_track ON stepwell.chunk (run_id, track_id);

-- What the chunks of one metric of an epoch come to: so a summary reads one row a metric instead of all chunks.
CREATE TABLE stepwell.metric_total (
    run_id     bigint      NOT NULL,
    metric_id  integer     NOT NULL,
    writer_id  integer     NOT NULL,
    epoch      integer     NOT NULL,
    points     bigint      NOT NULL,
    nans       bigint      NOT NULL,
    pos_infs   bigint      NOT NULL,
    neg_infs   bigint      NOT NULL,
    sum        float8      NOT NULL,
    min        float8      NOT NULL,
    max        float8      NOT NULL,
    first      float8      NOT NULL,
    last       float8      NOT NULL,
    first_step bigint      NOT NULL,
    last_step  bigint      NOT NULL,
    last_time  timestamptz NOT NULL,
    PRIMARY KEY (run_id, metric_id, writer_id, epoch)
) PARTITION BY RANGE (run_id);

-- Runs of earlier months are there already, and are sealed, too.
DO $$
DECLARE
    month record;
    parent text;
BEGIN
    FOR month IN SELECT substr(c.relname, length('hot_object_') + 1) AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
                 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'stepwell.hot_object'::regclass LOOP
        FOREACH parent IN ARRAY ARRAY['track', 'chunk', 'metric_total'] LOOP
            EXECUTE format('CREATE TABLE stepwell.%I PARTITION OF stepwell.%I %s',
                           parent || '_' || month.name, parent, month.bound);
        END LOOP;
    END LOOP;
END
$$;

-- Hot history is on its way to chunks, so it lies in a ring of tables instead of months: when all that is in one of them
-- is sealed and no reader's snapshot is older than that, the table is truncated (functions/hot_ring.sql).
DROP VIEW IF EXISTS stepwell.all_points CASCADE;   -- made again behind the migrations, but for this one
ALTER TABLE stepwell.hot_block RENAME TO hot_block_before_0003;
ALTER INDEX stepwell.hot_block_by_writer RENAME TO hot_block_by_writer_before_0003;
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
    vals      float8[]      NOT NULL,
    ring      smallint      NOT NULL DEFAULT 0
) PARTITION BY LIST (ring);
ALTER TABLE stepwell.hot_block
    ALTER keys SET STORAGE EXTERNAL, ALTER steps SET STORAGE EXTERNAL,
    ALTER times SET STORAGE EXTERNAL, ALTER vals SET STORAGE EXTERNAL;
ALTER TABLE stepwell.hot_block
    ALTER keys SET STATISTICS 0, ALTER steps SET STATISTICS 0, ALTER times SET STATISTICS 0, ALTER vals SET STATISTICS 0;
CREATE INDEX hot_block_by_step ON stepwell.hot_block (run_id, writer_id, epoch, step_hi);

DO $$
BEGIN
    FOR slot IN 0 .. 5 LOOP
        EXECUTE format('CREATE TABLE stepwell.hot_block_%s PARTITION OF stepwell.hot_block FOR VALUES IN (%s)', slot, slot);
        -- COPY goes to the slot itself, and does not name the ring.
        -- Nobody needs statistics of its arrays, and gathering them would open every one.
        EXECUTE format('ALTER TABLE stepwell.hot_block_%1$s ALTER ring SET DEFAULT %1$s, ALTER keys SET STATISTICS 0, '
                       'ALTER steps SET STATISTICS 0, ALTER times SET STATISTICS 0, ALTER vals SET STATISTICS 0', slot);
    END LOOP;
END
$$;
INSERT INTO stepwell.hot_block SELECT *, 0 FROM stepwell.hot_block_before_0003;
DROP TABLE stepwell.hot_block_before_0003;

-- One row a slot. Exactly one is written to.
CREATE TABLE stepwell.hot_ring (
    ring      smallint    NOT NULL PRIMARY KEY,
    current   boolean     NOT NULL,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),   -- since when it is current, or no longer
    sealed_xid xid8       -- the transaction that found all of it sealed; NULL: nobody has yet
);
CREATE UNIQUE INDEX hot_ring_current ON stepwell.hot_ring (current) WHERE current;
INSERT INTO stepwell.hot_ring (ring, current) SELECT slot, slot = 0 FROM generate_series(0, 5) slot;
