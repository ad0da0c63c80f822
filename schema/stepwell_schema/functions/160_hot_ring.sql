-- The ring of tables (slots) that hold hot history: which one is current, and when one may be emptied.
--
-- TRUNCATE is not MVCC-safe: readers with an older snapshot see an empty table. So a slot is emptied only when
--   1. it is not written to any more: writers hold a shared lock (on the table hot_ring_lock) while they write to the current
--      slot, and making another slot current takes that lock exclusively;
--   2. a committed transaction has found that everything in it is sealed;
--   3. every snapshot that is still held sees that transaction.

CREATE OR REPLACE FUNCTION stepwell.hot_ring_v1() RETURNS smallint
LANGUAGE plpgsql VOLATILE AS $$
-- The slot to write to; it stays current until the transaction of the caller ends. Volatile, so that it reads after it
-- has got the lock.
DECLARE
    key bigint := hashtextextended('stepwell.hot_ring', 0);
BEGIN
    LOCK TABLE stepwell.hot_ring_lock IN ROW EXCLUSIVE MODE;
    IF NOT pg_try_advisory_xact_lock_shared(key) AND stepwell.writers_hold_v1(key) THEN
        PERFORM pg_advisory_xact_lock_shared(key);   -- an older version is turning the ring
    END IF;
    RETURN (SELECT h.ring FROM stepwell.hot_ring h WHERE h.current);
END
$$;

CREATE OR REPLACE FUNCTION stepwell.next_slot_v1(min_bytes bigint, max_age interval) RETURNS TABLE (mine smallint, fresh smallint)
LANGUAGE plpgsql VOLATILE AS $$
-- The current slot and the one that should follow it now; no row: there is nothing to do, or no slot is empty.
DECLARE
    now_ stepwell.hot_ring;
BEGIN
    SELECT h.* INTO now_ FROM stepwell.hot_ring h WHERE h.current;
    IF pg_relation_size(format('stepwell.hot_block_%s', now_.ring)::regclass) = 0
       OR (pg_table_size(format('stepwell.hot_block_%s', now_.ring)::regclass) < min_bytes
           AND now_.since > clock_timestamp() - max_age) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT now_.ring, h.ring FROM stepwell.hot_ring h
    WHERE NOT h.current AND pg_relation_size(format('stepwell.hot_block_%s', h.ring)::regclass) = 0
    ORDER BY (h.ring - now_.ring + 100) % 100 LIMIT 1;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.rotate_ring_v1(min_bytes bigint, max_age interval) RETURNS smallint
LANGUAGE plpgsql VOLATILE AS $$
-- Makes an empty slot current when the current one has min_bytes, or when it is not empty and older than max_age.
-- Returns the new slot; NULL: there was nothing to do, or no slot is empty. Waits for batches in flight, so the caller
-- sets a lock_timeout.
DECLARE
    full_slot  smallint;
    empty_slot smallint;
    key        bigint := hashtextextended('stepwell.hot_ring', 0);
BEGIN
    PERFORM FROM stepwell.next_slot_v1(min_bytes, max_age);
    IF NOT FOUND THEN
        RETURN NULL;   -- the usual case, in which writers must not be disturbed
    END IF;
    LOCK TABLE stepwell.hot_ring_lock IN EXCLUSIVE MODE;
    IF NOT pg_try_advisory_xact_lock(key) AND stepwell.writers_hold_v1(key) THEN
        RETURN NULL;   -- a batch of an older version is under way
    END IF;
    -- Again: another server may have turned the ring in the meantime, even more than once.
    SELECT s.mine, s.fresh INTO full_slot, empty_slot FROM stepwell.next_slot_v1(min_bytes, max_age) s;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE stepwell.hot_ring h SET current = false, since = clock_timestamp(), sealed_xid = NULL WHERE h.ring = full_slot;
    UPDATE stepwell.hot_ring h SET current = true, since = clock_timestamp(), sealed_xid = NULL WHERE h.ring = empty_slot;
    RETURN empty_slot;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.slot_sealed_v1(ring_ smallint) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
