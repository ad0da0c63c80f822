"""The queries of `bench_sql.py`: typical queries of Stepwell, and their equivalents over a table with a row per point.

A query may have a third form, `better`: the one that docs/sql.md recommends where the plain view is not the fastest.
All forms of a query return the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Placeholders for project, run and time, which `bench_sql.py` replaces.
_LARGE = "project = 'large'"
_LONG = "(SELECT run_id FROM stepwell.run WHERE name = 'long')"
_PLAIN_LONG = "(SELECT run_id FROM bench.run WHERE name = 'long')"
_WIDE = "(SELECT run_id FROM stepwell.run WHERE name = 'wide-0')"
_PLAIN_WIDE = "(SELECT run_id FROM bench.run WHERE name = 'wide-0')"
_FRESH = "(SELECT run_id FROM stepwell.run WHERE name = 'fresh')"
_PLAIN_FRESH = "(SELECT run_id FROM bench.run WHERE name = 'fresh')"
#: Placeholders for the times at which the newest hundredth of the data and the newest run begin. They are replaced by
#: values, as dashboards send them: if an argument is a subquery, Postgres does not inline a function. Not now(): the
#: longest run may have points in the future, and all forms of a query must have the same bounds.
SINCE, UNTIL = "'$SINCE'::timestamptz", "'$UNTIL'::timestamptz"
#: The values that replace them.
TIMES_QUERY = """SELECT max(created_at) - (max(created_at) - min(created_at)) / 100 AS since, max(created_at) AS until
                 FROM bench.run"""
_LAST = """(SELECT p.value FROM bench.point p WHERE p.run_id = r.run_id AND p.metric = '{0}'
           ORDER BY p.step DESC LIMIT 1)"""


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        name: a description of the query.
        stepwell: the query over the views and functions of the SQL contract.
        plain: the query over `bench.run` and `bench.point`; empty: no equivalent.
        better: the form that docs/sql.md recommends; empty: none.
    """

    name: str
    stepwell: str
    plain: str = ""
    better: str = ""


def placed(sql: str, since: object, until: object) -> str:
    """A query with times in place of the placeholders."""
    return sql.replace("$SINCE", str(since)).replace("$UNTIL", str(until))


