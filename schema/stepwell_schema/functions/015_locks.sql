-- Locks that only a role that may write can hold. Before migration 0016, the server used advisory locks, which any role can take.
-- During an upgrade, processes of older versions may still hold advisory locks. So both kinds are respected, except for advisory
-- locks that a reader holds.

CREATE OR REPLACE FUNCTION stepwell.writers_hold_v1(key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
-- Whether another session whose role may write holds this advisory lock in this database.
BEGIN
    RETURN EXISTS (
        SELECT FROM pg_locks k
        JOIN pg_database d ON d.oid = k.database AND d.datname = current_database()
        JOIN pg_stat_activity a ON a.pid = k.pid
        WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1 AND k.pid <> pg_backend_pid()
          AND k.classid::bigint = ((key >> 32) & 4294967295) AND k.objid::bigint = (key & 4294967295)
          AND has_table_privilege(a.usesysid, 'stepwell.ledger', 'UPDATE'));
END
$$;

CREATE OR REPLACE FUNCTION stepwell.lock_name_v1(entity_ text, project_ text, name_ text) RETURNS void
LANGUAGE plpgsql AS $$
-- Keeps other transactions from creating or deleting a run of this name until this transaction ends.
DECLARE
    key bigint := hashtextextended(concat_ws(E'\x01', entity_, project_, name_), 1);
BEGIN
    INSERT INTO stepwell.run_being_made (entity, project, name) VALUES (entity_, project_, name_);
    DELETE FROM stepwell.run_being_made n WHERE n.entity = entity_ AND n.project = project_ AND n.name = name_;
    IF NOT pg_try_advisory_xact_lock(key) AND stepwell.writers_hold_v1(key) THEN
        PERFORM pg_advisory_xact_lock(key);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.seal_lock_v1(run_id_ bigint, writer_id_ integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- The name of the row of stepwell.lock that is locked to seal a writer. Several writers share a row.
    SELECT 'seal/' || (hashtextextended(concat_ws('/', 'seal', run_id_, writer_id_), 0) & 63)
$$;

CREATE OR REPLACE FUNCTION stepwell.claim_sealing_v1(run_id_ bigint, writer_id_ integer) RETURNS boolean
LANGUAGE plpgsql AS $$
-- Takes the lock for sealing and merging a writer until the transaction ends. Returns false if another process has it.
DECLARE
    key bigint := hashtextextended(concat_ws('/', 'seal', run_id_, writer_id_), 0);
BEGIN
    PERFORM 1 FROM stepwell.lock k WHERE k.name = stepwell.seal_lock_v1(run_id_, writer_id_) FOR UPDATE SKIP LOCKED;
    RETURN FOUND AND (pg_try_advisory_xact_lock(key) OR NOT stepwell.writers_hold_v1(key));
END
$$;
