"""The tree of errors: complete in its docstring, with distinct codes, and unchanged by the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import stepwell
from stepwell import errors
from stepwell.errors import (
    AuthenticationError,
    BlobOffsetError,
    DataError,
    Error,
    FrameCorruptError,
    OverloadedError,
    RejectionError,
    SequenceGapError,
    ServerError,
    SettingError,
    from_dict,
)


def tree(kind: type[Error], depth: int = 0) -> Iterator[tuple[int, type[Error]]]:
    yield depth, kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


CLASSES = [kind for _, kind in tree(Error)]


def example(kind: type[Error]) -> Error:
    if kind is OverloadedError:
        return OverloadedError("no room", retry_after_s=2.5, detail="300 of 256 MiB", hint="wait")
    if kind is SequenceGapError:
        return SequenceGapError("a gap", expected=7, detail="seq 9", hint="resume")
    if kind is BlobOffsetError:
        return BlobOffsetError("a gap", offset=7, detail="byte 9", hint="resume")
    return kind("what happened", detail="the numbers", hint="what to do")


def test_docstring_shows_every_class() -> None:
    assert errors.__doc__
    drawn = [
        (len(match[1]) // 4, match[2]) for match in re.finditer(r"^    ([│├└─ ]*)(\w*Error)\b", errors.__doc__, re.M)
    ]
    assert [(depth, kind.__name__) for depth, kind in tree(Error)] == drawn


def test_docstring_marks_retryable_errors() -> None:
    assert errors.__doc__
    marked = {re.findall(r"\w+Error", line)[0] for line in errors.__doc__.splitlines() if "(retryable)" in line}
    own = {kind.__name__ for kind in CLASSES if "retryable" in vars(kind) and kind.retryable}
    assert own == marked == {"AuthenticationError", "FrameCorruptError", "ServerError"}
    again = ServerError | FrameCorruptError | AuthenticationError
    assert all(kind.retryable == issubclass(kind, again) for kind in CLASSES)


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in CLASSES]
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("kind", CLASSES)
def test_error_round_trip(kind: type[Error]) -> None:
    sent = example(kind)
    received = from_dict(sent.as_dict())
    assert (type(sent), str(sent), sent.as_dict(), sent.retryable) == (
        type(received),
        str(received),
        received.as_dict(),
        received.retryable,
    )


@pytest.mark.parametrize("kind", CLASSES)
def test_text_has_detail_and_hint(kind: type[Error]) -> None:
    error = example(kind)
    assert f"{error.message} ({error.detail})\n  Hint: {error.hint}" == str(error)
    assert kind.code == error.as_dict()["code"]


def test_text_without_detail_and_hint() -> None:
    assert (
        str(Error("alone")),
        Error("alone").as_dict(),
    ) == ("alone", {"code": "error", "retryable": False, "message": "alone"})


def test_bad_data_is_type_and_value_error() -> None:
    assert issubclass(DataError, TypeError)
    assert issubclass(DataError, ValueError)
    assert issubclass(SettingError, ValueError)


@pytest.mark.parametrize(("retryable", "kind"), [(True, ServerError), (False, RejectionError)])
def test_unknown_error_keeps_its_retry_meaning(retryable: bool, kind: type[Error]) -> None:
    error = from_dict({"code": "moon_phase", "retryable": retryable, "message": "wrong moon", "hint": "wait"})
    assert (kind, "wrong moon [moon_phase]\n  Hint: wait") == (type(error), str(error))


def test_empty_answer_is_a_rejection() -> None:
    assert (RejectionError, "the server did not give a reason [None]") == (type(from_dict({})), str(from_dict({})))


def test_user_errors_are_public() -> None:
    for name in ("Error", "UsageError", "DataError", "RejectionError", "ServerError", "SpoolError"):
        assert getattr(errors, name) is getattr(stepwell, name)
