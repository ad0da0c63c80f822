"""Imports run one way: the server imports wire and errors of the SDK, never the reverse, and there are no cycles."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from contracts.import_graph import import_graph

ROOT = Path(__file__).parents[2]
PACKAGES = {"stepwell": "sdk", "stepwell_ingest": "ingest", "stepwell_schema": "schema"}

#: The modules of the SDK that the server may import. `stepwell.cli` is for its commands, which are plugins of
#: `stepwell`.
SHARED = {"stepwell.wire", "stepwell.errors"}
FOR_COMMANDS = {"stepwell.cli"}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    return {
        module_name(path, ROOT / folder): path
        for package, folder in PACKAGES.items()
        for path in sorted((ROOT / folder / package).rglob("*.py"))
    }


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """Our modules that a file imports: at run time, for types only (TYPE_CHECKING), or inside functions."""
    nodes = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (ours for alias in node.names if (ours := resolve(alias.name)))
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, path)
            yield from (ours for alias in node.names if (ours := resolve(f"{base}.{alias.name}", base)))
        nodes += ast.iter_child_nodes(node)  # type: ignore[arg-type]  # children are nodes


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The module that `from … import` names, absolute or relative."""
    if not node.level:
        return str(node.module)
    package = path.parents[node.level - 1]
    root = next(ROOT / folder for folder in PACKAGES.values() if package.is_relative_to(ROOT / folder))
    return ".".join([*package.relative_to(root).parts, *filter(None, [node.module])])


def resolve(*names: str) -> str | None:
    """The first of `names` that is one of our modules."""
    return next((name for name in names if name in MODULES), None)


def broken(importer: str, *targets: str, allowed: Collection[str] = ()) -> list[str]:
    """The imports of `importer` (a package or module) that go to one of `targets`."""
    return [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        if within(name, importer)
        for target in imports(path)
        if any(within(target, forbidden) for forbidden in targets) and not any(within(target, good) for good in allowed)
    ]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_modules_are_found() -> None:
    assert {"stepwell.wire", "stepwell_ingest.server.worker", "stepwell_schema"} <= set(MODULES)
    assert "stepwell.wire" in set(imports(MODULES["stepwell_ingest.write.intake"]))


def test_sdk_does_not_import_the_server() -> None:
    assert broken("stepwell", "stepwell_ingest", "stepwell_schema") == []


def test_schema_imports_no_other_package() -> None:
    assert broken("stepwell_schema", "stepwell", "stepwell_ingest") == []


def test_server_imports_only_wire_and_errors() -> None:
    everywhere = broken("stepwell_ingest", "stepwell", allowed=SHARED)
    in_commands = broken("stepwell_ingest.commands", "stepwell", allowed=SHARED)
    assert [line for line in everywhere if line not in in_commands] == []
    assert broken("stepwell_ingest.commands", "stepwell", allowed=SHARED | FOR_COMMANDS) == []


def test_wire_imports_only_errors() -> None:
    assert broken("stepwell.wire", "stepwell", allowed={"stepwell.wire", "stepwell.errors"}) == []
    assert broken("stepwell.errors", *PACKAGES) == []


#: The rooms of the server from the bottom up: each may import those before it, except the named ones.
STATIONS = [
    "config",
    "config_json",
    "metrics",
    "room",
    "db",
    "access",
    "write",
    "read",
    "blobs",
    "delete",
    "seal",
    "api",
    "server",
    "commands",
]
#: Rooms that must not import each other although one is above the other.
APART = {
    "config_json": {"metrics"},
    "metrics": {"config", "config_json"},
    "db": {"metrics", "config_json"},
    "read": {"write"},
    "seal": {"read", "write", "blobs", "delete"},
    "api": {"seal", "db", "delete"},
}


@pytest.mark.parametrize("station", STATIONS)
def test_server_rooms_import_only_lower_rooms(station: str) -> None:
    above = STATIONS[STATIONS.index(station) + 1 :]
    forbidden = [*above, *APART.get(station, ())]
    assert broken(f"stepwell_ingest.{station}", *(f"stepwell_ingest.{name}" for name in forbidden)) == []


def test_every_server_room_is_listed() -> None:
    inner = {name.split(".")[1] for name in MODULES if name.startswith("stepwell_ingest.")}
    assert inner == set(STATIONS)


@pytest.mark.parametrize("module", ["stepwell.wire.frame", "stepwell.wire.columns", "stepwell_ingest.write.validation"])
def test_pure_modules_import_no_io(module: str) -> None:
    roots = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(str(node.module).partition(".")[0])
    with_effects = {"aiohttp", "asyncio", "asyncpg", "datetime", "os", "pathlib", "socket", "threading", "time"}
    assert roots & with_effects == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_there_are_no_import_cycles(package: str) -> None:
    """Imports for types and inside functions count, because a reader of one module of a cycle must read all of them."""
    assert import_graph().within(package).circles() == []
