-- The attach of a session, which gives it a run, a writer and an epoch; and the end of a writer.

CREATE OR REPLACE FUNCTION stepwell.find_run_v1(entity_ text, project_ text, run_ text) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT r.run_id FROM stepwell.run r WHERE r.entity = entity_ AND r.project = project_ AND r.name = run_
$$;

CREATE OR REPLACE FUNCTION stepwell.make_run_v1(
    entity_ text, project_ text, run_ text, info_ jsonb, fork_run text, fork_step bigint
) RETURNS bigint
LANGUAGE plpgsql AS $$
-- Creates a run. A fork shows the points that its parent shows now, up to fork_step. Raises ST006 if there is no such
-- parent.
DECLARE
    id     bigint := stepwell.new_run_id_v1();
    parent bigint;
BEGIN
    IF fork_run IS NOT NULL THEN
        -- The lock ensures that a parent is not forked while it is being deleted, nor deleted once it has a fork.
        SELECT r.run_id INTO parent FROM stepwell.run r
        WHERE r.run_id = stepwell.find_run_v1(entity_, project_, fork_run) FOR KEY SHARE;
        IF parent IS NULL THEN
            RAISE EXCEPTION 'run % of %/% does not exist', fork_run, entity_, project_ USING ERRCODE = 'ST006';
        END IF;
    END IF;
    INSERT INTO stepwell.run (run_id, entity, project, name, display_name, config, parent_run_id, fork_step, slot)
    VALUES (id, entity_, project_, run_, coalesce(info_->>'display_name', run_), coalesce(info_->'config', '{}'),
            parent, fork_step,
            -- Two runs that start at the same moment may get the same colour, which only affects charts.
            (SELECT coalesce(max(r.slot) + 1, 0) FROM stepwell.run r WHERE r.entity = entity_ AND r.project = project_));
    INSERT INTO stepwell.lineage (run_id, source_run_id, below_step) VALUES (id, id, NULL);
    IF parent IS NOT NULL THEN
        PERFORM stepwell.inherit_v1(id, parent, fork_step);
    END IF;
    RETURN id;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.rewound_together_v1(
    run_id_ bigint, writer_id_ integer, step_ bigint, started timestamptz, moved_before timestamptz
) RETURNS integer[]
LANGUAGE sql STABLE AS $$
    -- The other writers of a run whose current process has rewound it to this step in the same launch as a process of
    -- writer_id_ that started at `started` and rewinds now. moved_before: when the writer's previous process last
    -- stored something; NULL: there was none. Nothing tells which processes were launched together, so:
    --   * A process that was last heard from 30 s (two heartbeats) before this one started has ended with an earlier launch.
    --   * A writer that has rewound to this step once more often than this one is ahead of it: it belongs to this launch.
    --   * So does a running one whose process started after this writer's previous process had last stored something.
    -- A writer that is left out for lack of evidence is cut; points that it logs from then on are shown.
    SELECT coalesce(array_agg(l.writer_id), '{}')
    FROM stepwell.ledger l
    JOIN stepwell.writer w ON w.run_id = l.run_id AND w.writer_id = l.writer_id
    WHERE l.run_id = run_id_ AND l.writer_id <> writer_id_ AND NOT l.fenced AND l.rewound_to = step_
      AND greatest(w.heartbeat_at, l.moved_at) > started - interval '30 s'
      AND ((SELECT count(*) FROM stepwell.ledger n
            WHERE n.run_id = run_id_ AND n.writer_id = l.writer_id AND n.rewound_to = step_)
           > (SELECT count(*) FROM stepwell.ledger n
              WHERE n.run_id = run_id_ AND n.writer_id = writer_id_ AND n.rewound_to = step_)
           OR (w.state = 'running' AND l.started_at > moved_before))
$$;

