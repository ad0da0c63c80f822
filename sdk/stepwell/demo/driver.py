"""The driver of the demo: starts a server and four ranks, queries the database, and compares.

Receives options; prints a report and returns an exit code, which is 0 only when each rank's own count of its points
equals the result of SQL. Promises to end on its own, to leave no process running, and to remove everything that it
stored, unless it logged to a server that was running already.
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from stepwell.demo.children import Child, Children, clean_environment
from stepwell.errors import Error, SettingError, UnavailableError
from stepwell.settings.server_file import ServerFile, data_directory
from stepwell.terminal.display import Progress, table

RANKS = 4
_START_S = 120.0
_POLL_S = 0.05
_SHOWN_EPOCHS = (1, 2, 3, 5, 10, 20, 40, 80, 120)

COUNT_BY_WRITER = """SELECT writer, count(*) AS points, count(DISTINCT metric) AS metrics, max(step) AS last_step
FROM history
WHERE project = 'demo' AND run = '{run}'
GROUP BY writer ORDER BY writer"""

BY_EPOCH = """SELECT step / (config->>'steps_per_epoch')::int + 1 AS epoch,
       avg(value) FILTER (WHERE metric = 'train/loss')     AS train_loss,
       avg(value) FILTER (WHERE metric = 'train/accuracy') AS train_accuracy,
       avg(value) FILTER (WHERE metric = 'eval/loss')      AS eval_loss,
       avg(value) FILTER (WHERE metric = 'eval/accuracy')  AS eval_accuracy
FROM history JOIN runs USING (run_id)
WHERE history.project = 'demo' AND history.run = '{run}'
  AND metric IN ('train/loss', 'train/accuracy', 'eval/loss', 'eval/accuracy')
