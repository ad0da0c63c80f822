-- The points that a fork shows of its ancestors. The rows of lineage_epoch are written when the fork is created and
-- record what its parent showed then; the ledgers of the ancestors record what the ancestors themselves show now.

CREATE OR REPLACE FUNCTION stepwell.inherit_v1(run_id_ bigint, parent bigint, fork_step bigint) RETURNS void
LANGUAGE plpgsql AS $$
-- Records for a new fork what its parent shows at this moment, up to and including fork_step. The caller has locked the
-- parent.
--   * An epoch that is still being logged to counts up to fork_step, so that the fork does not lose points in flight.
--   * An epoch that has stored no step yet might log steps that the fork has from an older epoch; the older epoch wins.
--   * Later epochs are not recorded: a process that starts after the fork may log any step again.
BEGIN
    INSERT INTO stepwell.lineage (run_id, source_run_id, below_step)
    SELECT run_id_, g.source_run_id, least(g.below_step, fork_step + 1) FROM stepwell.lineage g WHERE g.run_id = parent;
    WITH shown AS (
        SELECT l.run_id, l.writer_id, l.epoch, w.name AS writer, l.visible_below AS below_step, l.last_step,
               NOT l.fenced AND l.first_step IS NULL AS unheard,
               CASE WHEN l.fenced THEN least(l.last_step + 1, l.visible_below)
                    ELSE coalesce(l.visible_below, 9223372036854775807) END AS end_step
        FROM stepwell.ledger l JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
        WHERE l.run_id = parent
        UNION ALL
        SELECT x.source_run_id, x.writer_id, x.epoch, x.writer, x.below_step, NULL, false, x.below_step
        FROM stepwell.lineage_epoch x WHERE x.run_id = parent
    )
    INSERT INTO stepwell.lineage_epoch (run_id, source_run_id, writer_id, epoch, writer, below_step)
    SELECT run_id_, s.run_id, s.writer_id, s.epoch, s.writer, least(s.below_step, fork_step + 1)
    FROM shown s
    WHERE NOT s.unheard
       OR NOT EXISTS (SELECT FROM shown o WHERE o.writer = s.writer AND NOT o.unheard AND o.end_step > s.last_step + 1);
END
$$;

CREATE OR REPLACE FUNCTION stepwell.inherited_below_v1(
    run_id_ bigint, source_run_id_ bigint, writer_id_ integer, epoch_ integer
) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1 AS $$
-- The step below which a fork shows an epoch of an ancestor; −1: it does not show it. With a higher COST, a call of
-- steps_below_v1 with this function as an argument would not be inlined.
BEGIN
    RETURN coalesce((SELECT x.below_step FROM stepwell.lineage_epoch x
                     WHERE x.run_id = run_id_ AND x.source_run_id = source_run_id_ AND x.writer_id = writer_id_
                       AND x.epoch = epoch_), -1);
END
$$;

CREATE OR REPLACE FUNCTION stepwell.shown_below_v1(
    run_id_ bigint, source_run_id_ bigint, writer_id_ integer, epoch_ integer, visible_below bigint
) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- The step below which a run shows an epoch of its own (visible_below of the ledger; NULL: all of it) or of an
    -- ancestor.
    SELECT CASE WHEN run_id_ = source_run_id_ THEN visible_below
                ELSE stepwell.inherited_below_v1(run_id_, source_run_id_, writer_id_, epoch_) END
$$;
