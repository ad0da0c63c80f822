"""Texts from a server are shown to users: they cannot control the terminal, nor cause an endless pause."""

from __future__ import annotations

import pytest

from stepwell.cli import describe, main
from stepwell.errors import OverloadedError, UsageError, from_dict


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07gone", "\\x1b[2J\\x1b]0;title\\x07gone"),
        ("two\n  Hint: lines\r\nthree", "two Hint: lines three"),
        ("right \u202e to left", "right \\u202e to left"),
        ("Größe ✓ 日本", "Größe ✓ 日本"),
    ],
)
@pytest.mark.parametrize("code", ["unavailable", "fenced", "new\x1bcode"])
def test_control_characters_are_escaped(sent: str, shown: str, code: str) -> None:
    error = from_dict({"code": code, "message": sent, "detail": sent, "hint": sent})
    assert error.message.startswith(shown)
    assert (error.detail, error.hint) == (shown, shown)
    assert "\x1b" not in str(error)


@pytest.mark.parametrize("pause", [1e300, float("inf"), float("nan"), -1])
def test_server_cannot_pause_forever(pause: float) -> None:
    error = from_dict({"code": "overloaded", "message": "full", "retry_after_s": pause})
    assert isinstance(error, OverloadedError)
    assert 0 <= error.retry_after_s <= 3600


def test_command_errors_have_no_control_characters() -> None:
    error = UsageError("no\x1b[2J such", detail="line 1: x\x1b]0;t\x07\n        ^", hint="a\x9bb")
    assert describe(error) == ("stepwell: no\\x1b[2J such\n  line 1: x\\x1b]0;t\\x07\n          ^\n  Hint: a\\x9bb\n")


@pytest.mark.parametrize(
    ("option", "variable", "place"),
    [
        ("--dsn", "STEPWELL_DSN", "postgresql://me:secret@127.0.0.1:1/db"),
        ("--dsn", "STEPWELL_DSN", "postgresql://127.0.0.1:1/db?user=me&password=secret"),
        ("--url", "STEPWELL_URL", "http://me:secret@127.0.0.1:1"),
    ],
)
def test_password_in_the_arguments_gives_a_warning(
    option: str, variable: str, place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["sql", "SELECT 1", option, place]) == 1  # nothing listens there
    warned = capfd.readouterr().err
    assert warned.startswith(f"stepwell: the password in {option} is visible to all users of this machine ")
    assert f"Hint: set {variable} instead" in warned
    monkeypatch.setenv(variable, place)
    assert main(["sql", "SELECT 1"]) == 1
    said = capfd.readouterr().err
    assert "list of processes" not in said
    assert "secret" not in warned + said
