-- name: run_by_path
-- The runs that a path can mean: id, project/id or entity/project/id.
SELECT s.*, concat_ws('/', s.entity, s.project, s.run) AS path FROM stepwell.run_sizes_v1() s
WHERE $1 IN (s.run, concat_ws('/', s.project, s.run), concat_ws('/', s.entity, s.project, s.run))
ORDER BY s.run_id;

-- name: run_by_display_name
-- The runs with a display name, given alone or after project/ or entity/project/.
SELECT s.*, concat_ws('/', s.entity, s.project, s.run) AS path
FROM stepwell.run_sizes_v1() s JOIN stepwell.runs r ON r.run_id = s.run_id
WHERE $1 IN (r.display_name, concat_ws('/', s.project, r.display_name), concat_ws('/', s.entity, s.project, r.display_name))
ORDER BY s.run_id;

-- name: names_of_runs
-- Names by which a user can name runs: ids and display names of the newest runs, alone and as entity/project/id.
SELECT unnest(ARRAY[r.run, r.display_name, concat_ws('/', r.entity, r.project, r.run)]) AS name
FROM (SELECT * FROM stepwell.run ORDER BY run_id DESC LIMIT 2000) n JOIN stepwell.runs r ON r.run_id = n.run_id;

-- name: runs_of
-- The runs of a project (project or entity/project; NULL: of all projects) created before a time (NULL: at any time).
SELECT s.*, concat_ws('/', s.entity, s.project, s.run) AS path FROM stepwell.run_sizes_v1() s
WHERE ($1::text IS NULL OR $1 IN (s.project, concat_ws('/', s.entity, s.project)))
  AND ($2::timestamptz IS NULL OR s.created_at < $2)
ORDER BY s.run_id;

-- name: forks_that_stay
-- Forks that show points of these runs and are not among them.
SELECT g.source_run_id AS run_id, concat_ws('/', r.entity, r.project, r.name) AS fork
FROM stepwell.lineage g JOIN stepwell.run r ON r.run_id = g.run_id
WHERE g.source_run_id = ANY ($1::bigint[]) AND g.source_run_id <> g.run_id
  AND NOT EXISTS (SELECT FROM unnest($1::bigint[]) u WHERE u = g.run_id)
ORDER BY g.run_id;

-- name: forks_first
-- These runs, each after its forks.
SELECT g.run_id FROM stepwell.lineage g WHERE g.run_id = ANY ($1::bigint[])
GROUP BY 1 ORDER BY count(*) DESC, 1 DESC;

-- name: months_to_drop
-- Months that have no runs other than these; see months_to_drop_v1.
SELECT month, lower_id, upper_id
FROM stepwell.months_to_drop_v1($1::bigint[], stepwell.closed_before_v1(clock_timestamp()));

-- name: files_of_them
-- The number and size of the files that no other runs reference.
SELECT count(*) AS files, coalesce(sum(b.size), 0)::bigint AS bytes
FROM (SELECT DISTINCT u.sha256 FROM stepwell.blob_use u WHERE u.run_id = ANY ($1::bigint[])) m
JOIN stepwell.blob b ON b.sha256 = m.sha256 AND b.removing_at IS NULL
WHERE NOT EXISTS (SELECT FROM stepwell.blob_use u JOIN stepwell.run r ON r.run_id = u.run_id
                  WHERE u.sha256 = m.sha256 AND u.run_id <> ALL ($1::bigint[]));

-- name: delete_run
-- Deletes a run; see delete_run_v1.
SELECT stepwell.delete_run_v1($1);

-- name: claim_sweep
-- Takes the sweeper's lock, which the session holds. False: another sweeper is at work. A lock that a reader holds does
-- not count.
SELECT pg_try_advisory_lock(hashtextextended('stepwell.sweep', 0))
       OR NOT stepwell.writers_hold_v1(hashtextextended('stepwell.sweep', 0));

-- name: release_sweep
-- Releases the sweeper's lock.
SELECT pg_advisory_unlock(hashtextextended('stepwell.sweep', 0));

-- name: to_sweep
-- Deleted runs that may have rows left.
SELECT run_id, writers, stepwell.month_of_v1(run_id) AS month FROM stepwell.deleted_run WHERE swept_at IS NULL ORDER BY run_id;

-- name: await_sealing
-- Waits for sealing passes of a deleted run; see await_sealing_v1.
SELECT stepwell.await_sealing_v1($1, $2);

-- name: partitions_of_month
-- The partitions of a month; their names are quoted where necessary.
SELECT p.child::oid AS oid, p.detaching, format('%I.%I', n.nspname, c.relname) AS name, format('%I.%I', n.nspname, d.relname) AS parent_name,
       pg_total_relation_size(p.child) AS bytes
FROM stepwell.run_partitions_v1() p
JOIN pg_class c ON c.oid = p.child JOIN pg_class d ON d.oid = p.parent JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.lower_id = $1 AND p.upper_id = $2 ORDER BY c.relname;

-- name: half_detached
-- Partitions whose detaching was interrupted.
SELECT format('%I.%I', n.nspname, c.relname) AS name, format('%I.%I', n.nspname, d.relname) AS parent_name
FROM stepwell.run_partitions_v1() p
JOIN pg_class c ON c.oid = p.child JOIN pg_class d ON d.oid = p.parent JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.detaching;

-- name: mark_for_drop
-- Marks a table for dropping; see mark_for_drop_v1.
SELECT stepwell.mark_for_drop_v1($1::oid::regclass);

-- name: tables_to_drop
-- Tables that were detached and not dropped yet.
SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_total_relation_size(c.oid) AS bytes
FROM stepwell.tables_to_drop_v1() t JOIN pg_class c ON c.oid = t JOIN pg_namespace n ON n.oid = c.relnamespace;

-- name: tables_of_run
-- The tables that may hold rows of a run; see tables_of_run_v1.
SELECT t::oid AS oid FROM stepwell.tables_of_run_v1($1) t;

-- name: sweep_rows
-- Deletes at most $3 rows of a run from a table; see sweep_rows_v1.
SELECT stepwell.sweep_rows_v1($1::oid::regclass, $2, $3);

-- name: swept
-- Records that no rows of these runs are left.
UPDATE stepwell.deleted_run SET swept_at = clock_timestamp() WHERE run_id = ANY ($1::bigint[]) AND swept_at IS NULL;

-- name: audit_deletion
-- Records in the audit log who has deleted a run, in the transaction that deletes it.
INSERT INTO stepwell.audit (actor, action, detail)
SELECT $2, 'delete run', jsonb_build_object('run_id', d.run_id, 'entity', d.entity, 'project', d.project, 'run', d.name)
FROM stepwell.deleted_run d WHERE d.run_id = $1;
