"""Stepwell's warnings in a program that has not configured logging."""

from __future__ import annotations

from fixtures.programs import script

DROPPED = """
run = stepwell.init(mode="disabled")
run.log({"a": 1}, step=5)
run.log({"a": 1}, step=3)
"""


def test_a_warning_says_who_speaks() -> None:
    lines = script(DROPPED).stderr.splitlines()
    assert lines
    assert lines[0].startswith("stepwell: ")
    assert "step" in lines[0]


def test_a_program_with_logging_gets_the_record_and_no_second_line() -> None:
    done = script("import logging; logging.basicConfig(format='mine %(name)s %(message)s')\n" + DROPPED)
    assert done.stderr.startswith("mine stepwell ")
    assert "\nstepwell: " not in done.stderr


def test_a_handler_that_the_program_gives_our_logger_stands_alone() -> None:
    done = script("import logging; logging.getLogger('stepwell').handlers[:] = [logging.NullHandler()]\n" + DROPPED)
    assert done.stderr == ""


def test_warnings_can_be_turned_off_by_level() -> None:
    assert script("import logging; logging.getLogger('stepwell').setLevel('ERROR')\n" + DROPPED).stderr == ""


def test_a_program_without_stderr_goes_on() -> None:
    script("sys.stderr = None\n" + DROPPED + "print('done')")
