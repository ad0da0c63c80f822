"""The README: its examples run, and the files, commands and targets that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepwell import cli
from stepwell.testing import capture

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.S)
PYTHON = [code for language, code in BLOCKS if language == "python"]


def test_first_program_logs_evaluations_at_their_steps() -> None:
    with capture() as captured:
        exec(PYTHON[0], {})
    rows = captured.history
    assert [row["_step"] for row in rows] == list(range(500))
    assert all("train/loss" in row for row in rows)
    assert [row["_step"] for row in rows if "eval/loss" in row] == [99, 199, 299, 399, 499]
    assert captured.runs[0].run.name == "hello"
    assert captured.config == {"lr": 0.05, "epochs": 5}


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.strip().splitlines()[0][:40])
def test_programs_are_valid_python(code: str) -> None:
    compile(code, "README.md", "exec")


@pytest.mark.parametrize("place", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", TEXT))))
def test_links_lead_to_files(place: str) -> None:
    assert (ROOT / place).exists()


def test_commands_exist() -> None:
    shell = "\n".join(code for language, code in BLOCKS if language == "sh")
    named = set(re.findall(r"^stepwell (\w+)", shell, re.M)) | set(re.findall(r"`stepwell (\w+)", TEXT))
    assert named >= {"up", "open", "sql", "status", "sync", "delete", "demo"}
    assert named <= cli._COMMANDS.keys()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)", TEXT)):
        assert re.search(rf"^{target}:", makefile, re.M), target
