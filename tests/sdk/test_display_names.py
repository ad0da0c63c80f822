"""The generated display name of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import stepwell
from fixtures.programs import script
from stepwell.settings import resolve
from stepwell.settings.names import words_of


def test_generated_id_has_a_readable_name() -> None:
    settings = resolve({})
    assert settings.name is not None
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", settings.name)
    assert settings.name == words_of(settings.run_id)
    assert words_of("k2j4h5g6") == words_of("k2j4h5g6") != words_of("k2j4h5g7")


def test_ids_give_many_names() -> None:
    assert len({words_of(f"run-{number}") for number in range(2_000)}) > 1_990


@pytest.mark.parametrize(
    ("environment", "arguments", "name"),
    [
        ({}, {"run_id": "mine"}, None),  # pages show the id, which was chosen by the user
        ({"STEPWELL_RUN_ID": "mine"}, {}, None),
        ({}, {"name": "first try"}, "first try"),
        ({"WANDB_NAME": "theirs"}, {}, "theirs"),
    ],
)
def test_chosen_name_is_kept(environment: dict[str, str], arguments: dict[str, str], name: str | None) -> None:
    assert resolve(environment, **arguments).name == name


def test_run_has_and_prints_the_name(tmp_path: Path) -> None:
    done = script(
        """
        run = stepwell.init(mode="offline", dir=sys.argv[1])
        print(run.name, run.id)
        run.finish(quiet=True)
        """,
        tmp_path,
    )
    name, run_id = done.stdout.split()
    assert name == words_of(run_id)
    assert f"logging run {name} ({run_id}) of default/uncategorized offline, into" in done.stderr


def test_ranks_of_a_run_print_once(tmp_path: Path) -> None:
    program = """
        os.environ |= {"WORLD_SIZE": "4", "RANK": sys.argv[2]}
        stepwell.init(mode="offline", dir=sys.argv[1], id="shared").finish(quiet=True)
        """
    said = [script(program, tmp_path, rank).stderr for rank in range(2)]
    assert "logging run shared of default/uncategorized" in said[0]
    assert said[0].count("\n  4 processes log to this run, each as a writer") == 1
    assert said[1] == ""


def test_processes_with_different_ids_are_different_runs(tmp_path: Path) -> None:
    done = script(
        """
        os.environ["WORLD_SIZE"] = "4"
        stepwell.init(mode="offline", dir=sys.argv[1]).finish(quiet=True)
        """,
        tmp_path,
    )
    assert "processes log to this run" not in done.stderr


def test_name_is_public() -> None:
    with stepwell.init(mode="disabled", id="x", name="y") as run:
        assert run.name == "y"
