"""The content of one call or one open step: values by dot path, and how a later call merges into them.

Part of the stage. A row is filled before the stage takes its lock, and merged while the stage holds it. Receives
converted values, nested or not, and keeps them flat: a dot in a key and nesting mean the same, so the later of
`{"a.b": 1}` and `{"a": {"b": 2}}` wins. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from stepwell.errors import DataError
from stepwell.values.convert import Converted
from stepwell.wire import MAX_KEY_BYTES, MAX_ROW_BYTES, MAX_ROW_KEYS, Object


class Row:
    """The values of a call or a step.

    Attributes:
        values: floats (points) and JSON as bytes (objects), by dot path.
        nested: for values that were in dicts, the keys that lead to them, by dot path.
    """

    __slots__ = ("_above", "nested", "values")

    def __init__(self, values: dict[str, float | bytes] | None = None) -> None:
        self.values: dict[str, float | bytes] = {} if values is None else values
        self.nested: dict[str, tuple[str, ...]] = {}
        self._above: set[tuple[str, ...]] = set()  # the keys that lead to each dict with values; may contain others

    def put(self, name: str, value: Converted) -> None:
        """Sets a top-level value of a call; a dict sets each of its values."""
        if isinstance(value, dict):
            self._put_dict((name,), value)
        elif self.nested:
            self._put((name,), value)
        else:
            self.values[name] = value

    def merged(self, later: Row) -> Row:
        """This row merged with a later call: later values win, dicts merge, and a dict and a scalar replace each other.

        Raises:
            DataError: see `check_size`.
        """
        row = Row({**self.values, **later.values} if not (self.nested or later.nested) else dict(self.values))
        if self.nested or later.nested:
            row.nested, row._above = dict(self.nested), set(self._above)
            for path, value in later.values.items():
                row._put(later.nested.get(path) or (path,), value)
        row.check_size()
        return row

    def without(self, paths: set[str]) -> Row:
        """This row without the values at some paths, which media replace."""
        if paths.isdisjoint(self.values):
            return self
        row = Row({path: value for path, value in self.values.items() if path not in paths})
        row.nested = {path: keys for path, keys in self.nested.items() if path not in paths}
        row._above = self._above
        return row

    def check_size(self) -> None:
        """Checks that the row fits a frame.

        Raises:
            DataError: too many keys, a path that is too long, or too many bytes.
        """
        if len(self.values) > MAX_ROW_KEYS:
            raise DataError(
                "a step has too many metrics",
                detail=f"{len(self.values)}; the limit is {MAX_ROW_KEYS}",
                hint="log an array (it becomes a histogram), or spread the metrics over several steps",
            )
        size = 0
        for path, value in self.values.items():
            path_bytes = len(path) if path.isascii() else len(path.encode())
            if path_bytes > MAX_KEY_BYTES:  # a nested value; single keys have been checked before
                raise DataError(
                    "a key is too long",
                    detail=f"{path[:60]!r}, {path_bytes} bytes with the keys above it",
                    hint=f"at most {MAX_KEY_BYTES} bytes of UTF-8",
                )
            size += path_bytes + (8 if type(value) is float else len(value))  # type: ignore[arg-type]  # bytes
        if size > MAX_ROW_BYTES:
            raise DataError(
                "a step is too large",
                detail=f"{size} bytes; the limit is {MAX_ROW_BYTES}",
                hint="log large things as files, or fewer at a time",
            )

    def _put_dict(self, keys: tuple[str, ...], value: Mapping[str, Converted]) -> None:
        for key, item in value.items():
            if isinstance(item, dict):
                self._put_dict((*keys, key), item)
            else:
                self._put((*keys, key), item)

    def _put(self, keys: tuple[str, ...], value: float | bytes) -> None:
        if keys in self._above:  # a scalar replaces all values below it
            for path, other in list(self.nested.items()):
                if len(other) > len(keys) and other[: len(keys)] == keys:
                    del self.values[path], self.nested[path]
        for end in range(1, len(keys)):  # a dict replaces a scalar
            above = keys[:end]
            path = ".".join(above)
            if path in self.values and self.nested.get(path, (path,)) == above:
                del self.values[path]
                self.nested.pop(path, None)
            self._above.add(above)
        path = ".".join(keys)
        self.values[path] = value
        if len(keys) > 1:
            self.nested[path] = keys
        else:
            self.nested.pop(path, None)


def bytes_of(objects: list[Object]) -> int:
    """The bytes that objects take in the stage."""
    return sum(len(item.key) + len(item.body) for item in objects)
