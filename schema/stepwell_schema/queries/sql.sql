-- name: only_reads
-- The role that is logged in, and whether it can read the schema and cannot assume a role that could do more.
SELECT session_user::text AS who,
       has_schema_privilege(r.oid, n.oid, 'USAGE') AND r.oid <> n.nspowner
       AND NOT EXISTS (SELECT FROM pg_roles o WHERE pg_has_role(r.oid, o.oid, 'MEMBER')
                                                AND o.rolname NOT IN (r.rolname, 'stepwell_reader')) AS only_reads
FROM pg_roles r, pg_namespace n WHERE r.rolname = session_user AND n.nspname = 'stepwell';

-- name: bind_reader
-- Revokes the rights that the reader's role does not need; returns those that are left. See bind_reader_v1.
SELECT stepwell.bind_reader_v1();

-- name: restore_reader
-- Grants the rights that the reader's role lacks; returns those that it still lacks. See restore_reader_v1.
SELECT stepwell.restore_reader_v1();

-- name: make_sql_login
-- Creates the login of SQL clients, with this SCRAM verifier. See make_sql_login_v1.
SELECT stepwell.make_sql_login_v1($1);

-- name: names
-- The views of the contract, and the columns of each.
SELECT c.relname::text AS relation, array_agg(a.attname::text) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind = 'v' GROUP BY 1;
