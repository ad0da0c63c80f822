-- name: storage
-- What history takes, and how far sealing is. lag_s: how long the epoch has waited that has waited longest.
SELECT pg_database_size(current_database()) AS database_bytes,
       (SELECT count(*) FROM stepwell.run) AS runs,
       coalesce(sum(l.points), 0)::bigint AS points,
       coalesce(sum(greatest(l.points - l.sealed_points, 0)), 0)::bigint AS unsealed_points,
       coalesce(extract(epoch FROM max(clock_timestamp() - l.sealed_at) FILTER (WHERE l.last_step >= l.sealed_below)), 0)::float8
           AS seal_lag_s,
       (SELECT count(*) FROM stepwell.hot_ring h
        WHERE pg_relation_size(format('stepwell.hot_block_%s', h.ring)::regclass) > 0) AS slots_used,
       (SELECT count(*) FROM stepwell.hot_ring) AS slots,
       (SELECT count(*) FROM stepwell.deleted_run WHERE swept_at IS NULL) AS runs_to_sweep
FROM stepwell.ledger l;

-- name: largest
-- The largest runs ($1) and projects ($2), estimated; see functions/delete.sql.
WITH sizes AS MATERIALIZED (SELECT * FROM stepwell.run_sizes_v1())
(SELECT concat_ws('/', s.entity, s.project, s.run) AS run, NULL AS project, 1 AS runs, s.points, s.objects, s.bytes
 FROM sizes s ORDER BY s.bytes DESC, s.run_id LIMIT $1)
UNION ALL
(SELECT NULL, concat_ws('/', s.entity, s.project), count(*)::integer, sum(s.points)::bigint, sum(s.objects)::bigint,
        sum(s.bytes)::bigint
 FROM sizes s GROUP BY s.entity, s.project ORDER BY 6 DESC, 2 LIMIT $2);

-- name: usage
-- What some runs have used of their limits.
SELECT l.run_id, sum(l.points)::bigint AS points, sum(l.bytes)::bigint AS bytes
FROM stepwell.ledger l WHERE l.run_id = ANY ($1::bigint[]) GROUP BY 1;
