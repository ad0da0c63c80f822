-- The runs, as the SQL contract shows them: one row per run, with the config and names that result from its notes.
--
-- Has few relations in FROM on purpose: Postgres searches for the best order of at most 8 of them
-- (join_collapse_limit), and this view and `history` together must stay below that. With 9, a query for the history of
-- a group's runs read that of all runs. Therefore columns that need only a lookup are subqueries, which cost nothing
-- unless they are selected.

CREATE OR REPLACE VIEW stepwell.runs AS
SELECT r.entity, r.project, r.name AS run, coalesce(m.meta->>'name', r.name) AS display_name, r.state,
       m.config,
       r.created_at, r.finished_at, r.exit_code,
       greatest(s.last_step, CASE WHEN r.parent_run_id IS NOT NULL THEN (
           -- for the points that a fork shows of its ancestors
           SELECT max(least(l.last_step, x.below_step - 1))
           FROM stepwell.lineage_epoch x
           JOIN stepwell.ledger l ON l.run_id = x.source_run_id AND l.writer_id = x.writer_id AND l.epoch = x.epoch
           WHERE x.run_id = r.run_id AND l.first_step < x.below_step) END) AS last_step,
       s.points,
       -- media are notes, shown once their files are stored
       s.objects + (SELECT count(*) FROM stepwell.note n WHERE n.run_id = r.run_id AND n.kind = 'object') AS objects,
       s.rejected, s.writers, r.run_id,
       (SELECT p.name FROM stepwell.run p WHERE p.run_id = r.parent_run_id) AS parent, r.fork_step,
       m.meta->>'notes' AS notes,
       ARRAY(SELECT jsonb_array_elements_text(stepwell.array_v1(m.meta->'tags'))) AS tags,
       m.meta->>'job_type' AS job_type, m.meta->>'group' AS run_group,
       -- of the first writer
       (SELECT w.info->>'host' FROM stepwell.writer w WHERE w.run_id = r.run_id AND w.writer_id = 1) AS host,
       (SELECT max(w.heartbeat_at) FROM stepwell.writer w WHERE w.run_id = r.run_id) AS heartbeat_at,
       r.archived_at
FROM stepwell.run r
LEFT JOIN LATERAL (
    -- The last_step of an epoch without steps is the step after which it may begin.
    SELECT max(least(l.last_step, l.visible_below - 1))
               FILTER (WHERE l.first_step < coalesce(l.visible_below, 9223372036854775807)) AS last_step,
           sum(l.points)::bigint AS points, sum(l.objects)::bigint AS objects, sum(l.rejected)::bigint AS rejected,
           count(DISTINCT l.writer_id) AS writers
    FROM stepwell.ledger l WHERE l.run_id = r.run_id
) s ON true
-- The notes are read only if some of them are not folded yet (migrations/0020). The fence OFFSET 0 computes config once per run:
-- without it, a query that groups points by config computed it once per point (14 s for 100,000 points).
LEFT JOIN LATERAL (
    SELECT CASE WHEN f.fresh THEN (SELECT c.config FROM stepwell.config_of_v1(r.run_id, r.config) c)
                ELSE coalesce(r.folded_config, stepwell.object_v1(r.config)) END AS config,
           CASE WHEN f.fresh THEN (SELECT n.meta FROM stepwell.meta_of_v1(r.run_id, r.display_name) n)
                ELSE coalesce(r.folded_meta, jsonb_build_object('name', r.display_name)) END AS meta
    FROM (
        SELECT EXISTS (SELECT FROM stepwell.note n
                       WHERE n.run_id = r.run_id AND NOT n.folded AND n.kind IN ('config', 'meta')) AS fresh
        OFFSET 0
    ) f
    OFFSET 0
) m ON true;
