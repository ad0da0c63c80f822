-- Monthly partitions of the run-keyed tables. A run lies in the month of its creation for ever, so that a month drops whole.

CREATE OR REPLACE FUNCTION stepwell.ensure_partitions_v1(from_month date, months integer) RETURNS integer
LANGUAGE plpgsql AS $$
-- Makes what is missing of the partitions for `months` months from `from_month` on; returns how many it made.
DECLARE
    parent  text;
    lower_  timestamptz;
    child   text;
    made    integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('stepwell.ensure_partitions', 0));
    FOR i IN 0 .. months - 1 LOOP
        lower_ := (date_trunc('month', from_month::timestamp) + make_interval(months => i)) AT TIME ZONE 'UTC';
        FOREACH parent IN ARRAY ARRAY['metric', 'hot_block', 'hot_object', 'note'] LOOP
            child := format('%s_%s', parent, to_char(lower_ AT TIME ZONE 'UTC', 'YYYY_MM'));
            IF to_regclass('stepwell.' || child) IS NULL THEN
                EXECUTE format(
                    'CREATE TABLE stepwell.%I PARTITION OF stepwell.%I FOR VALUES FROM (%s) TO (%s)',
                    child, parent,
                    stepwell.run_id_floor_v1(lower_),
                    stepwell.run_id_floor_v1((lower_ AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
