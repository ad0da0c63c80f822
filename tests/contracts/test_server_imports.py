"""Each process of a server imports what it uses: importing takes most of the time in which `stepwell up` starts."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("stepwell_ingest.commands.up", ["aiohttp", "asyncpg", "prometheus_client", "stepwell_ingest.api"]),
        ("stepwell_ingest.server.sealer_process", ["aiohttp", "prometheus_client", "stepwell_ingest.api"]),
    ],
)
def test_process_imports_what_it_uses(module: str, absent: list[str]) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; import {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert module in (imported := set(done.stdout.split()))
    assert imported & set(absent) == set()
