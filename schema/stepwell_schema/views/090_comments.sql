-- Descriptions that \d+ and dashboards show, in the words of docs/sql.md (tests/schema/test_sql_docs.py compares them).

COMMENT ON VIEW stepwell.runs IS 'One row per run';
COMMENT ON COLUMN stepwell.runs.entity IS 'a team or a person';
COMMENT ON COLUMN stepwell.runs.run IS 'the run''s id, unique in its project';
COMMENT ON COLUMN stepwell.runs.display_name IS 'what pages show';
COMMENT ON COLUMN stepwell.runs.state IS 'running, finished, failed or crashed';
COMMENT ON COLUMN stepwell.runs.config IS 'the config, with later changes';
COMMENT ON COLUMN stepwell.runs.finished_at IS 'NULL while it runs';
COMMENT ON COLUMN stepwell.runs.exit_code IS 'NULL while it runs, and after a crash';
COMMENT ON COLUMN stepwell.runs.last_step IS 'the highest step that is shown; NULL: there is none';
COMMENT ON COLUMN stepwell.runs.points IS 'stored values that are numbers, superseded ones included';
COMMENT ON COLUMN stepwell.runs.objects IS 'stored values that are not numbers, media included';
COMMENT ON COLUMN stepwell.runs.rejected IS 'frames that were refused permanently';
COMMENT ON COLUMN stepwell.runs.writers IS 'processes that have logged to it';
COMMENT ON COLUMN stepwell.runs.run_id IS 'the key in all other views; ids ascend with the time of creation';
COMMENT ON COLUMN stepwell.runs.parent IS 'of a fork: the run that it was forked from';
COMMENT ON COLUMN stepwell.runs.fork_step IS 'of a fork: the last step that it shares with its parent';
COMMENT ON COLUMN stepwell.runs.notes IS 'what people have written about it';
COMMENT ON COLUMN stepwell.runs.run_group IS 'the group in which it was started';
COMMENT ON COLUMN stepwell.runs.host IS 'the host of the first writer';
COMMENT ON COLUMN stepwell.runs.heartbeat_at IS 'when the server last heard from any of its writers';
COMMENT ON COLUMN stepwell.runs.archived_at IS 'when it was archived, which hides it from the usual lists; NULL: it is not';

COMMENT ON VIEW stepwell.history IS 'One row per point: one value of one metric at one step of one writer';
COMMENT ON COLUMN stepwell.history.entity IS 'of the run';
COMMENT ON COLUMN stepwell.history.project IS 'of the run';
COMMENT ON COLUMN stepwell.history.run IS 'the run that shows the point';
COMMENT ON COLUMN stepwell.history.writer IS 'the process that logged it: a rank or a name';
COMMENT ON COLUMN stepwell.history.time IS 'microseconds';
COMMENT ON COLUMN stepwell.history.value IS 'the logged value, bit for bit';

COMMENT ON VIEW stepwell.history_superseded IS 'The points that a later epoch of their writer has superseded, by a restart from an earlier step or by a rewind';
COMMENT ON COLUMN stepwell.history_superseded.entity IS 'as in history';
COMMENT ON COLUMN stepwell.history_superseded.epoch IS '1 for the first process of the writer, 2 for the next';

COMMENT ON VIEW stepwell.history_objects IS 'One row per logged value that is not a number';
COMMENT ON COLUMN stepwell.history_objects.entity IS 'as in history';
COMMENT ON COLUMN stepwell.history_objects.key IS 'the name under which it was logged';

COMMENT ON VIEW stepwell.rejections IS 'One row per frame that was refused permanently: some steps of one writer';
COMMENT ON COLUMN stepwell.rejections.entity IS 'as in history';
COMMENT ON COLUMN stepwell.rejections.seq IS 'the number of the frame in its epoch';
COMMENT ON COLUMN stepwell.rejections.code IS 'the reason, for programs';
COMMENT ON COLUMN stepwell.rejections.message IS 'the reason, for people';
COMMENT ON COLUMN stepwell.rejections.points IS 'how many values were in it';
COMMENT ON COLUMN stepwell.rejections.first_step IS 'NULL: the frame had no step';

COMMENT ON VIEW stepwell.summary IS 'One row per summary value of a run: the last value of a key, its aggregate from define_metric, or a value that was set by hand';
COMMENT ON COLUMN stepwell.summary.entity IS 'as in history';
COMMENT ON COLUMN stepwell.summary.key IS 'the metric; nested values have dotted paths';
COMMENT ON COLUMN stepwell.summary.value IS 'NaN and the infinities are strings';
COMMENT ON COLUMN stepwell.summary.number IS 'the value as a number, NaN and the infinities included; NULL: it is not a number';

COMMENT ON VIEW stepwell.definitions IS 'One row per name that define_metric was called for';
COMMENT ON COLUMN stepwell.definitions.entity IS 'as in history';
COMMENT ON COLUMN stepwell.definitions.name IS 'the name of a metric, or a glob';
COMMENT ON COLUMN stepwell.definitions.is_glob IS 'whether the name ends in a star that matches any text';
COMMENT ON COLUMN stepwell.definitions.step_metric IS 'the metric for the x-axis; NULL: the step';
COMMENT ON COLUMN stepwell.definitions.step_sync IS 'whether each row gets the latest value of the step metric';
COMMENT ON COLUMN stepwell.definitions.summary IS 'which summaries are kept: min, max, mean, last and so on';
COMMENT ON COLUMN stepwell.definitions.goal IS 'minimize or maximize; NULL: not given';

