-- Monthly partitions of the tables whose key is the run. A run stays in the month of its creation, so that a whole
-- month can be dropped at once.

CREATE OR REPLACE FUNCTION stepwell.ensure_partitions_v1(from_month date, months integer) RETURNS integer
LANGUAGE plpgsql AS $$
-- Creates the missing partitions for `months` months, beginning with `from_month`. Returns how many it created.
DECLARE
    parent  text;
    lower_  timestamptz;
    child   text;
    column_ text;
    made    integer := 0;
BEGIN
    PERFORM 1 FROM stepwell.lock k WHERE k.name = 'partitions' FOR UPDATE;
    FOR i IN 0 .. months - 1 LOOP
        lower_ := (date_trunc('month', from_month::timestamp) + make_interval(months => i)) AT TIME ZONE 'UTC';
        FOREACH parent IN ARRAY ARRAY['metric', 'hot_object', 'note', 'track', 'chunk', 'metric_total'] LOOP
            child := format('%s_%s', parent, to_char(lower_ AT TIME ZONE 'UTC', 'YYYY_MM'));
            IF to_regclass('stepwell.' || child) IS NULL THEN
                -- Not CREATE … PARTITION OF: it locks the parent against reads and writes, so it would wait for all
                -- writers, and all other sessions would wait behind it. ATTACH blocks none of them.
                EXECUTE format('CREATE TABLE stepwell.%I (LIKE stepwell.%I INCLUDING ALL)', child, parent);
                EXECUTE format(
                    'ALTER TABLE stepwell.%I ATTACH PARTITION stepwell.%I FOR VALUES FROM (%s) TO (%s)',
                    parent, child,
                    stepwell.run_id_floor_v1(lower_),
                    stepwell.run_id_floor_v1((lower_ AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
                -- Statistics of arrays improve no plan, and gathering them reads every array: ANALYZE of chunks with
                -- 10^8 points took 10.8 s.
                FOR column_ IN SELECT a.attname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                               WHERE a.attrelid = to_regclass('stepwell.' || child) AND t.typcategory = 'A' LOOP
                    EXECUTE format('ALTER TABLE stepwell.%I ALTER %I SET STATISTICS 0', child, column_);
                END LOOP;
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
