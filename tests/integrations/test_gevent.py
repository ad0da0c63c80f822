"""Programs whose threads gevent has replaced by greenlets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.commands import Server
from fixtures.seen import Seen
from integrations.conftest import PATIENCE_S

pytestmark = [pytest.mark.db, pytest.mark.slow]

PATCH = "from gevent import monkey; monkey.patch_all()"
PROGRAM = """
{before}
import json, sys, threading
import numpy as np
import stepwell
{after}

runs = [stepwell.init("gevent", id=name, url=sys.argv[1], dir=sys.argv[2], reinit="create_new") for name in ("a", "b")]

def work(number):
    for step in range(500):
        for run in runs:
            run.log({"worker": number, "step": step})

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
runs[0].log({"picture": stepwell.Image(np.zeros((4, 4), np.uint8))})
flushed = [(bool(run.flush(60)), run.account.stored) for run in runs]
for run in runs:
    run.finish()
print(json.dumps([flushed, [run.account.left for run in runs]]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_concurrent_runs_are_stored_and_flush_waits(
    server: Server, command_environment: dict[str, str], tmp_path: Path, when: str
) -> None:
    """gevent may patch before or after the import of stepwell, but before `init`."""
    ids = [f"{tmp_path.name}-{name}" for name in "ab"]
    patches = {"{before}": "", "{after}": "", f"{{{when}}}": PATCH}
    named = PROGRAM.replace('("a", "b")', repr(tuple(ids)))
    for place, patch in patches.items():
        named = named.replace(place, patch)
    done = subprocess.run(
        [sys.executable, "-c", named, server.url, str(tmp_path)],
        env=command_environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    flushed, left = json.loads(done.stdout)
    assert flushed == [[True, 3_000]] * 2
    assert left == [0, 0]
    for number, run in enumerate(ids):
        seen = Seen(server.dsn, server.url, run)
        assert sorted(value for _, value in seen.metric("step")) == sorted([*map(float, range(500))] * 3)
        assert sorted(value for _, value in seen.metric("worker")) == sorted([0.0, 1.0, 2.0] * 500)
        assert [key for _, key in seen.objects()] == ["picture"] * (number == 0)