COMMENT ON VIEW stepwell.metrics IS 'One row per metric of a run, and of the runs that it was forked from';
COMMENT ON COLUMN stepwell.metrics.entity IS 'as in history';
COMMENT ON COLUMN stepwell.metrics.first_step IS 'NULL: all its points are superseded';
COMMENT ON FUNCTION stepwell.history_between(min_step bigint, max_step bigint) IS
    'The view history, limited to some steps: these bounds reach the indexes in hot and sealed data';
COMMENT ON FUNCTION stepwell.history_in_time(from_time timestamptz, to_time timestamptz) IS
    'The view history, limited to points that were logged in a range of time: these bounds reach an index';
COMMENT ON FUNCTION stepwell.history_wide(run_id bigint, metrics text[], min_step bigint, max_step bigint) IS
    'One row per step at which any of the metrics was logged, ordered by writer and step';
COMMENT ON FUNCTION stepwell.history_sample(run_id bigint, metric text, buckets integer, min_step bigint, max_step bigint) IS
    'One metric in at most buckets buckets per writer: nothing is sampled, every point is in exactly one bucket';
COMMENT ON FUNCTION stepwell.history_samples(run_ids bigint[], metrics text[], buckets integer, min_step bigint, max_step bigint) IS
    'history_sample for several metrics of several runs';
COMMENT ON FUNCTION stepwell.history_last(run_id bigint, metric text, n integer) IS
    'The n points of a metric with the highest steps, highest first; reads only the end of the history';
COMMENT ON FUNCTION stepwell.history_position(run_id bigint) IS
    'How much of a run is stored now, as one jsonb value for history_asof';
COMMENT ON FUNCTION stepwell.history_asof("position" jsonb, only_metric text) IS
    'The view history of one run as it was when history_position was called: always the same points, whatever is logged, restarted, rewound or sealed later (deleting is the exception)';

COMMENT ON VIEW stepwell.console IS 'One row per line that a process of the run has printed';
COMMENT ON COLUMN stepwell.console.entity IS 'of the run';
COMMENT ON COLUMN stepwell.console.project IS 'of the run';
COMMENT ON COLUMN stepwell.console.writer IS 'the process: a rank or a name';
COMMENT ON COLUMN stepwell.console.time IS 'when the line ended';
COMMENT ON COLUMN stepwell.console.stream IS 'stdout or stderr';
COMMENT ON COLUMN stepwell.console.epoch IS '1 for the first process of the writer, 2 for the next';
COMMENT ON COLUMN stepwell.console.number IS 'the number of the line in its process, from 0';
COMMENT ON COLUMN stepwell.console.line IS 'without the line ending';

COMMENT ON VIEW stepwell.system IS 'One row per number that was measured on the host of a writer';
COMMENT ON COLUMN stepwell.system.entity IS 'of the run';
COMMENT ON COLUMN stepwell.system.project IS 'of the run';
COMMENT ON COLUMN stepwell.system.writer IS 'the process: a rank or a name';
COMMENT ON COLUMN stepwell.system.metric IS 'system/cpu, system/memory, system/gpu/0/load, …';
COMMENT ON COLUMN stepwell.system.time IS 'when it was measured';
COMMENT ON COLUMN stepwell.system.value IS 'percent; bytes where the name contains bytes, per second with _s, watts with _w';

COMMENT ON VIEW stepwell.metadata IS 'One row per writer: its origin';
COMMENT ON COLUMN stepwell.metadata.entity IS 'of the run';
COMMENT ON COLUMN stepwell.metadata.project IS 'of the run';
COMMENT ON COLUMN stepwell.metadata.writer IS 'the process: a rank or a name';
COMMENT ON COLUMN stepwell.metadata.metadata IS 'arguments, program, python, os, host, user, git, packages and so on, as far as they are known';

COMMENT ON VIEW stepwell.files IS 'One row per file that the program has saved: the newest content of each name';
COMMENT ON COLUMN stepwell.files.entity IS 'of the run';
COMMENT ON COLUMN stepwell.files.project IS 'of the run';
COMMENT ON COLUMN stepwell.files.writer IS 'the process: a rank or a name';
COMMENT ON COLUMN stepwell.files.name IS 'the path below the base_path of run.save';
COMMENT ON COLUMN stepwell.files.sha256 IS '64 hexadecimal digits';
COMMENT ON COLUMN stepwell.files.size IS 'bytes';
COMMENT ON COLUMN stepwell.files.time IS 'when it was copied';

COMMENT ON VIEW stepwell.alerts IS 'One row per alert';
COMMENT ON COLUMN stepwell.alerts.entity IS 'of the run';
COMMENT ON COLUMN stepwell.alerts.project IS 'of the run';
COMMENT ON COLUMN stepwell.alerts.writer IS 'the process: a rank or a name';
COMMENT ON COLUMN stepwell.alerts.step IS 'the step that was open';
COMMENT ON COLUMN stepwell.alerts.level IS 'INFO, WARN or ERROR';
COMMENT ON COLUMN stepwell.alerts.wait_duration_s IS 'within this time, a notifier need not repeat the same title';
