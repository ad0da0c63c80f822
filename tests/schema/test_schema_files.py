"""The SQL files of the schema: names, checksums, and that every query has a description."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import stepwell_schema

ROOT = Path(stepwell_schema.__file__).parent
QUERY_FILES = sorted((ROOT / "queries").glob("*.sql"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A schema package with empty folders, in place of the real one."""
    for folder in ("migrations", "functions", "views", "queries"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr("stepwell_schema.resources.files", lambda _: tmp_path)
    return tmp_path


def test_migrations_are_numbered_in_order() -> None:
    numbers = [int(file.name[:4]) for file in stepwell_schema.migrations()]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1


def test_every_file_in_the_package_is_read() -> None:
    for folder, read in (
        ("migrations", stepwell_schema.migrations),
        ("functions", stepwell_schema.functions),
        ("views", stepwell_schema.views),
    ):
        assert [f"{file.name}.sql" for file in read()] == sorted(path.name for path in (ROOT / folder).iterdir())


def test_checksum_ignores_line_endings(package: Path) -> None:
    file = package / "migrations" / "0001_first.sql"
    file.write_bytes(b"SELECT 1;\nSELECT 2;\n")
    first = stepwell_schema.migrations()
    file.write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    assert stepwell_schema.migrations() == first
    assert first[0].checksum == "82efb67f3010c6eb7ead02e4f6d9550633dbc1407f99aa487468e7b2567aebbc"


@pytest.mark.parametrize("name", ["1_first", "00001_first", "first", "0001", "0001_"])
def test_misnamed_migration_is_refused(package: Path, name: str) -> None:
    (package / "migrations" / f"{name}.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match=r"^migrations/.* is not named NNNN_name\.sql"):
        stepwell_schema.migrations()


@pytest.mark.parametrize(
    ("folder", "read"), [("functions", stepwell_schema.functions), ("views", stepwell_schema.views)]
)
@pytest.mark.parametrize("name", ["0001_first", "first", "010"])
def test_unnumbered_function_or_view_file_is_refused(
    package: Path, folder: str, read: Callable[[], list[stepwell_schema.SqlFile]], name: str
) -> None:
    (package / folder / f"{name}.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match=rf"^{folder}/{name}\.sql is not named NNN_name\.sql"):
        read()


def test_files_are_ordered_by_number(package: Path) -> None:
    for name in ("020_a", "010_b", "100_c"):
        (package / "functions" / f"{name}.sql").write_text("SELECT 1")
    assert [file.name for file in stepwell_schema.functions()] == ["010_b", "020_a", "100_c"]


@pytest.mark.parametrize(("folder", "number"), [("migrations", "0001"), ("functions", "010"), ("views", "010")])
def test_duplicate_file_numbers_are_refused(package: Path, folder: str, number: str) -> None:
    for name in ("a", "b"):
        (package / folder / f"{number}_{name}.sql").write_text("SELECT 1")
    with pytest.raises(ValueError, match=rf"{number}_b\.sql has the number of {number}_a\.sql"):
        getattr(stepwell_schema, folder)()


@pytest.mark.parametrize("path", QUERY_FILES, ids=lambda path: path.stem)
def test_every_query_has_a_description(path: Path) -> None:
    lines = path.read_text().splitlines()
    marks = [number for number, line in enumerate(lines) if line.startswith("-- name:")]
    bare = [lines[number] for number in marks if not lines[number + 1].startswith("-- ")]
    assert not bare
    assert len(stepwell_schema.queries(path.stem)) == len(marks) > 0


def test_query_keeps_inner_comments_only(package: Path) -> None:
    (package / "queries" / "one.sql").write_text(
        "-- Queries of the module one.\n\n"
        "-- name: first\n-- What it is for,\n-- in two lines.\nSELECT 1\n-- inner\n+ 1;\n\n"
        "-- name: second\nSELECT 2\n"
    )
    assert stepwell_schema.queries("one") == {"first": "SELECT 1\n-- inner\n+ 1;", "second": "SELECT 2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "SQL before the first"),
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "'a' is no identifier, or comes twice"),
        ("-- name:\nSELECT 1", "'' is no identifier"),
        ("-- name: a\n-- only a description\n", "no SQL under a"),
    ],
)
def test_malformed_query_file_is_refused(package: Path, text: str, message: str) -> None:
    (package / "queries" / "bad.sql").write_text(text)
    with pytest.raises(ValueError, match=message):
        stepwell_schema.queries("bad")
