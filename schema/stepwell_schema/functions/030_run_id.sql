-- Run ids: 63 bits, ordered by the time of creation. 43 bits of milliseconds last until the year 2298.

CREATE OR REPLACE FUNCTION stepwell.run_id_floor_v1(at timestamptz) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- The smallest id that a run created at this time can have.
    SELECT floor(extract(epoch FROM at - timestamptz '2020-01-01 00:00:00+00') * 1000)::bigint << 20
$$;

CREATE OR REPLACE FUNCTION stepwell.new_run_id_v1() RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT stepwell.run_id_floor_v1(clock_timestamp()) | nextval('stepwell.run_serial')
$$;

-- Every month that has runs needs the partitions of all tables, also of tables that later versions added: without them its
-- history would stay hot.
SELECT stepwell.ensure_partitions_v1(to_date(right(c.relname, 7), 'YYYY_MM'), 1)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'stepwell.metric'::regclass;
