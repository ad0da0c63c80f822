"""Grafana's queries of a Postgres data source, sent as it sends them: macros expanded to literals, simple protocol."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

import stepwell
from fixtures.commands import running_server
from fixtures.postgres import temporary_directory
from stepwell_ingest.db.cluster import embedded_binaries

pytestmark = pytest.mark.db

#: A macro call. As in Grafana, its arguments end at the first closing parenthesis.
MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")
OTHER_SCHEMAS = (
    "'information_schema', 'pg_catalog', '_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_internal', "
    "'_timescaledb_config', 'timescaledb_information', 'timescaledb_experimental'"
)
IN_SEARCH_PATH = """quote_ident(table_schema) IN (
    SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
    FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
                         array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
         string_to_array(current_setting('search_path'), ',') s)"""
VIEWS = {"runs", "history", "history_objects", "metrics", "summary", "console", "system", "files", "metadata", "alerts"}


class Range(NamedTuple):
    """The time range of a dashboard."""

    begin: datetime
    end: datetime


class Grafana(NamedTuple):
    """A data source: `stepwell up --listen-sql` with its role and password, and the points of its only run."""

    port: int
    password: str
    points: list[tuple[datetime, float]]

    def ask(self, sql: str, shown: Range | None = None) -> list[dict[str, str]]:
        """The rows of a query as texts; macros are replaced for the shown range."""
        sent = MACRO.sub(lambda found: expanded(found, shown), sql) if shown else sql
        done = subprocess.run(
            [
                *(embedded_binaries() / "psql", "--no-psqlrc", "--no-password", "--csv", "--command", sent),
                f"postgresql://stepwell_sql@127.0.0.1:{self.port}/stepwell?sslmode=disable",
            ],
            env={"PATH": os.environ["PATH"], "PGPASSWORD": self.password, "PGTZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))


def expanded(found: re.Match[str], shown: Range) -> str:
    """What Grafana writes in place of a macro, without the TimescaleDB option."""
    column, *more = (argument.strip(" ") for argument in found[2].split(","))
    seconds = {"'1s'": 1, "'5m'": 300, "'1h'": 3600}[more[0]] if more else 0
    begin, end = (f"'{time.strftime('%Y-%m-%dT%H:%M:%S.%f').rstrip('0').rstrip('.')}Z'" for time in shown)
    first, last = (int(time.timestamp()) for time in shown)
    return {
        "__time": f'{column} AS "time"',
        "__timeFilter": f"{column} BETWEEN {begin} AND {end}",
        "__timeFrom": begin,
        "__timeTo": end,
        "__timeGroup": f"floor(extract(epoch from {column})/{seconds})*{seconds}",
        "__timeGroupAlias": f'floor(extract(epoch from {column})/{seconds})*{seconds} AS "time"',
        "__unixEpochFilter": f"{column} >= {first} AND {column} <= {last}",
        "__unixEpochGroupAlias": f'floor(({column})/{seconds})*{seconds} AS "time"',
    }[found[1]]


@pytest.fixture(scope="module")
def grafana(command_environment: Mapping[str, str]) -> Iterator[Grafana]:
    """A server with a run of 40 steps."""
    with (
        temporary_directory() as place,
        running_server(command_environment, place / "data", "--listen-sql", "127.0.0.1:0") as server,
    ):
        with stepwell.init(project="p", id="first", url=server.url, settings={"silent": True}) as run:
            for step in range(40):
                run.log({"loss": step / 8, "other": -1.0})
        found = re.search(r"read postgresql://stepwell_sql@127\.0\.0\.1:(\d+)/stepwell", server.output)
        assert found, server.output
        given = Grafana(int(found[1]), (server.data / "sql-password").read_text().strip(), [])
        rows = given.ask("SELECT time, value FROM history WHERE metric = 'loss' ORDER BY step")
        yield given._replace(points=[(moment(row["time"]), float(row["value"])) for row in rows])


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_time_filter_includes_both_ends(grafana: Grafana) -> None:
    shown = Range(grafana.points[5][0], grafana.points[30][0])
    rows = grafana.ask(
        "SELECT $__time(time), run AS metric, value FROM history "
        "WHERE project = 'p' AND metric = 'loss' AND $__timeFilter(time) ORDER BY time",
        shown,
    )
    assert [(moment(row["time"]), float(row["value"])) for row in rows] == [
        point for point in grafana.points if shown.begin <= point[0] <= shown.end
    ]
    assert {row["metric"] for row in rows} == {"first"}


def test_history_in_time_takes_the_bounds_of_the_dashboard(grafana: Grafana) -> None:
    shown = Range(grafana.points[5][0], grafana.points[30][0])
    rows = grafana.ask(
        "SELECT time, run AS metric, value FROM history_in_time($__timeFrom(), $__timeTo()) "
        "WHERE project = 'p' AND metric = 'loss' ORDER BY time",
        shown,
    )
    assert [(moment(row["time"]), float(row["value"])) for row in rows] == [
        point for point in grafana.points if shown.begin <= point[0] < shown.end
    ]


@pytest.mark.parametrize("interval", [1, 300, 3600])
@pytest.mark.parametrize(
    "source", ["history WHERE $__timeFilter(time)", "history_in_time($__timeFrom(), $__timeTo()) WHERE true"]
)
def test_time_group_counts_each_point_in_its_interval(grafana: Grafana, source: str, interval: int) -> None:
    whole = Range(grafana.points[0][0] - timedelta(hours=1), grafana.points[-1][0] + timedelta(hours=1))
    written = {1: "'1s'", 300: "'5m'", 3600: "'1h'"}[interval]
    rows = grafana.ask(
        f"SELECT $__timeGroupAlias(time, {written}), metric, count(*) AS value FROM {source} AND metric = 'loss' "
        f"GROUP BY $__timeGroup(time, {written}), metric ORDER BY 1",
        whole,
    )
    expected = Counter(int(time.timestamp()) // interval * interval for time, _ in grafana.points)
    assert {float(row["time"]): int(row["value"]) for row in rows} == expected


def test_macros_of_unix_times_take_a_column_of_seconds(grafana: Grafana) -> None:
    shown = Range(grafana.points[0][0] - timedelta(seconds=5), grafana.points[-1][0] + timedelta(seconds=5))
    sql = """SELECT $__unixEpochGroupAlias(seconds, '1s'), avg(value) AS value
             FROM (SELECT extract(epoch FROM time) AS seconds, value FROM history WHERE metric = 'loss') h
             WHERE $__unixEpochFilter(seconds) GROUP BY 1 ORDER BY 1"""
    rows = grafana.ask(sql, shown)
    seconds = {int(time.timestamp()) for time, _ in grafana.points}
    assert [float(row["time"]) for row in rows] == sorted(seconds)
    assert grafana.ask(sql, Range(shown.begin - timedelta(days=2), shown.end - timedelta(days=1))) == []


def test_query_builder_finds_views_and_columns(grafana: Grafana) -> None:
    (version,) = grafana.ask("SELECT current_setting('server_version_num')::int/100 as version")
    assert int(version["version"]) >= 1500
    assert grafana.ask("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'") == []
    tables = grafana.ask(f"""SELECT CASE WHEN {IN_SEARCH_PATH} THEN quote_ident(table_name)
            ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
        FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ({OTHER_SCHEMAS})
        ORDER BY CASE WHEN {IN_SEARCH_PATH} THEN 0 ELSE 1 END, 1""")
    assert {row["table"] for row in tables} >= VIEWS
    columns = grafana.ask(f"""SELECT quote_ident(column_name) AS "column", data_type AS "type"
        FROM information_schema.columns
        WHERE CASE WHEN array_length(parse_ident('history'), 1) = 2
                   THEN quote_ident(table_schema) = (parse_ident('history'))[1]
                        AND quote_ident(table_name) = (parse_ident('history'))[2]
                   ELSE quote_ident(table_name) = 'history' AND {IN_SEARCH_PATH} END""")
    types = {row["column"]: row["type"] for row in columns}
    assert types['"time"'] == "timestamp with time zone"
    assert (types["value"], types["step"], types["metric"]) == ("double precision", "bigint", "text")
