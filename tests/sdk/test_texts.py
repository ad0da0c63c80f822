"""Sanitised texts: any text becomes JSON that Postgres stores."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.values.text import dump, storable

ANY_CHARACTER = st.characters(exclude_categories=[]) | st.sampled_from("\0\ud800\udfff\\u")
ANY_TEXT = st.text(ANY_CHARACTER, max_size=8)
ANY_JSON = st.recursive(
    ANY_TEXT | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


class Word(str, enum.Enum):  # noqa: UP042 - the older way, which str() shows as Word.A
    A = "a"


@given(ANY_TEXT)
def test_only_what_cannot_be_stored_is_replaced(text: str) -> None:
    found = storable(text)
    assert len(found) == len(text)
    for before, after in zip(text, found, strict=True):
        assert after == ("\ufffd" if before == "\0" or "\ud800" <= before <= "\udfff" else before)


def test_string_subclass_is_a_string() -> None:
    assert type(storable(Word.A)) is str
    assert storable(Word.A) == "a"


def cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(key): cleaned(item) for key, item in value.items()}
    return [cleaned(item) for item in value] if isinstance(value, list) else value


@given(ANY_JSON)
def test_any_value_becomes_valid_json(value: Any) -> None:
    raw = dump(value)
    assert json.loads(raw) == cleaned(value)
    assert all(char not in json.dumps(json.loads(raw), ensure_ascii=False) for char in "\0\ud800\udfff")


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ({1: "a", None: "b"}, b'{"1": "a", "null": "b"}'),
        (2**70, b"1180591620717411303424"),
        (r"\u0000", rb'"\\u0000"'),
        (b"bytes".decode(), b'"bytes"'),
    ],
)
def test_keys_integers_and_escapes_are_exact(value: Any, raw: bytes) -> None:
    assert dump(value) == raw


def test_invalid_json_is_an_error() -> None:
    with pytest.raises(TypeError):
        dump({"a": object()})
