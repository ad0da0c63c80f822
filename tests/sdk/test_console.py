"""The output of a program becomes notes: a bounded number of lines as a terminal shows them; streams are unchanged."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import SpoolFullError
from stepwell.observe import console as _console
from stepwell.observe.console import Console
from stepwell.observe.console_lines import MAX_LINE, Lines

TEXT = st.text(st.sampled_from("ab\r\n"), max_size=40)


def shown(text: str) -> list[str]:
    """The final lines of a terminal on which each carriage return clears the line."""
    return [[part for part in ("", *line.split("\r")) if part or not line.strip("\r")][-1] for line in text.split("\n")]


@given(text=TEXT, cuts=st.lists(st.integers(0, 40), max_size=5))
def test_lines_do_not_depend_on_write_sizes(text: str, cuts: list[int]) -> None:
    lines = Lines()
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    found = [line for start, end in pairwise(edges) for line in lines.feed(text[start:end])]
    assert [*found, *lines.rest()] == [line for line in shown(text)[:-1]] + [line for line in shown(text)[-1:] if line]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("\r 0%\r 50%\r100%\ndone\n", ["100%", "done"]),
        ("50%\r", ["50%"]),
        ("\n\n", ["", ""]),
        ("a\0b\ud800\n", ["a\ufffdb\ufffd"]),
        ("x" * (MAX_LINE + 5) + "\n", ["x" * MAX_LINE + " … (5 characters are not kept)"]),
        ("x" * (MAX_LINE + 5) + "\rshort\n", ["short"]),
    ],
)
def test_carriage_returns_are_applied(text: str, lines: list[str]) -> None:
    found = Lines()
    assert found.feed(text) + found.rest() == lines


class Streams:
    """Two streams that replace those of the process, and the notes of a console that watches them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        self.err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        self.notes: list[dict[str, Any]] = []
        self.console = Console(self.note, 3600)

    def start(self) -> None:
        """Must be called inside the test, because pytest replaces the streams before it."""
        self._patch.setattr(sys, "stdout", self.out)
        self._patch.setattr(sys, "stderr", self.err)
        self.console.start()

    def note(self, kind: str, body: bytes) -> None:
        assert kind == "console"
        self.notes.append(json.loads(body))

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(note["stream"], line) for note in self.notes for line in note["lines"]]


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Streams]:
    streams = Streams(monkeypatch)
    yield streams
    streams.console.stop()


def test_both_streams_are_recorded_in_order(streams: Streams) -> None:
    streams.start()
    started = time.time()
    print("one")
    print("two", file=sys.stderr)
    sys.stdout.writelines(["three\n", "four\n", "open"])
    streams.console.stop()
    assert streams.lines == [
        *[("stdout", "one"), ("stderr", "two"), ("stdout", "three"), ("stdout", "four"), ("stdout", "open")],
    ]
    assert [note["number"] for note in streams.notes] == [0, 1, 2]
    times = [at for note in streams.notes for at in note["times"]]
    assert started - 0.001 <= min(times) <= max(times) <= time.time() + 0.001
    assert streams.out.buffer.getvalue() == b"one\nthree\nfour\nopen"  # type: ignore[attr-defined]  # a BytesIO


def test_streams_keep_their_identity(streams: Streams) -> None:
    streams.start()
    assert sys.stdout is streams.out
    assert isinstance(sys.stdout, io.TextIOBase)
    assert (sys.stdout.encoding, sys.stdout.isatty()) == ("utf-8", False)
    assert sys.stdout.write("ab") == 2
    with pytest.raises(TypeError):
        sys.stdout.write(5)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(io.UnsupportedOperation):
        sys.stdout.fileno()
    streams.console.stop()
    assert "write" not in vars(streams.out)
    print("later")
    assert streams.lines == [("stdout", "ab")]


def test_later_wrappers_keep_working(streams: Streams) -> None:
    streams.start()
    seen: list[str] = []
    ours = sys.stdout.write

    def later(text: str) -> int:
        seen.append(text)
        return ours(text)

    sys.stdout.write = later  # type: ignore[method-assign]  # like such libraries do
    streams.console.stop()
    print("x")
    assert seen == ["x", "\n"]
    assert streams.lines == []


