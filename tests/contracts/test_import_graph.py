"""The rooms of the SDK: imports run one way, type imports and imports inside functions included."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.import_graph import Graph, import_graph, report

ROOMS = import_graph().within("stepwell").grouped(depth=2)

#: The rooms from the bottom up: each may import only those before it.
ORDER = [
    *("errors", "wire", "terminal", "transport", "compat"),
    *("values", "observe", "spool", "settings", "data_types", "api", "plot", "files"),
    *("stage", "notes", "delivery", "runs", "testing", "integration"),
]


def test_sdk_has_no_import_cycles() -> None:
    assert ROOMS.circles() == []


@pytest.mark.parametrize("room", ORDER)
def test_sdk_rooms_import_only_lower_rooms(room: str) -> None:
    allowed = {f"stepwell.{name}" for name in ORDER[: ORDER.index(room)]}
    assert ROOMS.arrows[f"stepwell.{room}"] - allowed == set()


def test_every_sdk_room_is_listed() -> None:
    above = {"stepwell", "stepwell.cli", "stepwell.commands", "stepwell.demo", "stepwell.__main__"}
    assert set(ROOMS.arrows) - above == {f"stepwell.{name}" for name in ORDER}


def test_report_counts_rooms_floors_arrows_and_circles(tmp_path: Path) -> None:
    for package, folder in (("stepwell", "sdk"), ("stepwell_ingest", "ingest"), ("stepwell_schema", "schema")):
        (tmp_path / folder / package).mkdir(parents=True)
        (tmp_path / folder / package / "__init__.py").touch()
    rooms = tmp_path / "sdk" / "stepwell"
    (rooms / "wire").mkdir()
    (rooms / "wire" / "__init__.py").write_text("")
    (rooms / "wire" / "frame.py").write_text("from stepwell.wire import names\nfrom stepwell import errors\n")
    (rooms / "wire" / "names.py").write_text("def f():\n    from stepwell.wire.frame import x\n")
    (rooms / "errors.py").touch()
    lines = report(tmp_path).splitlines()
    assert lines[0].startswith("stepwell: 3 rooms on 2 floors, 1 arrows, 1 circles (5 modules")
    assert "  circle: stepwell.wire.frame ↔ stepwell.wire.names" in lines


def test_node_is_one_floor_above_its_imports() -> None:
    graph = Graph({"a.b": frozenset({"a.c"}), "a.c": frozenset(), "a": frozenset()})
    assert graph.floors() == {"a": 1, "a.c": 1, "a.b": 2}
    assert graph.count == 1
