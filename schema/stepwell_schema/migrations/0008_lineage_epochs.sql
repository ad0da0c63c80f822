-- What a fork shows of its ancestors is settled when it is made: later rewinds and restarts of theirs are their own affair.

-- One row an epoch of an ancestor that the fork shows points of: those below below_step. Written with the fork, from what
-- its parent showed then (functions/lineage.sql). Goes down when the fork itself is rewound below it, or logs the writer's
-- steps again; never for anything that happens to the ancestor. An epoch without a row is not shown: it came later.
CREATE TABLE stepwell.lineage_epoch (
    run_id        bigint  NOT NULL,   -- the fork
    source_run_id bigint  NOT NULL,
    writer_id     integer NOT NULL,
    epoch         integer NOT NULL,
    writer        text    NOT NULL,   -- its name: the fork's writer of that name goes on with it
    below_step    bigint  NOT NULL,
    PRIMARY KEY (run_id, source_run_id, writer_id, epoch)
);

-- Forks that are there already keep what they show now; parents before their forks. Where a fork has logged steps that it
-- shows of its parent, too, its own count from the first of them on. As functions/lineage.sql does it.
DO $$
DECLARE
    fork record;
BEGIN
    FOR fork IN SELECT r.run_id, r.parent_run_id, r.fork_step
                FROM stepwell.run r
                WHERE r.parent_run_id IS NOT NULL
                ORDER BY (SELECT count(*) FROM stepwell.lineage g WHERE g.run_id = r.run_id), r.run_id LOOP
        WITH shown AS (
            SELECT l.run_id, l.writer_id, l.epoch, w.name AS writer, l.visible_below AS below_step, l.last_step,
                   NOT l.fenced AND l.first_step IS NULL AS unheard,
                   CASE WHEN l.fenced THEN least(l.last_step + 1, l.visible_below)
                        ELSE coalesce(l.visible_below, 9223372036854775807) END AS end_step
            FROM stepwell.ledger l JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
            WHERE l.run_id = fork.parent_run_id
            UNION ALL
            SELECT x.source_run_id, x.writer_id, x.epoch, x.writer, x.below_step, NULL, false, x.below_step
            FROM stepwell.lineage_epoch x WHERE x.run_id = fork.parent_run_id
        )
        INSERT INTO stepwell.lineage_epoch (run_id, source_run_id, writer_id, epoch, writer, below_step)
        SELECT fork.run_id, s.run_id, s.writer_id, s.epoch, s.writer, least(s.below_step, fork.fork_step + 1, own.first_step)
        FROM shown s
        LEFT JOIN LATERAL (
            SELECT min(least(l.first_step, l.rewound_to + 1)) AS first_step
            FROM stepwell.writer w JOIN stepwell.ledger l ON l.run_id = w.run_id AND l.writer_id = w.writer_id
            WHERE w.run_id = fork.run_id AND w.name = s.writer
        ) own ON true
        WHERE NOT s.unheard
           OR NOT EXISTS (SELECT FROM shown o WHERE o.writer = s.writer AND NOT o.unheard AND o.end_step > s.last_step + 1);
    END LOOP;
END
$$;
