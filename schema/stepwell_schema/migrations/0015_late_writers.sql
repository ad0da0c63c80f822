-- A writer that exists only because a spool was delivered after another process had taken its name over. The state of the run
-- does not follow from it: the run had gone on, or ended, without it.
ALTER TABLE stepwell.writer ADD COLUMN late boolean NOT NULL DEFAULT false;
