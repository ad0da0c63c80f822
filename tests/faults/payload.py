"""The values of the fault tests: a pure function of (run, writer, step, i), so that the judge can compute them.

Values are arbitrary 64-bit patterns of float64, including NaN payloads, infinities and −0.0; key sets change from step
to step, and some steps have an object. Names of server-side writers (`<writer>+<session>`) count as their `<writer>`.
"""

from __future__ import annotations

import struct
import zlib

_MASK = (1 << 64) - 1
_KEY_SETS = (("loss",), ("loss", "accuracy"), ("loss", "lr", "gradient/norm"), ("eval/loss", "eval/größe", "loss"))
#: NaN with and without a payload, infinities, −0.0, the smallest denormal, the largest finite.
_SPECIAL = (
    0x7FF8000000000000,
    0x7FF8000000000BAD,
    0xFFF8000000000000,
    0x7FF0000000000000,
    0xFFF0000000000000,
    0x8000000000000000,
    0x0000000000000001,
    0x7FEFFFFFFFFFFFFF,
)
OBJECT_KEY = "note"
#: Keys that are logged in addition to the payload of a step: by a signal handler during another call, and as a file.
NESTED_KEY, PAGE_KEY = "nested", "page"

Payload = dict[str, float | str]


def splitmix64(x: int) -> int:
    """The finaliser of SplitMix64: 64 well mixed bits."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def payload(run: str, writer: str, step: int) -> Payload:
    """The values that `writer` of `run` logs at `step`."""
    seed = splitmix64((zlib.crc32(f"{run}\0{writer}".encode()) << 32) ^ step)
    # Key sets change in bursts, as they do in training loops, so that blocks have many steps.
    keys = _KEY_SETS[splitmix64(step // 16) % len(_KEY_SETS)]
    values: Payload = {key: as_float(_bits(seed, i)) for i, key in enumerate(keys)}
    if seed % 32 == 0:
        values[OBJECT_KEY] = f"schön {seed:x}"
    return values


def nested(run: str, writer: str, step: int) -> float:
    """The values that a signal handler logs at `step`, if any."""
    return as_float(splitmix64(zlib.crc32(f"{run}\0{writer}\0nested".encode()) ^ step) >> 2)


def page(run: str, writer: str, step: int) -> str | None:
    """The page that goes with `step`; None for most steps."""
    return f"<p>{run} {writer} {step}</p>" if step % 61 == 7 else None


def alert(step: int) -> str | None:
    """The title of the alert that goes with `step`; None for most steps."""
    return f"step {step}" if step % 53 == 5 else None


def bits(value: float) -> int:
    """The 64 bits of a float."""
    return int.from_bytes(struct.pack("<d", value), "little")


def as_float(pattern: int) -> float:
    """The float of these 64 bits."""
    value: float = struct.unpack("<d", pattern.to_bytes(8, "little"))[0]
    return value


def writer_of(name: str) -> str:
    """The writer that logged the values stored under a name; late spools have names with a suffix."""
    return name.partition("+")[0]


def _bits(seed: int, i: int) -> int:
    mixed = splitmix64(seed + i)
    return _SPECIAL[mixed % len(_SPECIAL)] if mixed >> 61 == 0 else splitmix64(mixed)
