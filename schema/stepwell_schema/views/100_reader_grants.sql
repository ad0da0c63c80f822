-- Comes after all views, so that stepwell_reader can read them.
SELECT stepwell.grant_reader_v1();
