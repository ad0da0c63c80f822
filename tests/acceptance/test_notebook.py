"""Notebooks: cells that are repeated, fail or are interrupted, and kernels that are restarted or killed.

Real kernels (ipykernel), driven like Jupyter does, against a real server.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from jupyter_client.manager import KernelManager

from fixtures.commands import Server
from fixtures.programs import environment

pytestmark = [pytest.mark.db, pytest.mark.slow]

PATIENCE_S = 60


class Notebook:
    """A kernel and the cells that it has run.

    Args:
        place: the working directory of the kernel, with its spools.
    """

    def __init__(self, url: str, place: Path) -> None:
        self.place = place
        self._settings = {"STEPWELL_URL": url, "STEPWELL_PROJECT": place.name, "IPYTHONDIR": str(place / "ipython")}
        self._manager = KernelManager()
        self._manager.start_kernel(
            env=environment() | self._settings, cwd=str(place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(PATIENCE_S)

    def run(self, code: str, expected: str = "ok") -> str:
        """Runs a cell; returns its output."""
        printed: list[str] = []

        def output(message: dict[str, Any]) -> None:
            printed.append(message["content"].get("text", ""))

        reply = self._client.execute_interactive(code, timeout=PATIENCE_S, output_hook=output)["content"]
        assert reply["status"] == expected, reply
        return "".join(printed)

    def begin(self, code: str) -> None:
        """Starts a cell; returns once it has printed something, while it continues."""
        self._client.execute(code)
        while self._client.get_iopub_msg(timeout=PATIENCE_S)["msg_type"] != "stream":
            pass

    def interrupt(self) -> None:
        """Interrupts the kernel, like the stop button."""
        self._manager.interrupt_kernel()
        reply = self._client.get_shell_msg(timeout=PATIENCE_S)["content"]  # for the cell of `begin`
        assert reply.get("ename") == "KeyboardInterrupt", reply

    def restart(self, *, kill: bool) -> None:
        """Restarts the kernel; with `kill`, it has no time to end."""
        self._manager.restart_kernel(now=kill)
        self._client.wait_for_ready(PATIENCE_S)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()


@pytest.fixture
def open_notebook(server: Server, tmp_path: Path) -> Iterator[Callable[[], Notebook]]:
    notebooks: list[Notebook] = []

    def start() -> Notebook:
        notebooks.append(Notebook(server.url, tmp_path))
        return notebooks[-1]

    yield start
    for notebook in notebooks:
        notebook.close()


@pytest.fixture
async def database(server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.dsn)
    yield connection
    await connection.close()


async def shown(database: asyncpg.Connection, project: str) -> list[tuple[str, list[int]]]:
    """The state and steps of each run, in the order of creation."""
    rows = await database.fetch(
        "SELECT state, array(SELECT step FROM stepwell.history h WHERE h.run_id = r.run_id ORDER BY step) AS steps "
        "FROM stepwell.runs r WHERE project = $1 ORDER BY run_id",
        project,
    )
    return [(row["state"], row["steps"]) for row in rows]


INIT = "import stepwell\nrun = stepwell.init()\n"
LOG = "for i in range(10): run.log({'loss': i})\n"
FLUSH = "assert await run.flush(60)\n"


async def test_repeated_and_failed_cells_continue_the_run(
    open_notebook: Callable[[], Notebook], database: asyncpg.Connection
) -> None:
    notebook = open_notebook()
    notebook.run(INIT + LOG)
    said = notebook.run(INIT + LOG)
    assert "is still active, so init() returned it; call finish() first for a new one" in said
    notebook.run("run.log({'loss': 1 / 0})", "error")
    notebook.run("run.log({'loss': object()})", "error")
    notebook.run("run.config.lr = 1\nrun.config.lr = 2")  # like an edited cell
    notebook.run(LOG + "run.finish()")
    notebook.run(INIT + LOG + "run.finish()")
    steps = list(range(10))
    assert await shown(database, notebook.place.name) == [("finished", list(range(30))), ("finished", steps)]


async def test_interrupted_cell_loses_at_most_one_call(
    open_notebook: Callable[[], Notebook], database: asyncpg.Connection
) -> None:
    notebook = open_notebook()
    notebook.run(INIT)
    notebook.begin("print('here', flush=True)\nwhile True: run.log({'loss': 0.5})")
    await asyncio.sleep(0.2)
    notebook.interrupt()
    last = int(notebook.run("assert await run.flush(60)\nprint(run.step)").split()[-1])
    notebook.run(LOG + "run.finish()")
    ((state, steps),) = await shown(database, notebook.place.name)
    assert (state, steps) == ("finished", list(range(last + 10)))


async def test_restarted_kernel_delivers_and_ends_its_run(
    open_notebook: Callable[[], Notebook], database: asyncpg.Connection
) -> None:
    notebook = open_notebook()
    notebook.run(INIT + LOG)
    notebook.restart(kill=False)
    notebook.run(INIT + LOG + "run.finish()")
    steps = list(range(10))
    assert await shown(database, notebook.place.name) == [("finished", steps), ("finished", steps)]
    assert list((notebook.place / ".stepwell").iterdir()) == []


async def test_killed_kernel_leaves_its_spool(
    open_notebook: Callable[[], Notebook], database: asyncpg.Connection, stepwell_command: Any, server: Server
) -> None:
    notebook = open_notebook()
    notebook.run(INIT + LOG + FLUSH)
    notebook.restart(kill=True)
    notebook.run(INIT + LOG + "run.finish()")
    stepwell_command("sync", notebook.place / ".stepwell", "--url", server.url)
    steps = list(range(10))
    # "running" until there was no heartbeat for two minutes; then "crashed" (ingest/test_lifecycle.py).
    assert await shown(database, notebook.place.name) == [("running", steps), ("finished", steps)]


async def test_killed_kernel_can_resume_its_run(
    open_notebook: Callable[[], Notebook], database: asyncpg.Connection
) -> None:
    notebook, init = open_notebook(), INIT.replace("()", "(resume='auto')")
    notebook.run(init + LOG + FLUSH)
    notebook.restart(kill=True)
    notebook.run(init + LOG + "run.finish()")
    assert await shown(database, notebook.place.name) == [("finished", list(range(20)))]
