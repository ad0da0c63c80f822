"""Imports run one way: server → wire and errors of the SDK, never back; and no module imports itself round a corner."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"stepwell": "sdk", "stepwell_ingest": "ingest", "stepwell_schema": "schema"}

#: What the server may know of the SDK. `stepwell.cli` is for its commands, which plug into `stepwell`.
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


def imports(path: Path, *, for_types: bool = True, in_functions: bool = True) -> Iterator[str]:
    """The modules of ours that a file imports.

    Args:
        for_types: with those under TYPE_CHECKING, which do not happen when it runs.
        in_functions: with those that happen later, which can make no cycle.
    """
    nodes = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (ours for alias in node.names if (ours := resolve(alias.name)))
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, path)
            yield from (ours for alias in node.names if (ours := resolve(f"{base}.{alias.name}", base)))
        elif not in_functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif not for_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse  # type: ignore[arg-type]  # statements are nodes
            continue
        nodes += ast.iter_child_nodes(node)  # type: ignore[arg-type]  # children are nodes


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The module that `from … import` names, also when it is relative."""
    if not node.level:
        return str(node.module)
    package = path.parents[node.level - 1]
    root = next(ROOT / folder for folder in PACKAGES.values() if package.is_relative_to(ROOT / folder))
    return ".".join([*package.relative_to(root).parts, *filter(None, [node.module])])


def resolve(*names: str) -> str | None:
    """The first of `names` that is a module of ours."""
    return next((name for name in names if name in MODULES), None)


def broken(importer: str, *targets: str, allowed: Collection[str] = (), for_types: bool = True) -> list[str]:
    """The imports of `importer` (a package or module) that go to one of `targets`."""
    return [
        f"{name} imports {target}"
        for name, path in MODULES.items()
        if within(name, importer)
        for target in imports(path, for_types=for_types)
        if any(within(target, forbidden) for forbidden in targets) and not any(within(target, good) for good in allowed)
    ]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_there_is_something_to_look_at() -> None:
    assert {"stepwell.wire", "stepwell_ingest.server.worker", "stepwell_schema"} <= set(MODULES)
    assert "stepwell.wire" in set(imports(MODULES["stepwell_ingest.write.intake"]))


def test_the_sdk_imports_nothing_of_the_server() -> None:
    assert broken("stepwell", "stepwell_ingest", "stepwell_schema") == []


def test_the_schema_imports_nothing_of_ours() -> None:
    assert broken("stepwell_schema", "stepwell", "stepwell_ingest") == []


def test_the_server_knows_only_wire_and_errors_of_the_sdk() -> None:
    everywhere = broken("stepwell_ingest", "stepwell", allowed=SHARED)
    in_commands = broken("stepwell_ingest.commands", "stepwell", allowed=SHARED)
    assert [line for line in everywhere if line not in in_commands] == []
    assert broken("stepwell_ingest.commands", "stepwell", allowed=SHARED | FOR_COMMANDS) == []


def test_the_wire_knows_only_the_errors() -> None:
    assert broken("stepwell.wire", "stepwell", allowed={"stepwell.wire", "stepwell.errors"}) == []
    assert broken("stepwell.errors", *PACKAGES) == []


@pytest.mark.parametrize(
    ("importer", "forbidden"),
    [
        ("stepwell_ingest.write", ["api", "read", "seal", "commands", "server"]),
        ("stepwell_ingest.read", ["api", "write", "seal", "commands", "server"]),
        ("stepwell_ingest.seal", ["api", "read", "write", "commands", "server"]),
        ("stepwell_ingest.blobs", ["api", "read", "seal", "commands", "server"]),
        ("stepwell_ingest.db", ["api", "read", "write", "seal", "commands", "server"]),
        ("stepwell_ingest.api", ["commands", "seal", "db"]),
        ("stepwell_ingest.config", ["api", "read", "write", "seal", "db", "commands", "server"]),
        ("stepwell_ingest.metrics", ["api", "read", "write", "seal", "db", "commands", "server"]),
    ],
)
def test_the_stations_of_the_server_import_only_forward(importer: str, forbidden: list[str]) -> None:
    """`api` → `write` and `read` → `db`. For types, a module may look at what stands before it."""
    assert broken(importer, *(f"stepwell_ingest.{name}" for name in forbidden), for_types=False) == []


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
def test_no_module_imports_itself_round_a_corner(package: str) -> None:
    graph = {
        name: {target for target in imports(path, for_types=False, in_functions=False) if within(target, package)}
        for name, path in MODULES.items()
        if within(name, package)
    }
    for name, targets in graph.items():
        targets.discard(name)
    # `from stepwell import wire` runs the package's __init__, too, but needs nothing of it.
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]), pytrace=False)
