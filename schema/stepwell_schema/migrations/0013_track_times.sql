-- Between which times the points of a track lie, so that a range of time opens the tracks in it only. Clocks go backwards, so
-- these are not the times of the first and the last step. Tracks that were written before may have points of any time.
ALTER TABLE stepwell.track
    ADD COLUMN time_min timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN time_max timestamptz NOT NULL DEFAULT 'infinity';

-- BRIN: tracks are written about in the order of their times, and it costs an insert nothing measurable.
CREATE INDEX track_by_time ON stepwell.track USING brin (time_min, time_max) WITH (pages_per_range = 8, autosummarize = on);
