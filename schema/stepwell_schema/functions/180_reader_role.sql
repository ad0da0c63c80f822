-- The role stepwell_reader, for `stepwell sql`, dashboards and people. It can read everything in the SQL contract and change
-- nothing.

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
-- caller. Session ids are excluded: a client that knows one can log in its name. Returns whether the role exists.
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
        EXECUTE format('GRANT SELECT (%s) ON stepwell.%I TO stepwell_reader', columns, name_);
    END LOOP;
    RETURN true;
END
$$;
