-- After all views, so that the reader's role may use them.
SELECT stepwell.grant_reader_v1();