QUERIES = (
    Query(
        "leaderboard: a project's runs by the last value of a metric",
        f"SELECT run, value::float8 FROM stepwell.summary WHERE {_LARGE} AND key = 'val/loss' ORDER BY 2",
        f"SELECT name, {_LAST.format('val/loss')} AS value FROM bench.run r WHERE {_LARGE} ORDER BY 2",
        f"SELECT run, number FROM stepwell.summary WHERE {_LARGE} AND key = 'val/loss' ORDER BY 2",
    ),
    Query(
        "leaderboard: a summary that define_metric makes of a fifth of the runs",
        f"SELECT run, value::text FROM stepwell.summary WHERE {_LARGE} AND key = 'val/acc'",
        f"""SELECT name, CASE WHEN acc_max THEN (SELECT jsonb_build_object('max', max(p.value)) FROM bench.point p
                 WHERE p.run_id = r.run_id AND p.metric = 'val/acc') ELSE to_jsonb({_LAST.format("val/acc")}) END::text
            FROM bench.run r WHERE {_LARGE}""",
    ),
    Query(
        "a page of 50 runs ordered by a summary value",
        f"""SELECT r.run, r.state, r.config::text, s.value::float8
            FROM stepwell.runs r JOIN stepwell.summary s ON s.run_id = r.run_id AND s.key = 'val/loss'
            WHERE r.{_LARGE} ORDER BY s.value DESC, r.run LIMIT 50 OFFSET 100""",
        f"""SELECT r.name, r.state, r.config::text, v.value
            FROM bench.run r CROSS JOIN LATERAL (SELECT {_LAST.format("val/loss")} AS value) v
            WHERE r.{_LARGE} ORDER BY v.value DESC, r.name LIMIT 50 OFFSET 100""",
        f"""SELECT r.run, r.state, r.config::text, s.number
            FROM (SELECT run_id, run, number FROM stepwell.summary WHERE {_LARGE} AND key = 'val/loss'
                  ORDER BY number DESC, run LIMIT 50 OFFSET 100) s
            JOIN stepwell.runs r USING (run_id) ORDER BY s.number DESC, r.run""",
    ),
    Query(
        "a page of 50 runs with their summaries",
        f"""SELECT s.run, s.key, s.value::text FROM (SELECT run_id FROM stepwell.runs WHERE {_LARGE}
                                                ORDER BY run DESC LIMIT 50 OFFSET 60) r
            JOIN stepwell.summary s USING (run_id) WHERE s.key NOT LIKE E'\\\\_%' AND s.key <> 'val/acc'""",
        f"""SELECT DISTINCT ON (r.name, p.metric) r.name, p.metric, to_jsonb(p.value)::text
            FROM (SELECT * FROM bench.run WHERE {_LARGE} ORDER BY name DESC LIMIT 50 OFFSET 60) r
            JOIN bench.point p USING (run_id) WHERE p.metric <> 'val/acc' ORDER BY r.name, p.metric, p.step DESC""",
    ),
    Query(
        "best run by min(val/loss) with config",
        f"""SELECT r.run, r.config->>'lr', min(h.value) FROM stepwell.history h JOIN stepwell.runs r USING (run_id)
            WHERE r.{_LARGE} AND h.metric = 'val/loss' GROUP BY r.run, r.config ORDER BY 3 LIMIT 10""",
        f"""SELECT r.name, r.config->>'lr', min(p.value) FROM bench.point p JOIN bench.run r USING (run_id)
            WHERE r.{_LARGE} AND p.metric = 'val/loss' GROUP BY r.name, r.config ORDER BY 3 LIMIT 10""",
    ),
    Query(
        "runs by a path in config and a tag",
        'SELECT run FROM stepwell.runs WHERE config @> \'{"model": {"name": "m3"}}\' AND \'best\' = ANY (tags)',
        'SELECT name FROM bench.run WHERE config @> \'{"model": {"name": "m3"}}\' AND \'best\' = ANY (tags)',
    ),
    Query(
        "by group to history",
        f"""SELECT h.run, avg(h.value) FROM stepwell.runs r JOIN stepwell.history h USING (run_id)
            WHERE r.{_LARGE} AND r.run_group = 'g3' AND h.metric = 'train/loss' GROUP BY 1""",
        f"""SELECT r.name, avg(p.value) FROM bench.run r JOIN bench.point p USING (run_id)
            WHERE r.{_LARGE} AND r.run_group = 'g3' AND p.metric = 'train/loss' GROUP BY 1""",
    ),
    Query(
        "by tag to history",
        f"""SELECT h.run, count(*) FROM stepwell.runs r JOIN stepwell.history h USING (run_id)
            WHERE r.{_LARGE} AND 'best' = ANY (r.tags) AND h.metric = 'train/loss' GROUP BY 1""",
        f"""SELECT r.name, count(*) FROM bench.run r JOIN bench.point p USING (run_id)
            WHERE r.{_LARGE} AND 'best' = ANY (r.tags) AND p.metric = 'train/loss' GROUP BY 1""",
    ),
    Query("all runs", "SELECT * FROM stepwell.runs"),
    Query(
        "slope over the last 1,000 steps of the longest run",
        f"""SELECT regr_slope(value, step) FROM (SELECT value, step FROM stepwell.history
            WHERE run_id = {_LONG} AND metric = 'train/loss' ORDER BY step DESC LIMIT 1000) h""",
        f"""SELECT regr_slope(value, step) FROM (SELECT value, step FROM bench.point
            WHERE run_id = {_PLAIN_LONG} AND metric = 'train/loss' ORDER BY step DESC LIMIT 1000) p""",
        f"SELECT regr_slope(value, step) FROM stepwell.history_last({_LONG}, 'train/loss', 1000)",
    ),
    Query(
        "the newest 10 points of the longest run",
        f"""SELECT step, value FROM stepwell.history WHERE run_id = {_LONG} AND metric = 'train/loss'
            ORDER BY step DESC LIMIT 10""",
        f"""SELECT step, value FROM bench.point WHERE run_id = {_PLAIN_LONG} AND metric = 'train/loss'
            ORDER BY step DESC LIMIT 10""",
        f"SELECT step, value FROM stepwell.history_last({_LONG}, 'train/loss', 10)",
    ),
    Query(
        "history_sample of a metric over a project, 100 buckets",
        f"""SELECT r.run, s.bucket_step, s.count, s.min, s.max, s.mean FROM stepwell.runs r
            CROSS JOIN LATERAL stepwell.history_sample(r.run_id, 'train/loss', 100) s WHERE r.{_LARGE}""",
        f"""SELECT r.name, p.step >> 1 << 1, count(*), min(p.value), max(p.value), avg(p.value)
            FROM bench.run r JOIN bench.point p USING (run_id)
            WHERE r.{_LARGE} AND p.metric = 'train/loss' GROUP BY 1, 2""",
        f"""SELECT r.name, s.bucket_step, s.count, s.min, s.max, s.mean
            FROM stepwell.history_samples((SELECT array_agg(run_id) FROM stepwell.run WHERE {_LARGE}),
                                         '{{train/loss}}', 100) s JOIN stepwell.run r USING (run_id)""",
    ),
    Query(
        "history_samples of a metric over a project, 200 buckets",
        f"""SELECT r.name, s.bucket_step, s.count, s.min, s.max, s.mean
            FROM stepwell.history_samples((SELECT array_agg(run_id) FROM stepwell.run WHERE {_LARGE}),
                                         '{{train/loss}}', 200) s JOIN stepwell.run r USING (run_id)""",
        f"""SELECT r.name, p.step, count(*), min(p.value), max(p.value), avg(p.value)
            FROM bench.run r JOIN bench.point p USING (run_id)
            WHERE r.{_LARGE} AND p.metric = 'train/loss' GROUP BY 1, 2""",
    ),
    Query(
        "metrics of a wide run with their first and last steps",
        f"SELECT name, first_step, last_step FROM stepwell.metrics WHERE run_id = {_WIDE}",
        f"SELECT metric, min(step), max(step) FROM bench.point WHERE run_id = {_PLAIN_WIDE} GROUP BY 1",
    ),
    Query(
        "wide pivot: all metrics of a run by step",
        f"""SELECT step, count(*), md5(string_agg(metric || value, ' ' ORDER BY metric)) FROM stepwell.history
            WHERE run_id = {_WIDE} GROUP BY 1""",
        f"""SELECT step, count(*), md5(string_agg(metric || value, ' ' ORDER BY metric)) FROM bench.point
            WHERE run_id = {_PLAIN_WIDE} GROUP BY 1""",
    ),
    Query(
        "summary of a wide run",
        f"SELECT key, value::float8 FROM stepwell.summary WHERE run_id = {_WIDE} AND key LIKE 'wide%'",
        f"""SELECT DISTINCT ON (metric) metric, value FROM bench.point WHERE run_id = {_PLAIN_WIDE}
            ORDER BY metric, step DESC""",
    ),
    Query(
        "since I last looked: how many points a project has logged",
        f"SELECT run, count(*) FROM stepwell.history WHERE {_LARGE} AND time > {SINCE} GROUP BY 1",
        f"""SELECT r.name, count(*) FROM bench.run r JOIN bench.point p USING (run_id)
            WHERE r.{_LARGE} AND p.time > {SINCE} GROUP BY 1""",
        f"""SELECT run, count(*) FROM stepwell.history_in_time({SINCE}, NULL)
            WHERE {_LARGE} AND time > {SINCE} GROUP BY 1""",
    ),
    Query(
        "Grafana: a metric of all runs in a range of time",
        f"""SELECT date_trunc('minute', time), avg(value) FROM stepwell.history
            WHERE metric = 'train/loss' AND time BETWEEN {SINCE} AND {UNTIL} GROUP BY 1""",
        f"""SELECT date_trunc('minute', time), avg(value) FROM bench.point
            WHERE metric = 'train/loss' AND time BETWEEN {SINCE} AND {UNTIL} GROUP BY 1""",
        f"""SELECT date_trunc('minute', time), avg(value)
            FROM stepwell.history_in_time({SINCE}, {UNTIL} + interval '1 us') WHERE metric = 'train/loss' GROUP BY 1""",
    ),
    Query(
        "a new name at each step, hot: how many points",
        f"SELECT count(*) FROM stepwell.history WHERE run_id = {_FRESH}",
        f"SELECT count(*) FROM bench.point WHERE run_id = {_PLAIN_FRESH}",
    ),
    Query(
        "one metric of one run",
        """SELECT step, value FROM stepwell.history
           WHERE project = 'small-1' AND run = 'small-1-00007' AND metric = 'val/loss'""",
        """SELECT p.step, p.value FROM bench.run r JOIN bench.point p USING (run_id)
           WHERE r.project = 'small-1' AND r.name = 'small-1-00007' AND p.metric = 'val/loss'""",
    ),
    Query(
        "64 writers: mean by step",
        """SELECT step, avg(value) FROM stepwell.history WHERE project = 'special' AND run = 'writers'
           AND metric = 'rank/time' GROUP BY 1""",
        """SELECT p.step, avg(p.value) FROM bench.run r JOIN bench.point p USING (run_id)
           WHERE r.name = 'writers' AND p.metric = 'rank/time' GROUP BY 1""",
    ),
)
