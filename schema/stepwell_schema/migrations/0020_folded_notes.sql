-- The config and names of a run as they result from its notes, so that a list of runs need not read the notes of all of them.

-- Whether the note is contained in the columns folded_config and folded_meta of its run. Only the sealing process sets it, in the
-- transaction that sets those columns, so every snapshot has either both or neither. Servers of older versions leave it false. The
-- index has notes of two kinds only, and each of them for some seconds only.
ALTER TABLE stepwell.note ADD COLUMN folded boolean NOT NULL DEFAULT false;
CREATE INDEX note_unfolded ON stepwell.note (run_id) WHERE NOT folded AND kind IN ('config', 'meta');

-- What config_of_v1 and meta_of_v1 return for the folded notes; NULL: there are none. They count while the run has no other note
-- of these kinds (views/010_runs.sql).
ALTER TABLE stepwell.run ADD COLUMN folded_config jsonb, ADD COLUMN folded_meta jsonb;
