"""Finds names similar to a mistyped one, for hints. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_COUNT = 5
_ALIKE = 0.6
#: If there are more names than this, only those with the same beginning are compared: a comparison takes some 10 µs.
_COMPARED = 5_000


def near(name: str, known: Iterable[str]) -> list[str]:
    """At most five of the names, the most similar to `name` first; empty if no name is similar."""
    lower = name.lower()
    names = list(known)
    if len(names) > _COMPARED:
        names = [other for other in names if other.lower().startswith(lower[:4])][:_COMPARED]
    by_lower: dict[str, str] = {other.lower(): other for other in names}
    alike = difflib.get_close_matches(lower, by_lower, _COUNT, _ALIKE)
    # A name that is a segment of another one ("loss" of "train/loss") counts as similar, too.
    parts = [other for other in by_lower if other not in alike and lower in other.replace("/", " ").split()]
    return [by_lower[other] for other in (alike + sorted(parts, key=len))[:_COUNT]]