GROUP BY epoch ORDER BY epoch"""


class Place(NamedTuple):
    """The server of the demo, and the options and variables with which `stepwell sql` finds it."""

    url: str
    sql_options: list[str]
    sql_variables: dict[str, str]
    temporary: bool


class Demo:
    """One demonstration.

    Args:
        url: the URL of a running server; None: start one.
        dsn: the DSN of its Postgres.
        data: its data directory.
        steps: the number of steps of each rank.
        keep: whether to leave a server that it has started running until Ctrl-C.
    """

    def __init__(self, url: str | None, dsn: str | None, data: str | None, steps: int, *, keep: bool = False) -> None:
        self._url = url
        self._dsn = dsn
        self._data = data
        self._steps = steps
        self._keep = keep
        self._run = f"demo-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"

    def run(self) -> int:
        """Runs the demo; returns the exit code.

        Raises:
            SettingError: a library is not installed, or the Postgres of the given server is not known.
            Error: a process could not be started, or has failed.
        """
        for module, package in (("sklearn", "scikit-learn"), ("asyncpg", "asyncpg")):
            if importlib.util.find_spec(module) is None:
                raise SettingError(
                    f"the demo needs {package}, which is not installed", hint="pip install 'stepwell[demo]'"
                )
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        _print(f"Stepwell demo: {RANKS} processes train one network on handwritten digits, and log every step.\n")
        work = Path(tempfile.mkdtemp(prefix="stepwell-demo-"))
        # Under root, the Postgres user must be able to enter this directory; the directories inside are protected.
        work.chmod(0o755)
        try:
            with Children(work) as children:
                place = self._existing() if self._url else self._start_server(children, work)
                reports = self._train(children, work, place)
                code = self._read_back(place, reports)
                _print(f"\nThe run's page: {place.url}/default/demo/runs/{self._run}/charts")
                if place.temporary and self._keep:
                    _print("The server runs until Ctrl-C.")
                    with suppress(KeyboardInterrupt):
                        signal.pause()
                elif place.temporary:
                    _print(
                        "The page is available while the server runs; `stepwell demo --keep` leaves the server running."
                    )
                if place.temporary:
                    _print("\nStopping the server and removing its data.")
            return code
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _start_server(self, children: Children, work: Path) -> Place:
        began, data = time.monotonic(), work / "data"
        options = ["up", "--port", "0", "--data", str(data), "--until-stdin-ends"]
        server = children.start("the server", "stepwell", options, clean_environment(PYTHONUNBUFFERED="1"))
        with _waiting("server    starting Postgres and a worker"):
            while (found := ServerFile.read(data)) is None:
                if server.check() or time.monotonic() - began > _START_S:
                    raise UnavailableError("the server did not start")
                time.sleep(_POLL_S)
        _print(f"server    {found.url}, started in {time.monotonic() - began:.1f} s, with a real Postgres in {data}")
        return Place(found.url, ["--data", str(data)], {}, True)

    def _existing(self) -> Place:
        assert self._url is not None
        # Not as an argument, because every user of the machine can read those.
        variables = {"STEPWELL_DSN": self._dsn} if self._dsn else {}
        options: list[str] = []
        if not self._dsn:
            data = data_directory(self._data)
            found = ServerFile.read(data)
            if found is None:
                raise SettingError(
                    f"the data directory of the server {self._url} is not known",
                    hint="pass its Postgres with --dsn, or its data directory with --data",
                )
            options = ["--data", str(data)]
        place = Place(self._url.rstrip("/"), options, variables, False)
        _ask("SELECT 1", place)
        _print(f"server    {self._url}, which was running already")
        return place

    def _train(self, children: Children, work: Path, place: Place) -> list[dict[str, Any]]:
        environment = clean_environment(
            WORLD_SIZE=str(RANKS),
            STEPWELL_URL=place.url,
            STEPWELL_RUN_ID=self._run,
            STEPWELL_DIR=str(work / "spool"),
            STEPWELL_SILENT="1",
            # The ranks share the machine: without this, each would start a thread for every core.
            OMP_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
        )
        options = ["--steps", str(self._steps), "--meet-at", str(work / "meet")]
        ranks = [
            children.start(f"rank {rank}", "stepwell.demo.train", options, environment | {"RANK": str(rank)})
            for rank in range(RANKS)
        ]
        progress = Progress(file_interval_s=5.0)
        while not all([rank.check() for rank in ranks]):
            progress.show("training  " + self._progress_text(ranks[0]))
            time.sleep(_POLL_S)
        progress.clear()
        reports = [rank.messages[-1] for rank in ranks]
        took_s = max(report["ended"] for report in reports) - min(report["started"] for report in reports)
        _print(f"training  {self._steps:,} steps on {RANKS} ranks in {took_s:.1f} s, into run {self._run}")
        return reports

    def _progress_text(self, rank: Child) -> str:
        if not rank.messages or "step" not in rank.messages[-1]:
            return "reading the data"
        now = rank.messages[-1]
        done = int(24 * now["step"] / self._steps)
        bar = "█" * done + "░" * (24 - done)
        return f"{bar} step {now['step']:,} of {self._steps:,}, loss {now['loss']:.3f}, accuracy {now['accuracy']:.2f}"

    def _read_back(self, place: Place, reports: list[dict[str, Any]]) -> int:
        query = COUNT_BY_WRITER.format(run=self._run)
        stored = {row["writer"]: row for row in _ask(query, place)}
        rows, equal = [], len(stored) == RANKS
        for report in sorted(reports, key=lambda report: int(report["rank"])):
            row = stored.get(str(report["rank"]), {"points": 0, "metrics": 0, "last_step": None})
            same = row["points"] == report["points"]
            equal &= same
            verdict = "equal" if same else "DIFFERENT"
            rows.append(
                (str(report["rank"]), f"{report['points']:,}", f"{row['points']:,}", str(row["metrics"]), verdict)
            )
        counted = sum(report["points"] for report in reports)
        total = sum(row["points"] for row in stored.values())
        rows.append(("all", f"{counted:,}", f"{total:,}", "", "equal" if counted == total else "DIFFERENT"))
        _print("\nEach rank counted its own points. SQL finds:\n")
        _print(_indent(query) + "\n")
        _print(_indent(table(("rank", "counted", "stored", "metrics", ""), rows, right=(1, 2, 3))))

        query = BY_EPOCH.format(run=self._run)
        began = time.monotonic()
        epochs = _ask(query, place)
        took_s = time.monotonic() - began
        _print(f"\nLoss and accuracy by epoch, averaged over the ranks (queried in {took_s:.1f} s):\n")
        _print(_indent(query) + "\n")
        names = ("epoch", "train_loss", "train_accuracy", "eval_loss", "eval_accuracy")
        shown = [row for row in epochs if row["epoch"] in _SHOWN_EPOCHS or row is epochs[-1]]
        cells = [[str(row["epoch"]), *(_number(row[name]) for name in names[1:])] for row in shown]
        _print(_indent(table(names, cells, right=range(5))))

        span_s = max(report["ended"] for report in reports) - min(report["started"] for report in reports)
        _print(
            f"\n{total:,} points from the first log() to the last acknowledgement in {span_s:.1f} s: "
            f"{total / span_s:,.0f} points/s.\nThe training limits this rate; `make bench` measures Stepwell."
        )
        if not place.temporary:
            _print(f"The run {self._run} stays in the project demo.")
        if not equal:
            _print("\nFAILED: the counts differ.")
            return 1
        _print("\nPASSED: every point that a rank logged is in Postgres, exactly once.")
        return 0


def _ask(query: str, place: Place) -> list[dict[str, Any]]:
    """Returns the output of `stepwell sql`.

    Raises:
        Error: the command failed.
    """
    command = [sys.executable, "-m", "stepwell", "sql", query, "--format", "json", *place.sql_options]
    environment = clean_environment(**place.sql_variables)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Error("`stepwell sql` failed", detail=done.stderr.strip() or f"exit code {done.returncode}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    progress = Progress()
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()
    try:
        yield
    finally:
        if sys.stderr.isatty():
            sys.stderr.write("\r" + " " * len(text) + "\r")
        progress.clear()


def _number(value: float | str | None) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else str(value or "")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _print(text: str) -> None:
    print(text, flush=True)