CREATE OR REPLACE FUNCTION stepwell.cut_run_v1(run_id_ bigint, writer_id_ integer, step_ bigint, but integer[]) RETURNS void
LANGUAGE plpgsql AS $$
-- Hides points above a step: those of a run's ancestors and of all its writers except those in `but`. The caller has
-- locked the run and its ledger, and has fenced all epochs of writer_id_.
--   * A process that may still be alive continues: its session gets an epoch after the one that is cut, which would otherwise
--     hide its further points. Workers with the old epoch lose their next compare-and-set, and find the new one by the session.
--   * An epoch that has nothing above the step is unchanged.
BEGIN
    INSERT INTO stepwell.ledger (run_id, writer_id, epoch, session, next_seq, last_step, checksums, started_at, moved_at)
    SELECT l.run_id, l.writer_id, l.epoch + 1, l.session, l.next_seq, l.last_step, l.checksums, l.started_at, l.moved_at
    FROM stepwell.ledger l
    WHERE l.run_id = run_id_ AND l.writer_id <> writer_id_ AND l.writer_id <> ALL (but)
      AND NOT l.fenced AND l.first_step IS NOT NULL AND l.last_step > step_;
    UPDATE stepwell.ledger l SET visible_below = least(l.visible_below, step_ + 1), fenced = true
    WHERE l.run_id = run_id_ AND l.writer_id <> ALL (but)
      AND (l.fenced OR (l.first_step IS NOT NULL AND l.last_step > step_));
    UPDATE stepwell.lineage_epoch x SET below_step = step_ + 1 WHERE x.run_id = run_id_ AND x.below_step > step_ + 1;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.end_before_v1(run_id_ bigint, but integer[]) RETURNS bigint
LANGUAGE sql STABLE AS $$
    -- The last step that a run shows, without the current epochs of the writers in `but`; −1 if it shows none. Inherited
    -- epochs count up to their bound, since their points may still arrive.
    SELECT greatest(-1,
        (SELECT max(least(l.last_step, l.visible_below - 1)) FROM stepwell.ledger l
         WHERE l.run_id = run_id_ AND l.first_step < coalesce(l.visible_below, 9223372036854775807)
           AND (l.fenced OR l.writer_id <> ALL (but))),
        (SELECT max(CASE WHEN l.fenced THEN least(l.last_step, x.below_step - 1) ELSE x.below_step - 1 END)
         FROM stepwell.lineage_epoch x
         JOIN stepwell.ledger l ON l.run_id = x.source_run_id AND l.writer_id = x.writer_id AND l.epoch = x.epoch
         WHERE x.run_id = run_id_))
$$;

CREATE OR REPLACE FUNCTION stepwell.is_beside_v1(run_id_ bigint, writer_id_ integer, info_ jsonb) RETURNS boolean
LANGUAGE sql STABLE AS $$
    -- Whether a writer belongs to a connected process that runs a different program from the sender of this info, for
    -- example a trainer when an evaluator attaches. The same program in another process is a restart, which takes the
    -- writer over. A process that was killed is no longer connected, and one whose host was lost sends no more heartbeats.
    SELECT EXISTS (
        SELECT FROM stepwell.writer w
        WHERE w.run_id = run_id_ AND w.writer_id = writer_id_ AND w.state = 'running' AND w.left_at IS NULL
          AND w.heartbeat_at > clock_timestamp() - interval '60 s'
          AND w.info->>'program' <> info_->>'program')
$$;

-- Drops the earlier version, which had no age_s: with both, a call without age_s would be ambiguous. Workers that do not
-- send age_s call the new version.
DROP FUNCTION IF EXISTS stepwell.attach_v1(
    text, text, text, text, uuid, boolean, jsonb, text, bigint, text, bigint
);

