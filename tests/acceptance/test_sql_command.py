"""`stepwell sql` for users: the output on a terminal and in a pipe, the prompt, and mistyped names."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

import stepwell
from fixtures.commands import Run, Server

pytestmark = pytest.mark.db

SHA = "0123456789abcdef" * 4
WIDE = f"SELECT '{SHA}' AS sha256, '{'a' * 90}' AS long, 'end' AS last"


@pytest.fixture(scope="module")
def logged(server: Server) -> None:
    with stepwell.init(
        project="near", id="first", name="silver-harbour", url=server.url, settings={"silent": True}
    ) as run:
        run.log({"train/loss": 0.5, "train/accuracy": 0.9, "eval/loss": 0.7})


class Terminal:
    """Runs `stepwell` on a pseudo-terminal."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self._end, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stepwell", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment | {"COLUMNS": "100", "TERM": "dumb"},
            close_fds=True,
        )
        os.close(theirs)
        self._seen = ""

    def until(self, text: str) -> str:
        """Returns the output up to `text`; stops waiting if the process has ended."""
        deadline = time.monotonic() + 60
        while text not in self._seen:
            assert time.monotonic() < deadline, self._seen
            try:
                self._seen += os.read(self._end, 65536).decode().replace("\r\n", "\n")
            except OSError:
                assert text in self._seen, self._seen
        shown, _, self._seen = self._seen.partition(text)
        return shown + text

    def type(self, line: str) -> None:
        os.write(self._end, f"{line}\n".encode())

    def end(self) -> int:
        code = self.process.wait(60)
        os.close(self._end)
        return code


def test_pipe_gets_full_texts(stepwell_command: Run, server: Server) -> None:
    done = stepwell_command("sql", WIDE, "--data", server.data)
    row = done.stdout.splitlines()[2].split()
    assert row == [SHA, "a" * 90, "end"]
    assert done.stdout.endswith("(1 row)\n")


def test_terminal_truncates_long_texts_but_not_hashes(command_environment: dict[str, str], server: Server) -> None:
    terminal = Terminal(command_environment, "sql", WIDE, "--data", str(server.data))
    shown = terminal.until("--format csv)\n")
    assert terminal.end() == 0
    assert SHA in shown
    assert "a" * 63 + "…" in shown
    assert "a" * 64 not in shown
    assert shown.endswith("(1 row; long texts are cut here, but not in a pipe or with --format csv)\n")


@pytest.mark.parametrize("option", ["--data", "--url"])
def test_help_at_the_prompt(command_environment: dict[str, str], server: Server, option: str) -> None:
    terminal = Terminal(command_environment, "sql", option, str(server.data) if option == "--data" else server.url)
    terminal.until("stepwell> ")
    for word in ("help", "HELP;", "\\?"):
        terminal.type(word)
        assert "A query may take several lines" in terminal.until("stepwell> ")
    terminal.type("SELECT 1 +")
    terminal.until("...> ")
    terminal.type("1 AS two;")
    assert "(1 row)" in terminal.until("stepwell> ")
    terminal.type("SELECT nothing FROM runs;")
    assert 'column "nothing" does not exist' in terminal.until("stepwell> ")
    terminal.type("\\d")
    assert "history_objects" in terminal.until("stepwell> ")
    terminal.type("quit;")
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("metric = 'train/los'", "there is no metric 'train/los'; similar names: train/loss"),
        ("metric IN ('loss', 'eval/loss') AND step > 9", "there is no metric 'loss'; similar names:"),
        ("run = 'frst' AND metric = 'eval/loss'", "there is no run 'frst'; similar names: first"),
        ("project = 'near' AND metric = 'nothing like it'", "there is no metric 'nothing like it'\n"),
    ],
)
def test_empty_result_suggests_names(
    stepwell_command: Run, server: Server, logged: None, condition: str, said: str
) -> None:
    for what in ("value", "avg(value)", "count(*)"):
        done = stepwell_command("sql", f"SELECT {what} FROM history WHERE {condition}", "--data", server.data)
        assert done.returncode == 0
        assert f"stepwell: {said}" in done.stderr


def test_empty_result_of_known_names_is_silent(stepwell_command: Run, server: Server, logged: None) -> None:
    query = "SELECT * FROM history WHERE metric = 'train/loss' AND step > 100"
    assert stepwell_command("sql", query, "--data", server.data).stderr == ""


def test_full_disk_gives_no_traceback(command_environment: dict[str, str], server: Server) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stepwell", "sql", "SELECT 1", "--data", str(server.data)],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=command_environment,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "stepwell: No space left on device\n")


def test_bytes_on_stdin_give_no_traceback(command_environment: dict[str, str], server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stepwell", "sql", "--data", str(server.data)],
        input=b"SELECT '\xff'",
        capture_output=True,
        env=command_environment,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"stepwell: the query is not UTF-8\n")


@pytest.mark.parametrize(
    ("option", "said"),
    [("--port=abc", "a port must be a number from 0 to 65535"), ("--workers=x", "must be a whole number, at least 1")],
)
def test_invalid_option_is_explained(stepwell_command: Run, option: str, said: str) -> None:
    done = stepwell_command("up", option)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(said)