-- Whether every row of the slot is sealed or belongs to an epoch that no longer exists (its run was deleted).
DECLARE
    sealed boolean;
BEGIN
    EXECUTE format(
        'SELECT NOT EXISTS (SELECT FROM stepwell.ledger l JOIN (SELECT b.run_id, b.writer_id, b.epoch, max(b.step_hi) AS step_hi
                                FROM stepwell.hot_block_%s b GROUP BY 1, 2, 3) b USING (run_id, writer_id, epoch)
                            WHERE b.step_hi >= l.sealed_below)', ring_) INTO sealed;
    RETURN sealed;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.oldest_snapshot_age_v1() RETURNS integer
LANGUAGE sql VOLATILE AS $$
    -- The age of the oldest snapshot in the cluster, in transactions; replication slots and prepared transactions
    -- count. Only a superuser or a member of pg_read_all_stats sees the sessions of other roles (the server checks
    -- that). Autovacuum does not count, since it returns rows to nobody and takes long on large tables: with it, hot
    -- history grew to 3.7 GiB while it cleaned the TOAST of the chunks, although less than 1 GiB was unsealed.
    SELECT greatest(
        (SELECT max(age(a.backend_xmin)) FROM pg_stat_activity a
         WHERE a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'),
        (SELECT max(age(s.xmin)) FROM pg_replication_slots s),
        (SELECT max(age(p.transaction)) FROM pg_prepared_xacts p),
        0)
$$;

CREATE OR REPLACE FUNCTION stepwell.mark_sealed_slots_v1() RETURNS integer
LANGUAGE plpgsql AS $$
-- Marks the slots that are not current and in which everything is sealed. Returns how many it marked.
-- A transaction id that has not been assigned here yet is another cluster's: the database was restored from a dump. An
-- id that has been assigned does no harm, because no snapshot is older than the restore.
DECLARE
    slot  stepwell.hot_ring;
    found integer := 0;
BEGIN
    FOR slot IN SELECT h.* FROM stepwell.hot_ring h WHERE NOT h.current
                  AND (h.sealed_xid IS NULL OR h.sealed_xid >= pg_snapshot_xmax(pg_current_snapshot()))
                  AND pg_relation_size(format('stepwell.hot_block_%s', h.ring)::regclass) > 0 LOOP
        IF stepwell.slot_sealed_v1(slot.ring) THEN
            -- `since`: the check takes a while, and other servers may have emptied and refilled the slot meanwhile.
            UPDATE stepwell.hot_ring h SET sealed_xid = pg_current_xact_id()
            WHERE h.ring = slot.ring AND NOT h.current AND h.since = slot.since;
            found := found + 1;
        END IF;
    END LOOP;
    RETURN found;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.empty_slot_v1() RETURNS smallint
LANGUAGE plpgsql AS $$
-- Empties a slot that is sealed for every snapshot. Returns the slot; NULL: there is none. The caller sets a
-- lock_timeout.
DECLARE
    slot smallint;
BEGIN
    SELECT h.ring INTO slot FROM stepwell.hot_ring h
    WHERE NOT h.current AND h.sealed_xid < pg_snapshot_xmax(pg_current_snapshot())
      AND age(h.sealed_xid::xid) > stepwell.oldest_snapshot_age_v1()
      -- Does not wait for sessions that lock the slot or its TOAST table for long (a dump, a VACUUM against wraparound
      -- of transaction ids): all other sessions would have to wait behind this one.
      AND NOT EXISTS (SELECT FROM pg_class c JOIN pg_locks k ON k.relation IN (c.oid, c.reltoastrelid)
                      LEFT JOIN pg_stat_activity a ON a.pid = k.pid
                      WHERE c.oid = to_regclass(format('stepwell.hot_block_%s', h.ring)) AND k.granted
                        AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                        AND coalesce(a.xact_start < clock_timestamp() - interval '1 s', true))
    ORDER BY h.since LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF slot IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('TRUNCATE stepwell.hot_block_%s', slot);
    UPDATE stepwell.hot_ring h SET sealed_xid = NULL WHERE h.ring = slot;
    RETURN slot;
END
$$;
