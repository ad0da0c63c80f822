-- When the process behind an epoch started, so that one that started earlier and comes later takes nobody's place.

-- By the clock of Postgres, whatever the hosts' clocks say (functions/attach.sql). NULL: attached before this column was.
ALTER TABLE stepwell.ledger ADD COLUMN started_at timestamptz;
