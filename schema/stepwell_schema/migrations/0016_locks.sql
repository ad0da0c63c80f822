-- What the server locks. Everybody who may connect can take an advisory lock, and with it could stop ingest; nobody but the server
-- has rights on these tables.

-- Transactions that write to the hot ring share this table, and turning the ring takes it alone. It has no rows.
CREATE TABLE stepwell.hot_ring_lock (nothing boolean);

-- A row stands for work that only one process does at a time; it is locked, and never changed.
CREATE TABLE stepwell.lock (name text NOT NULL PRIMARY KEY);
INSERT INTO stepwell.lock (name) VALUES ('reap'), ('partitions');
INSERT INTO stepwell.lock (name) SELECT 'seal/' || n FROM generate_series(0, 63) n;

-- Who makes a run inserts its name, and removes it in the same transaction: two cannot do so at a time, and no row stays.
CREATE TABLE stepwell.run_being_made (
    entity  text NOT NULL,
    project text NOT NULL,
    name    text NOT NULL,
    PRIMARY KEY (entity, project, name)
);