def test_two_consoles_share_the_streams(streams: Streams) -> None:
    streams.start()
    other: list[bytes] = []
    second = Console(lambda kind, body: other.append(body), 3600)
    second.start()
    print("both")
    second.stop()
    print("one")
    streams.console.stop()
    assert [json.loads(body)["lines"] for body in other] == [["both"]]
    assert streams.lines == [("stdout", "both"), ("stdout", "one")]
    assert "write" not in vars(streams.out)


def test_stream_without_attributes_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow:
        __slots__ = ()

        def write(self, text: str) -> int:
            return len(text)

    monkeypatch.setattr(sys, "stdout", Narrow())
    monkeypatch.setattr(sys, "stderr", None)
    console = Console(lambda kind, body: None, 3600)
    console.start()
    print("x")
    console.stop()
    assert type(sys.stdout) is Narrow


def test_excess_lines_are_counted_and_reported(streams: Streams) -> None:
    streams.start()
    for number in range(2000):
        print(f"{number:999}")
    streams.console.stop()
    kept = [line for stream, line in streams.lines if stream == "stdout"]
    assert kept == [f"{number:999}" for number in range(len(kept))]
    assert 400 < len(kept) < 1000
    (said,) = [line for stream, line in streams.lines if stream == "stderr"]
    missing = 2000 - len(kept)
    assert "were written too fast, and are not kept here" in said
    assert missing * 990 < int(said.removeprefix("[stepwell: ").partition(" ")[0].replace(",", "")) < missing * 1001


def test_recording_continues_after_a_flood(streams: Streams) -> None:
    streams.start()
    print("x" * (_console.MAX_WAITING + 10))
    for _ in range(100):
        print("too much")
    streams.console._collect()
    print("after it")
    streams.console.stop()
    assert streams.lines[-1] == ("stdout", "after it")


def test_refused_note_does_not_affect_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(kind: str, body: bytes) -> None:
        raise SpoolFullError("full")

    console = Console(full, 3600)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), write_through=True))
    console.start()
    print("x")
    console.stop()
    assert console.dropped_lines == 1


def test_threads_write_at_the_same_time(streams: Streams) -> None:
    streams.start()

    def write(name: int) -> None:
        for number in range(200):
            sys.stdout.write(f"{name} {number}\n")
            if number % 50 == 0:
                time.sleep(0)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    streams.console.stop()
    assert sorted(line for _, line in streams.lines) == sorted(f"{n} {i}" for n in range(4) for i in range(200))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_forked_child_restores_the_streams(streams: Streams) -> None:
    streams.start()
    reading, writing = os.pipe()
    print("before")
    child = os.fork()
    if child == 0:
        streams.console.detach()
        print("in the child")
        os.write(writing, b"clean" if "write" not in vars(streams.out) else b"watched")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 100) == b"clean"
    os.close(reading)
    os.close(writing)
    print("after")
    streams.console.stop()
    assert streams.lines == [("stdout", "before"), ("stdout", "after")]


def test_overlapping_runs_leave_no_wrapper_chain(streams: Streams) -> None:
    """Each run ends before the one that started after it."""
    streams.start()
    notes: list[str] = []
    consoles = [streams.console]
    for _ in range(1500):
        consoles.append(Console(lambda kind, body: notes.append(body.decode()), 3600))
        consoles[-1].start()
        consoles.pop(0).stop()
    print("still heard")
    consoles.pop().stop()
    assert "still heard" in "".join(notes)
    assert "write" not in vars(streams.out)


def test_outer_wrappers_make_no_chain(streams: Streams) -> None:
    streams.start()
    seen: list[str] = []
    ours = sys.stdout.write

    def theirs(text: str) -> int:
        seen.append(text)
        return ours(text)

    sys.stdout.write = theirs  # type: ignore[method-assign]
    streams.console.stop()
    for _ in range(1500):
        other = Console(lambda kind, body: None, 3600)
        other.start()
        other.stop()
    assert sys.stdout.write == theirs
    print("end")
    assert seen[-2:] == ["end", "\n"]


@pytest.mark.parametrize("broken", [None, object()])
def test_run_works_without_stderr(broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepwell.terminal.stderr import tell

    monkeypatch.setattr(sys, "stderr", broken)
    tell("nobody hears this")
    console = Console(lambda kind, body: None, 3600)
    console.start()
    console.stop()
