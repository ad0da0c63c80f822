-- The frames that were refused permanently, as the SQL contract shows them.

CREATE OR REPLACE VIEW stepwell.rejections AS
SELECT r.entity, r.project, r.name AS run, r.run_id, w.name AS writer, j.epoch, j.seq, j.code, j.message,
       j.points, j.objects, j.first_step, j.last_step, j.rejected_at
FROM stepwell.rejection j
JOIN stepwell.run r ON r.run_id = j.run_id
JOIN stepwell.writer w ON w.run_id = j.run_id AND w.writer_id = j.writer_id;
