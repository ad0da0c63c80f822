"""The rules for values, keys, names, steps, times and notes are in `stepwell.wire`, and both ends follow them."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fixtures.stages import new_stage
from stepwell import wire
from stepwell.errors import DataError, SettingError
from stepwell.settings import resolve
from stepwell.settings.resolve import checked_tags
from stepwell.stage.framer import frames
from stepwell.values.convert import jsonable
from stepwell.values.text import dump
from stepwell_ingest.api.attach import parse_attach
from stepwell_ingest.api.edits import _changes
from stepwell_ingest.config import Limits
from stepwell_ingest.write.validation import check

ROOT = Path(__file__).parents[2]
#: Numbers with a single meaning; 64 KiB, for example, has several.
TELLING = {
    *(wire.MAX_ROW_BYTES, wire.MAX_KEY_BYTES, wire.MAX_INT_BITS, wire.MAX_DECIMALS),
    *(wire.MAX_STEP, wire.MAX_STEP + 1, wire.MAX_TIME_US, 253_402_300_800),
}
#: Modules in which 2**63 - 1 is the largest bigint.
OTHERWISE = {"query.py": {2**63 - 1}, "deltas.py": {2**63 - 1}}

ARITHMETIC = {ast.BinOp, ast.Constant, ast.Add, ast.Sub, ast.Mult, ast.Pow}

KEYS = st.text(max_size=4) | st.sampled_from(["a.b", "a", "\0", "\ud800", "k" * 40_000, "ü" * 16_384, "_timestamp"])
NUMBERS = (
    st.floats()
    | st.integers()
    | st.sampled_from([2**53 + 1, 2**1023 - 1, 2**1023, -(2**1024), 5e-324, 253_402_300_799.99997, 253_402_300_800])
)
TEXTS = st.text(max_size=4) | st.sampled_from(["\0", "\udc80", "\\u0000", r"\\u0000", "1e-20000", "."])
VALUES = st.recursive(
    NUMBERS | TEXTS | st.booleans() | st.none() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
STEPS = st.none() | st.integers(0, 9) | st.sampled_from([2**63 - 2, 2**63 - 1, 2**62])
CALLS = st.lists(st.tuples(st.dictionaries(KEYS, VALUES, max_size=4), STEPS), max_size=5)


def nested(levels: int, wrap: str = "list") -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if wrap == "list" else [{"k": value}]
    return value


def numbers_in(path: Path) -> Iterator[float]:
    """The numeric literals of a module; 2**63 - 2 counts as one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node.value
        elif isinstance(node, ast.BinOp) and {type(part) for part in ast.walk(node)} <= ARITHMETIC:
            yield eval(compile(ast.Expression(node), "", "eval"), {})


def test_limits_are_defined_only_in_wire() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {value}"
        for folder in ("sdk/stepwell", "ingest/stepwell_ingest")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.parent.name != "wire"
        for value in set(numbers_in(path)) & TELLING - OTHERWISE.get(path.name, set())
    ]
    assert found == []


def test_server_accepts_sdk_defaults() -> None:
    config = Limits()
    assert (config.object_bytes, config.message_bytes) == (wire.MAX_ROW_BYTES, wire.MAX_FRAME_BYTES)


def accepted_by_the_server(cut: Any) -> int:
    last_step = -1
    for raw in frames(cut, bytes(16), 0, 1 << 20):
        frame = wire.decode(raw)
        for block in frame.blocks:
            wire.unpack_names(block.names, block.values.shape[0])
        last_step = check(frame, last_step, Limits().object_bytes)
    return last_step


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls=CALLS)
@example(calls=[({"v": nested(wire.MAX_DEPTH)}, None), ({"v": nested(wire.MAX_DEPTH + 1)}, None)])
@example(calls=[({"a": {"b": {"v": nested(wire.MAX_DEPTH - 2)}}}, None), ({"v": nested(50, "dict")}, None)])
@example(calls=[({"v": 1}, wire.MAX_STEP), ({"v": 2}, None)])
@example(calls=[({"v": 1, "t": "x", "_timestamp": math.nextafter(253_402_300_800, 0)}, None)])
@example(calls=[({"v": 2**1023 - 1, "w": [2**1023 - 1, -(2**1023) + 1]}, None), ({"v": 2**1023}, None)])
@example(calls=[({"a" * 16_383: {"b" * 16_383: 1}, "x": {"k" * 32_766: "t"}}, None)])
def test_server_accepts_what_the_stage_accepts(calls: list[tuple[dict[str, Any], int | None]]) -> None:
    stage = new_stage()
    for data, step in calls:
        try:
            stage.log(data, step)
        except DataError:
            continue
    stage.close()
    cut = stage.cut()
    if cut is not None:
        accepted_by_the_server(cut)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(["config", "summary", "meta"]), value=VALUES)
@example(kind="config", value=nested(wire.MAX_DEPTH))
@example(kind="summary", value={"\0": "\ud800", "n": 2**1023 - 1})
def test_server_accepts_notes_of_any_value(kind: str, value: Any) -> None:
    try:
        body = dump({"set": {"key": jsonable(value)}})
    except DataError:
        return
    stage = new_stage()
    stage.note(kind, body)
    cut = stage.cut()
    assert cut is not None
    assert accepted_by_the_server(cut) == -1


@pytest.mark.parametrize("name", ["a", "ü" * 128, "\U0001f600" * 128, "a b"])
def test_server_accepts_names_from_settings(name: str) -> None:
    made = resolve({}, entity=name, project=name, run_id=name, writer=name)
    message = {"type": "attach", "protocol": wire.PROTOCOL_VERSION, "session": "0" * 32, "writer": made.writer}
    request = parse_attach(orjson.dumps(message | {"entity": made.entity, "project": made.project, "run": made.run_id}))
    assert (request.entity, request.project, request.run, request.writer) == (name,) * 4


def test_tags_have_one_limit() -> None:
    longest = "t" * wire.MAX_TAG
    assert checked_tags([longest]) == (longest,)
    assert _changes(orjson.dumps({"tags": [longest]})) == {"tags": [longest]}
    with pytest.raises(SettingError):
        checked_tags([longest + "t"])
    with pytest.raises(DataError):
        _changes(orjson.dumps({"tags": [longest + "t"]}))


def test_http_changes_follow_the_logging_rules() -> None:
    """An escaped backslash before u0000 is text, and the nesting of a config is limited to what readers accept."""
    assert _changes(rb'{"notes": "\\u0000"}') == {"notes": r"\u0000"}
    with pytest.raises(DataError, match="NUL"):
        _changes(rb'{"notes": "\u0000"}')
    config = {"config": {"k": nested(wire.MAX_DEPTH)}}
    assert _changes(orjson.dumps(config)) == config
    with pytest.raises(DataError, match="the body is nested too deeply"):
        _changes(orjson.dumps({"config": {"k": nested(2 * wire.MAX_DEPTH)}}))
