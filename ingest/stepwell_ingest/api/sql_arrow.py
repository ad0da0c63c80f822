"""Answers of `POST /v1/sql` in the stream format of Arrow, and as Parquet: columns with types, for pandas and the like.

Needs pyarrow (`pip install 'stepwell[arrow]'`), which is imported when such an answer is requested. A column has
the Arrow type that corresponds to its Postgres type; without such a type, its values become text, as in CSV. numeric
becomes float64. Promises bounded memory: a batch of rows is encoded and sent before the next one is read.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from aiohttp import web

from stepwell.errors import Error, UsageError
from stepwell_ingest.api.sql_answers import Answer, text_or_null
from stepwell_ingest.config import Sql
from stepwell_ingest.read.sql import Column

#: Names of functions of pyarrow that return a type, with their arguments, by the name of Postgres' type.
_TYPES: dict[str, tuple[str, ...]] = {
    "bool": ("bool_",),
    "int2": ("int16",),
    "int4": ("int32",),
    "int8": ("int64",),
    "oid": ("uint32",),
    "float4": ("float32",),
    "float8": ("float64",),
    "numeric": ("float64",),
    "date": ("date32",),
    "timestamp": ("timestamp", "us"),
    "timestamptz": ("timestamp", "us", "UTC"),
    "bytea": ("binary",),
    **dict.fromkeys(("text", "varchar", "bpchar", "name"), ("string",)),
}


class ArrowAnswer(Answer):
    """An answer as a stream of record batches."""

    content_type = "application/vnd.apache.arrow.stream"

    def __init__(self, request: web.Request, limits: Sql) -> None:
        super().__init__(request, limits)
        self._arrow: Any = _pyarrow("pyarrow")
        self._sink = _Sink()
        self._writer: Any = None
        self._schema: Any = None
        self._converters: list[Callable[[Any], Any] | None] = []

    async def send(self, columns: Sequence[Column], rows: Sequence[Any]) -> int | None:
        """Sends a batch; returns its size in bytes, or None if it does not fit."""
        if self._writer is None:
            self._begin(columns)
        batch = self._batch(columns, rows)
        size = int(batch.nbytes)
        self._bytes_left -= size
        if self._bytes_left >= 0 and rows:
            self._writer.write_batch(batch)
        await self._write(self._sink.take())
        return size if self._bytes_left >= 0 else None

    async def end(self, truncated: bool, hints: Sequence[str] = ()) -> web.StreamResponse:
        """As in `Answer`."""
        if not truncated:
            self._writer.close()
            await self._write(self._sink.take())
        return await super().end(truncated, hints)

    async def fail(self, error: Error) -> web.StreamResponse:
        """As in `Answer`."""
        self._sink.take()
        return await super().fail(error)

    def _begin(self, columns: Sequence[Column]) -> None:
        if twice := sorted(
            {column.name for column in columns if [other.name for other in columns].count(column.name) > 1}
        ):
            raise UsageError(f"two columns are called {twice[0]!r}", hint="name one of them with AS")
        fields = []
        for column in columns:
            kind, convert = self._type(column.type)
            fields.append(self._arrow.field(column.name, kind))
            self._converters.append(convert)
        self._schema = self._arrow.schema(fields)
        self._writer = self._open(self._schema)

    def _open(self, schema: Any) -> Any:
        return _pyarrow("pyarrow.ipc").new_stream(self._sink, schema)

    def _type(self, kind: str) -> tuple[Any, Callable[[Any], Any] | None]:
        """The Arrow type of a Postgres type, and the function that converts a value; None: no conversion."""
        inner = kind.removesuffix("[]")
        if inner not in _TYPES:
            return self._arrow.string(), text_or_null
        function, *arguments = _TYPES[inner]
        found = getattr(self._arrow, function)(*arguments)
        return (found if inner == kind else self._arrow.list_(found)), (_float if inner == "numeric" else None)

    def _batch(self, columns: Sequence[Column], rows: Sequence[Any]) -> Any:
        arrays = []
        for place, (column, field, convert) in enumerate(zip(columns, self._schema, self._converters, strict=True)):
            values = [row[place] for row in rows]
            try:
                arrays.append(
                    self._arrow.array([convert(value) for value in values] if convert else values, field.type)
                )
            except (self._arrow.ArrowException, OverflowError, ValueError, TypeError) as error:
                raise UsageError(
                    f"the column {column.name!r} has a value that Arrow cannot hold",
                    detail=str(error)[:200],
                    hint=f'select it as text: "{column.name}"::text',
                ) from error
        return self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema)


class ParquetAnswer(ArrowAnswer):
    """An answer as a Parquet file, with a row group for each batch."""

    content_type = "application/vnd.apache.parquet"

    def _open(self, schema: Any) -> Any:
        return _pyarrow("pyarrow.parquet").ParquetWriter(self._sink, schema, compression="zstd")


class _Sink(io.RawIOBase):
    """Collects what pyarrow writes, until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _float(value: Any) -> Any:
    if isinstance(value, list):
        return [_float(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def import_pyarrow() -> None:
    """Imports the modules of pyarrow that answers need.

    Raises:
        UsageError: pyarrow is not installed.
    """
    for name in ("pyarrow", "pyarrow.ipc", "pyarrow.parquet"):
        _pyarrow(name)


def _pyarrow(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            "this server cannot send Arrow or Parquet: pyarrow is not installed there",
            detail=str(error),
            hint="pip install 'stepwell[arrow]' where `stepwell up` runs, or ask for json or csv",
        ) from error
