-- Notes by the frame that brought them: live views read those that have come since.
CREATE INDEX note_by_seq ON stepwell.note (run_id, writer_id, seq);
