-- The rows of hot_object, in the form that lets Postgres use their indexes.

CREATE OR REPLACE FUNCTION stepwell.objects_v1(run_id_ bigint) RETURNS SETOF stepwell.hot_object
LANGUAGE sql STABLE AS $$
    -- The rows of a run. The two indexes by key (migration 0011) are partial, by the length of the key, and the planner uses
    -- one only where a query repeats its condition. Inlined, so that conditions on key and step reach them.
    SELECT * FROM stepwell.hot_object o WHERE o.run_id = run_id_ AND octet_length(o.key) <= 2000
    UNION ALL
    SELECT * FROM stepwell.hot_object o WHERE o.run_id = run_id_ AND octet_length(o.key) > 2000
$$;
