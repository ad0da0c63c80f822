"""The packages that `make` installs: the demo has no test tools, and the tests add their tools to those of the demo."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands(target: str, *variables: str) -> str:
    """The commands that `make TARGET` would run in a checkout without an environment, even if called by `make test`."""
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    done = subprocess.run(
        ["make", "--dry-run", "VENV=no-environment", *variables, target],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in ours},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_demo_installs_only_what_it_needs() -> None:
    ran = commands("demo")
    assert "--editable '.[server]'" in ran
    assert "--editable '.[demo]'" in ran
    assert not [tool for tool in ("pytest", "mypy", "ruff", "moto", "rdkit", "matplotlib") if tool in ran]


def test_demo_shows_setup_progress() -> None:
    ran = commands("demo")
    assert "about half a minute" in ran
    assert [line for line in ran.splitlines() if " of 3  " in line][2].endswith('3 of 3  the extras: demo"')


def test_tests_install_their_tools_on_top() -> None:
    ran = commands("test")
    assert ran.index("--editable '.[demo]'") < ran.index("pytest pytest-asyncio")
    assert ran.index("touch") < ran.rindex("touch")  # one stamp each


def test_integrations_do_not_install_the_demo() -> None:
    assert "BASE=server EXTRAS=server" in (ROOT / "Makefile").read_text()


def test_web_pages_are_built_only_for_make_keep() -> None:
    assert "workspace" not in commands("demo")
    assert "--keep" not in commands("demo")
    assert "workspace" in commands("demo", "KEEP=1")
    assert commands("demo", "KEEP=1").rstrip().endswith("stepwell demo --keep")
