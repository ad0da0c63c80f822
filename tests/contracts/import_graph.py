"""The import graph of the three packages: its rooms, floors, arrows and circles. `make graph` prints it.

A room is a package or module directly below `stepwell`, `stepwell_ingest` or `stepwell_schema`; everything inside it
counts as one. An arrow is "A imports B", whether at run time, for types only, or inside a function. A room stands one
floor above the highest room that it imports. A circle is a set of rooms (or of modules) that import each other.

    python -m contracts.import_graph [CHECKOUT]      with `tests` on PYTHONPATH; CHECKOUT defaults to this one
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"stepwell": "sdk", "stepwell_ingest": "ingest", "stepwell_schema": "schema"}

Arrows = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes with their arrows.

    Attributes:
        arrows: for each node, the nodes that it imports.
    """

    arrows: Arrows

    @property
    def count(self) -> int:
        """The number of arrows."""
        return sum(map(len, self.arrows.values()))

    def circles(self) -> list[list[str]]:
        """Sets of nodes that import each other, each sorted."""
        return sorted(sorted(group) for group in _components(self.arrows) if len(group) > 1)

    def floors(self) -> dict[str, int]:
        """The floor of each node, from 1. The nodes of a circle share a floor."""
        floors: dict[str, int] = {}
        for group in _components(self.arrows):  # the imports of a group come before it
            below = {target for node in group for target in self.arrows[node]} - group
            floor = 1 + max((floors[node] for node in below), default=0)
            floors |= dict.fromkeys(group, floor)
        return floors

    def grouped(self, depth: int) -> Graph:
        """The same graph with all nodes that share their first `depth` names as one."""
        arrows: dict[str, set[str]] = {}
        for node, targets in self.arrows.items():
            room = _room(node, depth)
            arrows.setdefault(room, set()).update(_room(target, depth) for target in targets)
        return Graph({room: frozenset(targets - {room}) for room, targets in arrows.items()})

    def within(self, package: str) -> Graph:
        """The part of the graph below one package."""
        inside = {node for node in self.arrows if node == package or node.startswith(f"{package}.")}
        return Graph({node: self.arrows[node] & inside for node in inside})


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The modules of the packages by their dotted names."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((root / folder / package).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(root: Path = ROOT) -> Graph:
    """The graph of all modules; imports for types and inside functions count."""
    known = modules(root)
    return Graph({name: frozenset(_imports(name, path, known)) - {name} for name, path in known.items()})


def report(root: Path = ROOT) -> str:
    """The text that `make graph` prints."""
    lines = []
    for package in PACKAGES:
        whole = import_graph(root).within(package)
        rooms = whole.grouped(depth=2)
        floors, module_floors = rooms.floors(), whole.floors()
        circles = rooms.circles() + [circle for circle in whole.circles() if circle not in rooms.circles()]
        lines.append(
            f"{package}: {len(rooms.arrows)} rooms on {max(floors.values())} floors, {rooms.count} arrows, "
            f"{len(circles)} circles ({len(whole.arrows)} modules on {max(module_floors.values())} floors, "
            f"{whole.count} arrows)"
        )
        for floor in range(max(floors.values()), 0, -1):
            names = sorted(name.removeprefix(f"{package}.") for name, at in floors.items() if at == floor)
            lines.append(f"  {floor:2}  {'  '.join(names)}")
        lines += [f"  circle: {' ↔ '.join(circle)}" for circle in circles]
    return "\n".join(lines)


def _room(module: str, depth: int) -> str:
    return ".".join(module.split(".")[:depth])


def _imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
            for alias in node.names:
                target = f"{base}.{alias.name}"
                if target in known or base in known:
                    yield target if target in known else base


def _components(arrows: Arrows) -> list[set[str]]:
    """Tarjan's strongly connected components; a component comes after those that it reaches."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = set()
            while node not in group:
                group.add(stack.pop())
            groups.append(group)

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return groups


if __name__ == "__main__":
    print(report(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT))  # noqa: T201 - this is a command