CREATE OR REPLACE FUNCTION stepwell.attach_v1(
    entity_ text, project_ text, run_ text, writer_ text, session_ uuid, late boolean, info_ jsonb,
    resume_ text DEFAULT NULL, rewind_to bigint DEFAULT NULL, fork_run text DEFAULT NULL, fork_step_ bigint DEFAULT NULL,
    age_s double precision DEFAULT 0
) RETURNS TABLE (run_id bigint, writer_id integer, writer text, epoch integer, fenced boolean, resumed boolean)
LANGUAGE plpgsql AS $$
-- Finds or creates the run, the writer and the session's epoch.
--   * A known session keeps its epoch, fenced or not.
--   * A new session of a known writer opens the next epoch and fences the older ones. It continues:
--       resume_ 'allow', 'must'   after the last visible step
--       rewind_to N               after step N, or after the last visible step of the run if that is lower; points above
--                                 N are superseded at once, including those of other writers (rewound_together_v1)
--       fork_run, again           after fork_step, like a rewind of the fork to that step
--       neither                   anywhere; its first step, once stored, supersedes all points at or above it
--   * A new session whose process started before that of the writer's current epoch was replaced before it attached. It
--     gets a writer of its own, as a late session does, and continues. `age_s` is the age of its process; ages can be
--     compared although the clocks of hosts differ. Within 2 s, more than a message takes to arrive and less than a
--     scheduler takes to replace a process, the session that attaches last is the newer one. A session that asks where to
--     continue (resume, rewind, fork) waits for the answer before it logs, so it is the newer one, too.
--   * A session also gets a writer of its own if it does not ask where to continue, and the writer belongs to a connected
--     process of another program (is_beside_v1).
--   * A `late` session (a spool delivered after the fact) never takes a writer from another session, and delivers the
--     frames that a fenced session has left: it gets a writer of its own, `<writer>+<first 8 digits of the session>`.
--     Among themselves, late sessions of a writer are restarts of one job: each opens the next epoch, and hides its points
--     from the first step of a session that started later, in whatever order they arrive.
-- The config and names are taken from the first attach of a session; the session sends later changes as notes.
-- `resumed` says whether the writer (not the run: a rank that starts a moment after another one resumes nothing) existed
-- before this session. It is the same for every attach of a session.
-- Raises ST003 (the session belongs to another run), ST004 (resume 'must' or rewind, and there is no such run), ST005
-- (resume 'never', and the run exists), ST006 (no parent to fork), ST007 (the fork's name belongs to another run),
-- ST020 (the session's run was deleted).
#variable_conflict use_column
DECLARE
    id    bigint;
    wid   integer;
    wname text := writer_;
    fresh boolean := false;
    named boolean := false;  -- the name is locked
    start bigint;
    separate boolean := late;   -- it gets a writer of its own if another session has the name
    started timestamptz := clock_timestamp() - make_interval(secs => age_s);   -- taken before any wait
    back_to bigint := rewind_to;   -- the step above which the run is cut; NULL: no cut
    together integer[];            -- the writers that have rewound to it in the same launch
    older boolean := false;  -- a late session that arrived after one that started later
    below bigint;            -- the first step that such sessions have stored
    said  jsonb := info_;    -- the config and names that this session sends
    mine  stepwell.ledger;   -- this session's row
    prior stepwell.ledger;   -- the writer's newest epoch so far
BEGIN
    LOOP
        id := stepwell.find_run_v1(entity_, project_, run_);
        EXIT WHEN id IS NULL AND named;
        PERFORM 1 FROM stepwell.run r WHERE r.run_id = id FOR UPDATE;   -- run first, then writer and ledger: no deadlocks
        EXIT WHEN FOUND;
        -- The run is new, or was deleted while this function waited. The lock for look-up and insert makes (entity,
        -- project, name) unique without a constraint that lacks run_id.
        IF NOT named THEN
            PERFORM stepwell.lock_name_v1(entity_, project_, run_);
            named := true;
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM stepwell.deleted_session d WHERE d.session = session_) THEN
        RAISE EXCEPTION 'session % belongs to a run that was deleted', session_ USING ERRCODE = 'ST020';
    END IF;
    SELECT l.* INTO mine FROM stepwell.ledger l WHERE l.session = session_ ORDER BY l.fenced, l.epoch DESC LIMIT 1;
    IF mine.run_id IS DISTINCT FROM id AND mine.run_id IS NOT NULL THEN
        RAISE EXCEPTION 'session % belongs to another run', session_ USING ERRCODE = 'ST003';
    ELSIF id IS NULL AND (resume_ = 'must' OR rewind_to IS NOT NULL) THEN
        RAISE EXCEPTION 'run % of %/% does not exist', run_, entity_, project_ USING ERRCODE = 'ST004';
    ELSIF resume_ = 'never' AND mine.run_id IS NULL
          -- the writer decides: another rank of the same launch may have created the run
          AND EXISTS (SELECT FROM stepwell.writer w WHERE w.run_id = id AND w.name = writer_) THEN
        RAISE EXCEPTION 'run % of %/% exists already', run_, entity_, project_ USING ERRCODE = 'ST005';
    ELSIF fork_run IS NOT NULL AND mine.run_id IS NULL AND id IS NOT NULL
          -- another rank of the same fork, or the same fork started again, is accepted
          AND NOT EXISTS (SELECT FROM stepwell.run r
                          WHERE r.run_id = id AND r.fork_step = fork_step_
                            AND r.parent_run_id = stepwell.find_run_v1(entity_, project_, fork_run)) THEN
        RAISE EXCEPTION 'run % of %/% is not a fork of % at step %', run_, entity_, project_, fork_run, fork_step_
            USING ERRCODE = 'ST007';
    END IF;
    IF id IS NULL THEN
        id := stepwell.make_run_v1(entity_, project_, run_, info_, fork_run, fork_step_);
        fresh := true;
    END IF;
    IF mine.run_id IS NOT NULL AND NOT (late AND mine.fenced) THEN
        IF NOT mine.fenced AND NOT late THEN
            PERFORM stepwell.revive_v1(id, mine.writer_id);
        END IF;
        RETURN QUERY SELECT id, mine.writer_id, w.name, mine.epoch, mine.fenced,
                            EXISTS (SELECT FROM stepwell.ledger l
                                    WHERE l.run_id = id AND l.writer_id = mine.writer_id AND l.epoch < mine.epoch
                                      AND l.session <> session_)
                     FROM stepwell.writer w WHERE w.run_id = id AND w.writer_id = mine.writer_id;
        RETURN;
    END IF;

    SELECT w.writer_id INTO wid FROM stepwell.writer w WHERE w.run_id = id AND w.name = wname;
    IF resume_ IS NULL AND rewind_to IS NULL AND fork_run IS NULL AND EXISTS (
           SELECT FROM stepwell.ledger l
           WHERE l.run_id = id AND l.writer_id = wid AND NOT l.fenced AND l.started_at > started + interval '2 s') THEN
        separate := true;
    END IF;
    IF resume_ IS NULL AND rewind_to IS NULL AND fork_run IS NULL THEN
        separate := separate OR stepwell.is_beside_v1(id, wid, info_);
    END IF;
    IF late AND EXISTS (SELECT FROM stepwell.ledger l
                        WHERE l.run_id = id AND l.writer_id = wid AND NOT l.fenced AND l.late) THEN
        separate := false;
        SELECT coalesce(bool_or(l.started_at > started), false), min(l.first_step) FILTER (WHERE l.started_at > started)
        INTO older, below
        FROM stepwell.ledger l
        WHERE l.run_id = id AND l.writer_id = wid AND l.late AND l.session <> session_;
    END IF;
    IF separate AND wid IS NOT NULL THEN
        wname := writer_ || '+' || left(session_::text, 8);
        SELECT w.writer_id INTO wid FROM stepwell.writer w WHERE w.run_id = id AND w.name = wname;
    END IF;
    IF wid IS NULL THEN
        SELECT coalesce(max(w.writer_id), 0) + 1 INTO wid FROM stepwell.writer w WHERE w.run_id = id;
        INSERT INTO stepwell.writer (run_id, writer_id, name, info, late)
        VALUES (id, wid, wname, info_ - 'config', late AND wname <> writer_);
    ELSE
        UPDATE stepwell.writer w   -- keeps the `started_at` of its first process, from which `_runtime` counts
        SET info = (info_ - 'config') || CASE
                WHEN jsonb_typeof(w.info->'started_at') = 'number' AND jsonb_typeof(info_->'started_at') = 'number'
                     AND (w.info->>'started_at')::numeric < (info_->>'started_at')::numeric
                THEN jsonb_build_object('started_at', w.info->'started_at') ELSE '{}' END,
            attached_at = clock_timestamp()
        WHERE w.run_id = id AND w.writer_id = wid;
    END IF;
    IF NOT late THEN
        PERFORM stepwell.revive_v1(id, wid);
    END IF;

    IF rewind_to IS NOT NULL OR fork_run IS NOT NULL THEN   -- lock all rows in the order in which batches do
        PERFORM 1 FROM stepwell.ledger l WHERE l.run_id = id ORDER BY l.writer_id, l.epoch FOR UPDATE;
    END IF;
    -- The row lock waits for a commit of the older epoch in progress; after it, the older epoch cannot move.
    SELECT l.* INTO prior FROM stepwell.ledger l
    WHERE l.run_id = id AND l.writer_id = wid ORDER BY l.epoch DESC LIMIT 1 FOR UPDATE;
    UPDATE stepwell.ledger l SET fenced = true WHERE l.run_id = id AND l.writer_id = wid AND NOT l.fenced;
    IF fork_run IS NOT NULL AND prior.run_id IS NOT NULL THEN
        back_to := fork_step_;
    END IF;
    IF back_to IS NOT NULL THEN
        together := stepwell.rewound_together_v1(id, wid, back_to, started, prior.moved_at);
        PERFORM stepwell.cut_run_v1(id, wid, back_to, together);
        start := CASE WHEN fork_run IS NULL THEN least(back_to, stepwell.end_before_v1(id, together)) END;
    ELSIF resume_ IN ('allow', 'must') THEN
        -- A fork's writer that has logged nothing yet continues after the points of its ancestors.
        start := greatest((SELECT max(least(l.last_step, l.visible_below - 1)) FROM stepwell.ledger l
                           WHERE l.run_id = id AND l.writer_id = wid
                             AND l.first_step < coalesce(l.visible_below, 9223372036854775807)),
                          (SELECT max(x.below_step) - 1 FROM stepwell.lineage_epoch x
                           WHERE x.run_id = id AND x.writer = wname));
    END IF;
    IF fork_step_ IS NOT NULL THEN
        start := coalesce(start, fork_step_);
    END IF;
    IF older THEN   -- keeps the later changes of other sessions
        said := jsonb_build_object('started_at', info_->'started_at', 'config',
            stepwell.object_v1(info_->'config') - ARRAY(SELECT jsonb_object_keys(stepwell.run_config_v1(id))));
    END IF;
    INSERT INTO stepwell.ledger (run_id, writer_id, epoch, session, next_seq, last_step, rewound_to, checksums,
                                 started_at, visible_below, late)
    VALUES (id, wid, coalesce(prior.epoch, 0) + 1, session_, coalesce(mine.next_seq, 0),
            coalesce(start, mine.last_step, -1), coalesce(rewind_to, fork_step_), coalesce(mine.checksums, ''),
            started, below, late);
    PERFORM stepwell.note_attach_v1(
        id, wid, coalesce(prior.epoch, 0) + 1, coalesce(start, mine.last_step, -1) + 1, said, prior.run_id IS NOT NULL);
    RETURN QUERY SELECT id, wid, wname, coalesce(prior.epoch, 0) + 1, false, prior.run_id IS NOT NULL;
END
$$;

CREATE OR REPLACE FUNCTION stepwell.attach_all_v2(
    entities text[], projects text[], runs text[], writers text[], sessions uuid[], late boolean[], infos text[],
    ages_s double precision[]
) RETURNS TABLE (ord integer, run_id bigint, writer_id integer, writer text, epoch integer, fenced boolean,
                 resumed boolean)
LANGUAGE plpgsql AS $$
-- `attach_v1` for many sessions in one transaction; none of them may ask where to continue. A session whose attach fails
-- has no row in the result: the caller attaches it alone, and gets the error. Existing runs and writers are locked in the
-- order of their keys, as elsewhere; new ones, which no other session can have locked, in the order of their names.
-- The caller sets a lock_timeout; only the first session of a run waits that long. A session whose run is locked gets a
-- row without a run_id.
#variable_conflict use_column
DECLARE
    i      integer;
    locked text[] := '{}';
BEGIN
    FOR i IN
        SELECT u.i
        FROM (SELECT n.i, stepwell.find_run_v1(entities[n.i], projects[n.i], runs[n.i]) AS id
              FROM generate_subscripts(sessions, 1) AS n (i)) u
        LEFT JOIN stepwell.writer w ON w.run_id = u.id AND w.name = writers[u.i]
        ORDER BY u.id NULLS LAST, w.writer_id NULLS LAST, entities[u.i], projects[u.i], runs[u.i], u.i
    LOOP
        BEGIN
            IF concat_ws(E'\x01', entities[i], projects[i], runs[i]) = ANY (locked) THEN
                RAISE EXCEPTION 'locked' USING ERRCODE = '55P03';
            END IF;
            RETURN QUERY SELECT i, a.* FROM stepwell.attach_v1(
                entities[i], projects[i], runs[i], writers[i], sessions[i], late[i], infos[i]::jsonb,
                age_s => ages_s[i]) a;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                locked := locked || concat_ws(E'\x01', entities[i], projects[i], runs[i]);
                IF cardinality(locked) > 2 THEN   -- the waits for many locked runs must not add up
                    PERFORM set_config('lock_timeout', '1ms', true);
                END IF;
                RETURN QUERY SELECT i, NULL::bigint, NULL::integer, NULL::text, NULL::integer, NULL::boolean, NULL::boolean;
            WHEN OTHERS THEN
                NULL;
        END;
    END LOOP;
END
$$;
