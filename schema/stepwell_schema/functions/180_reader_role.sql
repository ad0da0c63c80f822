-- The role stepwell_reader, for `stepwell sql`, dashboards and people. It can read everything in the SQL contract and change
-- nothing.

CREATE OR REPLACE FUNCTION stepwell.hidden_tables_v1() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    -- The tables that readers cannot read: those that the server locks, the API keys, the audit log, who uploaded what, and sign-ins.
    SELECT ARRAY['lock', 'hot_ring_lock', 'run_being_made', 'api_key', 'audit', 'blob_owner', 'sign_in']
$$;

CREATE OR REPLACE FUNCTION stepwell.make_reader_v1() RETURNS boolean
LANGUAGE plpgsql AS $$
-- Creates the role stepwell_reader if the caller may, and lets the caller assume it. Returns whether the role exists. It has
-- no password: logins over a network use another role that is a member of it (docs/sql.md).
BEGIN
    IF to_regrole('stepwell_reader') IS NULL THEN
        CREATE ROLE stepwell_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        ALTER ROLE stepwell_reader SET default_transaction_read_only = on;
        ALTER ROLE stepwell_reader SET statement_timeout = '60s';
    END IF;
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        GRANT stepwell_reader TO CURRENT_USER;
    END IF;
    RETURN true;
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
        RETURN to_regrole('stepwell_reader') IS NOT NULL;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.grant_reader_v1() RETURNS boolean
LANGUAGE plpgsql AS $$
-- Lets stepwell_reader read the tables behind the views and functions of the contract, which run with the rights of the
-- caller. Session ids are excluded: a client that knows one can send frames of that session. Returns whether the role
-- exists.
DECLARE
    name_   text;
    columns text;
BEGIN
    IF NOT stepwell.make_reader_v1() THEN
        RETURN false;
    END IF;
    GRANT USAGE ON SCHEMA stepwell TO stepwell_reader;
    FOR name_, columns IN
        SELECT c.relname, string_agg(quote_ident(a.attname), ', ')
               FILTER (WHERE a.attname NOT IN ('session', 'checksums'))
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
        GROUP BY 1
    LOOP
        EXECUTE format('REVOKE ALL ON stepwell.%I FROM stepwell_reader', name_);
        CONTINUE WHEN name_ = ANY (stepwell.hidden_tables_v1());
        EXECUTE format('GRANT SELECT (%s) ON stepwell.%I TO stepwell_reader', columns, name_);
    END LOOP;
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.reader_lacks_v1() RETURNS text[]
LANGUAGE plpgsql STABLE AS $$
-- The rights that stepwell_reader needs to read the contract and lacks; empty when it lacks none.
BEGIN
    IF to_regrole('stepwell_reader') IS NULL THEN
        RETURN '{the role stepwell_reader}';
    END IF;
    RETURN ARRAY(
        SELECT 'the schema stepwell' WHERE NOT has_schema_privilege('stepwell_reader', 'stepwell', 'USAGE')
        UNION ALL
        (SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
           AND c.relname <> ALL (stepwell.hidden_tables_v1())
           AND NOT has_any_column_privilege('stepwell_reader', c.oid, 'SELECT')
         ORDER BY c.relkind DESC, 1));
END
$$;

CREATE OR REPLACE FUNCTION stepwell.restore_reader_v1() RETURNS text[]
LANGUAGE plpgsql AS $$
-- Creates stepwell_reader and grants the rights that it lacks: after a restore into another cluster, the role and all of its
-- rights are missing. Returns the rights that it still lacks, because the caller may not create the role or grant them.
BEGIN
    IF stepwell.reader_lacks_v1() <> '{}' THEN
        BEGIN
            PERFORM stepwell.grant_reader_v1();
        EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
            NULL;
        END;
    END IF;
    RETURN stepwell.reader_lacks_v1();
END
$$;

CREATE OR REPLACE FUNCTION stepwell.make_sql_login_v1(verifier text) RETURNS void
LANGUAGE plpgsql AS $$
-- Creates the role stepwell_sql, with which psql and dashboards log in to the embedded Postgres, if it is missing, and
-- sets its password, given as the SCRAM verifier that Postgres stores. It is a member of stepwell_reader only. Its
-- settings, which the role may have changed, are reset. Several workers may call this at the same time: what is correct
-- already is not touched.
DECLARE
    settings text[] := ARRAY['default_transaction_read_only=on', 'statement_timeout=60s',
                                      'idle_in_transaction_session_timeout=10min', 'search_path=stepwell, public'];
