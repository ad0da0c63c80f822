"""An answer of `POST /v1/sql` is read in whatever pieces it arrives, and a cut is noticed wherever it is."""

from __future__ import annotations

import io
from typing import Any, cast

import orjson
import pytest

from stepwell.commands.sql_answer import SqlAnswer
from stepwell.errors import CommError, Error, UnavailableError

ROWS = [[1, "a,]}ü", None], [9007199254740993, "", {"k": [1, 2]}], [3, '\\"', []]]
WHOLE = b'{"columns":[{"name":"n","type":"int8"}],"rows":%s,"truncated":false,"elapsed_ms":1,"hints":["x"]}\n' % (
    orjson.dumps(ROWS)
)


class Reply:
    """Gives so many bytes at a time."""

    def __init__(self, body: bytes, size: int) -> None:
        self._body, self._size = io.BytesIO(body), size

    def read1(self, _: int) -> bytes:
        return self._body.read(self._size)


def read(body: bytes, size: int = 1 << 20) -> tuple[list[Any], SqlAnswer]:
    answer = SqlAnswer("a hint")
    rows = [row for batch in answer.read(cast(Any, Reply(body, size))) for row in batch]
    return rows, answer


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_pieces_of_any_size(size: int) -> None:
    rows, answer = read(WHOLE, size)
    assert rows == ROWS
    assert (answer.columns[0].name, answer.truncated, answer.hints) == ("n", False, ["x"])


def test_cut_answer_is_an_error() -> None:
    for length in range(len(WHOLE) - 2):  # the last two: a bracket and a line feed
        with pytest.raises((UnavailableError, CommError)):
            read(WHOLE[:length])


def test_error_after_rows_is_raised() -> None:
    answer = SqlAnswer("")
    body = b'{"columns":[],"rows":[[1],[2]],"error":{"code":"usage","message":"division by zero"}}'
    batches = answer.read(cast(Any, Reply(body, 9)))
    assert next(batches) == [[1], [2]]
    with pytest.raises(Error, match="division by zero"):
        next(batches)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"columns":3,"rows":[]}', b'{"columns":[1],"rows":[]}', b"[]"])
def test_foreign_answer_is_an_error(body: bytes) -> None:
    with pytest.raises((CommError, UnavailableError)):
        read(body)
