-- What decides the colour of a run on the pages: how many runs its project had seen when it was made, from 0. It stays when
-- others are deleted, so that a run looks the same for ever.

ALTER TABLE stepwell.run ADD COLUMN slot integer;
UPDATE stepwell.run r SET slot = n.slot
FROM (SELECT o.run_id, row_number() OVER (PARTITION BY o.entity, o.project ORDER BY o.run_id) - 1 AS slot FROM stepwell.run o) n
WHERE n.run_id = r.run_id;
CREATE INDEX run_by_slot ON stepwell.run (entity, project, slot);
