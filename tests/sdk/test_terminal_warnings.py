"""Stepwell's warnings in a program that has not configured logging."""

from __future__ import annotations

from fixtures.programs import script

DROPPED = """
run = stepwell.init(mode="disabled")
run.log({"a": 1}, step=5)
run.log({"a": 1}, step=3)
"""


def test_warning_names_stepwell() -> None:
    lines = script(DROPPED).stderr.splitlines()
    assert lines
    assert lines[0].startswith("stepwell: ")
    assert "step" in lines[0]


def test_configured_logging_gets_one_record() -> None:
    done = script("import logging; logging.basicConfig(format='mine %(name)s %(message)s')\n" + DROPPED)
    assert done.stderr.startswith("mine stepwell ")
    assert "\nstepwell: " not in done.stderr


def test_custom_handler_replaces_the_default() -> None:
    done = script("import logging; logging.getLogger('stepwell').handlers[:] = [logging.NullHandler()]\n" + DROPPED)
    assert done.stderr == ""


def test_warnings_can_be_disabled_by_level() -> None:
    assert script("import logging; logging.getLogger('stepwell').setLevel('ERROR')\n" + DROPPED).stderr == ""


def test_program_without_stderr_continues() -> None:
    script("sys.stderr = None\n" + DROPPED + "print('done')")
