"""The commands as users run them: real processes, a real server, and the output on the terminal."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fixtures.commands import Run, Server
from stepwell_ingest.commands.addresses import reserved_port

pytestmark = pytest.mark.db

LOG_1000 = """
    import os, signal, time, stepwell
    run = stepwell.init(project="p", id=os.environ["ID"], config={"lr": 0.5})
    for step in range(1000):
        run.log({"loss": step / 8, "accuracy": 1.0})
    run.log({"note": "the end"})
    if os.environ.get("KILL"):
        while not any(path.stat().st_size > 10_000 for path in __import__("pathlib").Path(".").rglob("*.seg")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture
def train(command_environment: dict[str, str], tmp_path: Path) -> Callable[..., int]:
    """Runs a training script that logs 1,000 steps; returns its exit code."""

    def run(script: str = LOG_1000, **variables: str) -> int:
        environment = command_environment | {"STEPWELL_SILENT": "1"} | variables
        command = [sys.executable, "-c", textwrap.dedent(script)]
        return subprocess.run(command, env=environment, cwd=tmp_path, timeout=60).returncode

    return run


@pytest.fixture
def ask(stepwell_command: Run, server: Server) -> Callable[[str], list[dict[str, object]]]:
    """The rows of a query."""

    def rows(query: str) -> list[dict[str, object]]:
        done = stepwell_command("sql", query, "--format", "json", "--data", server.data)
        assert done.returncode == 0, done.stderr
        answer: list[dict[str, object]] = json.loads(done.stdout)
        return answer

    return rows


def spools(place: Path) -> list[Path]:
    return sorted(place.rglob("*.seg"))


class TestOverview:
    def test_help_lists_the_commands(self, stepwell_command: Run) -> None:
        done = stepwell_command()
        assert done.returncode == 0
        for name in ("up", "demo", "sql", "delete", "login", "keys", "status", "sync"):
            assert f"\n  {name}" in done.stdout

    def test_version(self, stepwell_command: Run) -> None:
        assert stepwell_command("--version").stdout.startswith("stepwell 0.")

    def test_unknown_command(self, stepwell_command: Run) -> None:
        done = stepwell_command("upp")
        assert done.returncode == 1
        hint = "the commands are up, demo, open, sql, delete, login, keys, status, sync"
        assert done.stderr == f"stepwell: there is no command 'upp'\n  Hint: {hint}\n"

    def test_missing_dependency_of_the_server(self, stepwell_command: Run, tmp_path: Path) -> None:
        (tmp_path / "asyncpg.py").write_text("raise ModuleNotFoundError(\"No module named 'asyncpg'\", name='asyncpg')")
        done = stepwell_command("sql", "SELECT 1", cwd=tmp_path)
        assert done.returncode == 1
        assert "Python finds no module named asyncpg" in done.stderr
        assert "Hint: pip install 'stepwell[server]'" in done.stderr
        assert "Traceback" not in done.stderr


class TestUp:
    def test_up_prints_addresses_and_next_steps(self, server: Server) -> None:
        assert f"  listens on   {server.url}\n" in server.output
        assert f"  the data is  in {server.data / 'postgres'}\n" in server.output
        assert f"export STEPWELL_URL={server.url}" in server.output
        assert "stepwell sql" in server.output
        assert "WARNING" not in server.output
        assert (server.data / "server.json").stat().st_mode & 0o777 == 0o600

    def test_sigterm_drains_and_leaves_no_process(self, start_server: Callable[..., Server], data_place: Path) -> None:
        running = start_server(data_place / "data", "--host", "0.0.0.0", "--without-keys")
        family = [psutil.Process(running.process.pid), *psutil.Process(running.process.pid).children(recursive=True)]
        assert len(family) > 2
        assert "WARNING: no key is required" in running.output
        assert running.end() == 0
        assert running.output.endswith("stepwell: stopping Postgres\nstepwell: stopped\n")
        assert psutil.wait_procs(family, timeout=5)[1] == []
        assert not (running.data / "server.json").exists()

    def test_workers_share_the_port_and_are_replaced(
        self, start_server: Callable[..., Server], data_place: Path, stepwell_command: Run
    ) -> None:
        running = start_server(data_place / "data", "--workers", "2")

        def workers() -> list[psutil.Process]:
            found = []
            for child in psutil.Process(running.process.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):  # the killed one is gone or a zombie
                    if "stepwell_ingest.server.worker_process" in child.cmdline():
                        found.append(child)
            return found

        first = workers()
        assert len(first) == 2
        first[0].kill()
        deadline = time.monotonic() + 30
        while len([child for child in workers() if child not in first]) < 1:
            assert time.monotonic() < deadline, running.output
            time.sleep(0.05)
        assert stepwell_command("status", "--url", running.url).returncode == 0
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert running.end(signal.SIGINT) == 0
        assert psutil.wait_procs(family, timeout=5)[1] == []
        assert f"worker {first[0].pid} ended with exit code -9; starting another one" in running.output

    def test_killed_server_leaves_no_process_and_starts_again(
        self, start_server: Callable[..., Server], data_place: Path
    ) -> None:
        running = start_server(data_place / "data", "--workers", "2")
        family = psutil.Process(running.process.pid).children(recursive=True)
        running.end(signal.SIGKILL)
        assert psutil.wait_procs(family, timeout=15)[1] == []
        (data_place / "data" / "server.json").unlink()
        assert start_server(data_place / "data").end() == 0

    def test_port_taken(self, stepwell_command: Run, data_place: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = stepwell_command("up", "--port", str(port), "--data", data_place / "data")
        assert done.returncode == 1
        assert done.stderr.startswith(f"stepwell: cannot listen on 127.0.0.1 port {port}\n  Address already in use\n")
        assert "Choose another port with --port" in done.stderr
        assert not (data_place / "data" / "postgres").exists()  # detected before Postgres was created

    def test_port_with_closing_connections_is_free(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as program:  # without SO_REUSEPORT
            port = program.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)) as client:
                program.accept()[0].close()  # the side that closes first stays in TIME_WAIT
                assert client.recv(1) == b""
        with reserved_port("127.0.0.1", port) as reserved:
            assert reserved == port

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_postgres_down_at_start(self, stepwell_command: Run, data_place: Path, workers: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        dsn = f"postgresql://me:secret@127.0.0.1:{port}/db"
        options = ["--port", "0", "--dsn", dsn, "--data", str(data_place / "data"), "--workers", workers]
        done = stepwell_command("up", *options)
        assert done.returncode == 1
        assert f"stepwell: Postgres could not be reached (postgresql://me@127.0.0.1:{port}/db)" in done.stderr
        assert "Hint: check --dsn or STEPWELL_DSN" in done.stderr
        assert "secret" not in done.stderr
        assert "Traceback" not in done.stderr

    def test_data_of_another_version(self, stepwell_command: Run, data_place: Path) -> None:
        (data_place / "data" / "postgres").mkdir(parents=True)
        (data_place / "data" / "postgres" / "PG_VERSION").write_text("12\n")
        done = stepwell_command("up", "--port", "0", "--data", data_place / "data")
        assert done.returncode == 1
        assert "was created by PostgreSQL 12, but these programs are PostgreSQL 18" in done.stderr
        assert "Hint: use the programs of PostgreSQL 12, or another --data directory" in done.stderr

    def test_second_server_on_the_same_data(self, stepwell_command: Run, server: Server) -> None:
        done = stepwell_command("up", "--port", "0", "--data", server.data)
        assert done.returncode == 1
        assert done.stderr.startswith(
            f"stepwell: another `stepwell up` uses the data directory {server.data}\n"
            f"  its process id is {server.process.pid}\n"
        )

    def test_postgres_killed_while_it_serves(self, start_server: Callable[..., Server], data_place: Path) -> None:
        running = start_server(data_place / "data")
        pid = int((running.data / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        assert running.process.wait(30) == 1
        assert "stepwell: Postgres has stopped, so the server stops, too\n" in running.output


class TestSql:
    def test_table(self, stepwell_command: Run, server: Server) -> None:
        query = "SELECT * FROM (VALUES (1, 'a', 2.5::float8), (1000, NULL, 'NaN')) t (n, text, value)"
        done = stepwell_command("sql", query, "--data", server.data)
        assert done.stdout.splitlines() == [
            "   n  text  value",
            "────  ────  ─────",
            "   1  a       2.5",
            "1000          NaN",
            "(2 rows)",
        ]

    def test_csv(self, stepwell_command: Run, server: Server) -> None:
        query = "SELECT 1.5::float8 AS x, 'a,b' AS text, NULL AS nothing, '-Infinity'::float8 AS low"
        done = stepwell_command("sql", query, "--format", "csv", "--data", server.data)
        rows = list(csv.reader(io.StringIO(done.stdout)))
        assert rows == [["x", "text", "nothing", "low"], ["1.5", "a,b", "", "-Infinity"]]

    def test_json(self, ask: Callable[[str], list[dict[str, object]]]) -> None:
        row = ask(
            "SELECT 9007199254740993 AS big, sum(n) AS total, ARRAY['NaN', 'Infinity', '1']::float8[] AS odd,"
            """ '{"a": [1, null]}'::jsonb AS doc, true AS yes, 1 AS n, 2 AS n,"""
            " '2026-01-02T03:04:05Z'::timestamptz AS t FROM generate_series(1, 3) n"
        )[0]
        assert row == {
            "big": 9007199254740993,
            "total": 6,
            "odd": ["NaN", "Infinity", 1.0],
            "doc": {"a": [1, None]},
            "yes": True,
            "n": 1,
            "n_2": 2,
            "t": "2026-01-02T03:04:05+00:00",
        }
        assert ask("SELECT 1 WHERE false") == []

    def test_many_rows_from_stdin(self, stepwell_command: Run, server: Server) -> None:
        query = "SELECT n FROM generate_series(1, 5000) n;\n"
        done = stepwell_command("sql", "--format", "csv", "--data", server.data, stdin=query)
        assert done.stdout.split() == ["n", *map(str, range(1, 5001))]

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM run",
            "CREATE TABLE x (n int)",
            "UPDATE run SET name = 'x'",
            "SELECT attach_v1('a','b','c','d',gen_random_uuid(),false,'{}')",
        ],
    )
    def test_writes_are_refused(self, stepwell_command: Run, server: Server, statement: str) -> None:
        done = stepwell_command("sql", statement, "--data", server.data)
        assert done.returncode == 1
        refusals = ("cannot return rows", "read-only transaction", "permission denied")
        assert any(refusal in done.stderr for refusal in refusals)
        assert "Hint: `stepwell sql` only reads" in done.stderr or "as the role stepwell_reader" in done.stderr

    def test_one_statement_at_a_time(self, stepwell_command: Run, server: Server) -> None:
        done = stepwell_command("sql", "COMMIT; DELETE FROM run", "--data", server.data)
        assert done.returncode == 1
        assert "Hint: give one statement at a time" in done.stderr

    def test_errors_show_the_place(self, stepwell_command: Run, server: Server) -> None:
        done = stepwell_command("sql", "SELECT step\nFROM histry", "--data", server.data)
        assert done.returncode == 1
        assert done.stderr == ('stepwell: relation "histry" does not exist\n  line 2: FROM histry\n               ^\n')

    def test_timeout(self, stepwell_command: Run, server: Server) -> None:
        done = stepwell_command("sql", "SELECT pg_sleep(20)", "--timeout", "0.2", "--data", server.data)
        assert done.returncode == 1
        assert done.stderr.startswith("stepwell: the query took longer than 0.2 s\n  Hint:")

    def test_no_server(self, stepwell_command: Run, tmp_path: Path) -> None:
        done = stepwell_command("sql", "SELECT 1", "--data", tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"stepwell: no server runs on the data directory {tmp_path}\n  Hint: start one")


class TestStatus:
    def test_server_and_spools(
        self, stepwell_command: Run, server: Server, train: Callable[..., int], tmp_path: Path
    ) -> None:
        assert train(ID="waiting", STEPWELL_MODE="offline") == 0
        done = stepwell_command("status", "--url", server.url, cwd=tmp_path)
        assert done.returncode == 0
        assert done.stdout.startswith(f"server  {server.url}: ready\n")
        line = next(line for line in done.stdout.splitlines() if "default/p/waiting" in line)
        assert "`stepwell sync` delivers it" in line
        assert spools(tmp_path)

    def test_server_away(self, stepwell_command: Run, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = stepwell_command("status", "--url", url, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stdout.startswith(f"server  {url}: unreachable (Connection refused)\n")
        assert done.stdout.endswith("spools  none below .stepwell\n")


class TestSync:
    def test_offline_run(
        self,
        stepwell_command: Run,
        server: Server,
        train: Callable[..., int],
        ask: Callable[[str], list[dict[str, object]]],
        tmp_path: Path,
    ) -> None:
        assert train(ID="offline", CODE="3", STEPWELL_MODE="offline") == 0
        done = stepwell_command("sync", "--url", server.url, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "  run offline, writer 0: 2,001 values in 1 frame\n" in done.stdout
        assert "1 delivered (2,001 values" in done.stdout
        assert list((tmp_path / ".stepwell").iterdir()) == []
        assert ask("SELECT state, exit_code, points, objects, config FROM runs WHERE run = 'offline'") == [
            {"state": "failed", "exit_code": 3, "points": 2000, "objects": 1, "config": {"lr": 0.5}}
        ]
        assert ask(
            "SELECT count(*) AS n, sum(value * 8) AS total FROM history WHERE run = 'offline' AND metric = 'loss'"
        ) == [{"n": 1000, "total": 499500.0}]

    def test_killed_run(
        self,
        stepwell_command: Run,
        server: Server,
        train: Callable[..., int],
        ask: Callable[[str], list[dict[str, object]]],
        tmp_path: Path,
    ) -> None:
        # A delivery is killed: frames that the server already has are not stored twice.
        assert train(ID="killed", KILL="1", STEPWELL_URL=server.url) == -signal.SIGKILL
        assert spools(tmp_path)
        done = stepwell_command("sync", "--url", server.url, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / ".stepwell").iterdir()) == []
        steps = ask(
            "SELECT step, count(*) AS n FROM history WHERE run = 'killed' AND metric = 'loss' GROUP BY 1 ORDER BY 1"
        )
        assert steps == [{"step": step, "n": 1} for step in range(len(steps))]
        assert len(steps) > 100
        assert ask("SELECT state FROM runs WHERE run = 'killed'") == [{"state": "running"}]

    def test_server_away(self, stepwell_command: Run, train: Callable[..., int], tmp_path: Path) -> None:
        assert train(ID="left", STEPWELL_MODE="offline") == 0
        before = spools(tmp_path)[0].read_bytes()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = stepwell_command("sync", "--url", url, "--timeout", "0.5", cwd=tmp_path)
        assert done.returncode == 1
        assert "left: 1 frame, because: Connection refused" in done.stdout
        assert done.stdout.endswith(", 1 left\n")
        assert f"the server at {url} could not be reached for 0.5 s" in done.stderr
        assert spools(tmp_path)[0].read_bytes() == before

    def test_spool_of_a_running_process(
        self, stepwell_command: Run, server: Server, command_environment: dict[str, str], tmp_path: Path
    ) -> None:
        script = """
            import stepwell
            run = stepwell.init(id="live", mode="offline")
            run.log({"a": 1})
            print("on", flush=True)
            input()
        """
        environment = command_environment | {"STEPWELL_SILENT": "1"}
        command = [sys.executable, "-c", textwrap.dedent(script)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        ) as live:
            assert live.stdout is not None
            assert live.stdout.readline() == "on\n"
            done = stepwell_command("sync", "--url", server.url, cwd=tmp_path)
            status = stepwell_command("status", "--url", server.url, cwd=tmp_path)
            live.communicate("\n", timeout=30)
        assert done.returncode == 1
        assert "skipped, a running process owns it" in done.stdout
        assert f"pid {live.pid}" in done.stdout
        assert f"pid {live.pid}\n" in status.stdout
        assert spools(tmp_path)

    def test_nothing_to_deliver(self, stepwell_command: Run, tmp_path: Path) -> None:
        done = stepwell_command("sync", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (
            0,
            f"Nothing to deliver: there is no directory {tmp_path}/.stepwell.\n",
        )
        done = stepwell_command("sync", tmp_path / "no")
        assert done.returncode == 1
        assert done.stderr.startswith(f"stepwell: there is no directory {tmp_path / 'no'}\n")
