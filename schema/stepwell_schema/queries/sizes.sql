-- name: storage
-- The size of history, and the progress of sealing. seal_lag_s: the longest time that an epoch has been waiting to be
-- sealed.
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
-- The largest $1 runs and $2 projects, estimated (run_sizes_v1), with their files: a file of several runs counts for
-- each of them, and once for their project.
WITH sizes AS MATERIALIZED (
    SELECT * FROM stepwell.run_sizes_v1()
), used AS MATERIALIZED (
    SELECT r.run_id, r.entity, r.project, b.sha256, b.size
    FROM stepwell.blob_use u JOIN stepwell.run r ON r.run_id = u.run_id
    JOIN stepwell.blob b ON b.sha256 = u.sha256 AND b.removing_at IS NULL
), of_run AS (
    SELECT u.run_id, count(*) AS files, sum(u.size)::bigint AS bytes FROM used u GROUP BY 1
), of_project AS (
    SELECT u.entity, u.project, count(*) AS files, sum(u.size)::bigint AS bytes
    FROM (SELECT DISTINCT entity, project, sha256, size FROM used) u GROUP BY 1, 2
), project AS (
    SELECT s.entity, s.project, count(*)::integer AS runs, sum(s.points)::bigint AS points, sum(s.objects)::bigint AS objects,
           sum(s.bytes)::bigint AS bytes
    FROM sizes s GROUP BY 1, 2
)
(SELECT concat_ws('/', s.entity, s.project, s.run) AS run, NULL AS project, 1 AS runs, s.points, s.objects, s.bytes,
        coalesce(f.files, 0) AS files, coalesce(f.bytes, 0) AS file_bytes
 FROM sizes s LEFT JOIN of_run f ON f.run_id = s.run_id ORDER BY s.bytes + coalesce(f.bytes, 0) DESC, s.run_id LIMIT $1)
UNION ALL
(SELECT NULL, concat_ws('/', p.entity, p.project), p.runs, p.points, p.objects, p.bytes, coalesce(f.files, 0), coalesce(f.bytes, 0)
 FROM project p LEFT JOIN of_project f ON f.entity = p.entity AND f.project = p.project
 ORDER BY p.bytes + coalesce(f.bytes, 0) DESC, 2 LIMIT $2);

-- name: usage
-- The usage of some runs, for their limits.
SELECT l.run_id, sum(l.points)::bigint AS points, sum(l.bytes)::bigint AS bytes
FROM stepwell.ledger l WHERE l.run_id = ANY ($1::bigint[]) GROUP BY 1;
