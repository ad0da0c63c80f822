-- Objects as their indexes want to be asked.

CREATE OR REPLACE FUNCTION stepwell.objects_v1(run_id_ bigint) RETURNS SETOF stepwell.hot_object
LANGUAGE sql STABLE AS $$
    -- A run's rows of hot_object. The two indexes by key (migration 0011) hold keys of these lengths, and the planner takes one only
    -- where a query says so; inlined, so that conditions on key and step reach them.
    SELECT * FROM stepwell.hot_object o WHERE o.run_id = run_id_ AND octet_length(o.key) <= 2000
    UNION ALL
    SELECT * FROM stepwell.hot_object o WHERE o.run_id = run_id_ AND octet_length(o.key) > 2000
$$;
