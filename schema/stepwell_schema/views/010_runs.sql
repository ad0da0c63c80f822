-- The runs, as the SQL contract shows them: one row per run, with its config and names as its notes have left them.
--
-- Few relations in FROM, on purpose: Postgres looks for the best order of at most 8 of them (join_collapse_limit), and
-- this view and `history` together must stay below that. With 9, a query for the history of a group's runs read that of
-- all runs. So what needs a lookup only is a subquery in the list of columns, which costs nothing unless it is asked for.

CREATE OR REPLACE VIEW stepwell.runs AS
SELECT r.entity, r.project, r.name AS run, coalesce(m.meta->>'name', r.name) AS display_name, r.state,
       m.config,
       r.created_at, r.finished_at, r.exit_code, s.last_step, s.points, s.objects, s.rejected, s.writers, r.run_id,
       (SELECT p.name FROM stepwell.run p WHERE p.run_id = r.parent_run_id) AS parent, r.fork_step,
       m.meta->>'notes' AS notes,
       ARRAY(SELECT jsonb_array_elements_text(stepwell.array_v1(m.meta->'tags'))) AS tags,
       m.meta->>'job_type' AS job_type, m.meta->>'group' AS run_group,
       -- of the writer that came first
       (SELECT w.info->>'host' FROM stepwell.writer w WHERE w.run_id = r.run_id AND w.writer_id = 1) AS host,
       (SELECT max(w.heartbeat_at) FROM stepwell.writer w WHERE w.run_id = r.run_id) AS heartbeat_at
FROM stepwell.run r
LEFT JOIN LATERAL (
    SELECT nullif(max(least(l.last_step, l.visible_below - 1)), -1) AS last_step, sum(l.points)::bigint AS points,
           sum(l.objects)::bigint AS objects, sum(l.rejected)::bigint AS rejected,
           count(DISTINCT l.writer_id) AS writers
    FROM stepwell.ledger l WHERE l.run_id = r.run_id
) s ON true
-- The fence OFFSET 0 makes config once a run: without it, a query that groups points by config made it once a point (14 s
-- for 100,000 points).
LEFT JOIN LATERAL (
    SELECT c.config, n.meta
    FROM stepwell.config_of_v1(r.run_id, r.config) c, stepwell.meta_of_v1(r.run_id, r.display_name) n OFFSET 0
) m ON true;
