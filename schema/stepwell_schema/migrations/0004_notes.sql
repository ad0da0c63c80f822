-- Notes: what runs say of themselves beside values (summary, definitions of metrics, config, names and tags, alerts).

-- One row a note, in the order (seq, ord) of its session. `step`: the step that was open when it was said. What attach
-- itself has to say (a config that differs from the run's) has seq −1. `value` by kind: docs/wire-format.md.
CREATE TABLE stepwell.note (
    run_id    bigint      NOT NULL,
    writer_id integer     NOT NULL,
    epoch     integer     NOT NULL,
    seq       bigint      NOT NULL,
    ord       integer     NOT NULL,
    step      bigint      NOT NULL,
    time      timestamptz NOT NULL,
    kind      text        NOT NULL,
    value     jsonb       NOT NULL
) PARTITION BY RANGE (run_id);
CREATE INDEX note_by_kind ON stepwell.note (run_id, kind);

-- Runs of earlier months are there already, and go on saying things.
DO $$
DECLARE
    month record;
BEGIN
    FOR month IN SELECT replace(c.relname, 'hot_object_', 'note_') AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
                 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'stepwell.hot_object'::regclass LOOP
        EXECUTE format('CREATE TABLE stepwell.%I PARTITION OF stepwell.note %s', month.name, month.bound);
    END LOOP;
END
$$;