BEGIN
    LOCK TABLE stepwell.migration IN SHARE ROW EXCLUSIVE MODE;
    IF to_regrole('stepwell_sql') IS NULL THEN
        CREATE ROLE stepwell_sql LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 20;
    END IF;
    IF NOT pg_has_role('stepwell_sql', 'stepwell_reader', 'MEMBER') THEN
        GRANT stepwell_reader TO stepwell_sql;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_authid a WHERE a.rolname = 'stepwell_sql' AND a.rolpassword = verifier) THEN
        EXECUTE format('ALTER ROLE stepwell_sql PASSWORD %L', verifier);
    END IF;
    IF (SELECT r.rolconfig IS DISTINCT FROM settings FROM pg_roles r WHERE r.rolname = 'stepwell_sql') THEN
        ALTER ROLE stepwell_sql RESET ALL;
        ALTER ROLE stepwell_sql SET default_transaction_read_only = on;
        ALTER ROLE stepwell_sql SET statement_timeout = '60s';
        ALTER ROLE stepwell_sql SET idle_in_transaction_session_timeout = '10min';
        ALTER ROLE stepwell_sql SET search_path = stepwell, public;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.bind_reader_v1() RETURNS text[]
LANGUAGE plpgsql AS $$
-- Revokes from stepwell_reader the rights that Postgres grants to everybody and that a reader does not need: temporary tables,
-- large objects, advisory locks, messages in the WAL and notifications. Resets its settings, which the role may have changed for
-- its next sessions. Rights of everybody are only revoked if this database holds nothing but Stepwell's tables. Returns the
-- unneeded rights that are left.
DECLARE
    left_  text[] := '{}';
    owner_ text := (SELECT n.nspowner::regrole::text FROM pg_namespace n WHERE n.nspname = 'stepwell');
    shared boolean := EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('stepwell', 'pg_catalog', 'information_schema', 'pg_toast')
          AND n.nspname NOT LIKE 'pg\_t%');
    proc   regprocedure;
BEGIN
    IF to_regrole('stepwell_reader') IS NULL THEN
        RETURN left_;
    END IF;
    BEGIN
        IF EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setrole = 'stepwell_reader'::regrole AND s.setdatabase <> 0
                     AND s.setdatabase = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) THEN
            EXECUTE format('ALTER ROLE stepwell_reader IN DATABASE %I RESET ALL', current_database());
        END IF;
        IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'stepwell_reader'
                         AND 'default_transaction_read_only=on' = ANY (r.rolconfig)) THEN
            ALTER ROLE stepwell_reader SET default_transaction_read_only = on;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_roles r, unnest(r.rolconfig) u WHERE r.rolname = 'stepwell_reader'
                         AND u LIKE 'statement\_timeout=%' AND u NOT LIKE 'statement\_timeout=0%') THEN
            ALTER ROLE stepwell_reader SET statement_timeout = '60s';
        END IF;
    EXCEPTION WHEN OTHERS THEN
        left_ := left_ || 'settings of its own'::text;
    END;
    IF has_database_privilege('stepwell_reader', current_database(), 'TEMPORARY') AND NOT shared THEN
        BEGIN
            EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END IF;
    FOR proc IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege('stepwell_reader', p.oid, 'EXECUTE')
          AND (p.proname LIKE 'pg\_advisory%lock%' OR p.proname LIKE 'pg\_try\_advisory%'
               OR p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_open', 'lo_put', 'lo_truncate',
                                'lo_truncate64', 'lo_unlink', 'lowrite', 'pg_logical_emit_message', 'pg_notify'))
          AND p.proname NOT LIKE '%unlock%'
    LOOP
        IF NOT shared THEN
            BEGIN
                EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', proc);
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', proc, owner_);
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
        END IF;
        IF has_function_privilege('stepwell_reader', proc, 'EXECUTE') THEN
            left_ := left_ || proc::text;
        END IF;
    END LOOP;
    IF has_database_privilege('stepwell_reader', current_database(), 'TEMPORARY') THEN
        left_ := left_ || 'temporary tables'::text;
    END IF;
    RETURN left_;
END
$$;
