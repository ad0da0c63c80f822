-- Autovacuum leaves the slots of hot history alone. They are only added to and truncated, so there is nothing in them to
-- clean or to freeze; but it cleaned their TOAST tables for minutes, with a lock that TRUNCATE waits for: while ingest ran
-- at full speed, five of six slots were sealed and not one could be emptied (docs/architecture.md).
DO $$
BEGIN
    FOR slot IN 0 .. 5 LOOP
        EXECUTE format('ALTER TABLE stepwell.hot_block_%s SET (autovacuum_enabled = false, toast.autovacuum_enabled = false)', slot);
    END LOOP;
END
$$;
