"""A mutation fuzzer for frames: decoder and validation must quickly refuse or accept any input.

The inputs are mutants (`faults.fuzz_frames`); the output is one word for each: the code of the refusal, or "accepted".
An accepted frame must be unchanged by another encoding, obey the rules, and become COPY data with consistent lengths.
Anything else is a finding, which is raised with the bytes of the mutant.

    PYTHONPATH=tests:sdk:ingest:schema python -m faults.fuzz --mutants 1000000 --seed 1
    PYTHONPATH=tests:sdk:ingest:schema python -m faults.fuzz --endpoint --mutants 20000 --seed 1
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import signal
import struct
import sys
import time
from collections import Counter
from types import FrameType
from typing import Any

import numpy as np

from faults.fuzz_frames import Mutator
from fixtures.frames import bits
from stepwell import wire
from stepwell.errors import RejectionError, WireError
from stepwell.wire import MAX_TIME_US, Frame
from stepwell_ingest.write import pgcopy
from stepwell_ingest.write.validation import check

SESSION = bytes(range(16))
#: The number of mutants per piece of the long run, and the seconds after which a piece counts as hanging: a hundred
#: times the usual.
PIECE, HANG_S = 1000, 30


class FindingError(AssertionError):
    """A mutant had an effect that no input may have."""


def outcome(raw: bytes, last_step: int = -1) -> str:
    """The outcome of decoding and validating `raw`: "accepted", or the code of the refusal.

    Raises:
        FindingError: they crashed, or accepted inconsistent data.
    """
    try:
        frame = wire.decode(raw)
        check(frame, last_step, wire.MAX_ROW_BYTES)
        keys = [wire.unpack_names(block.names, block.values.shape[0]) for block in frame.blocks]
    except (WireError, RejectionError) as error:
        return error.code
    except Exception as error:
        raise FindingError(f"{type(error).__name__}: {error}; the mutant is {raw.hex()}") from error
    try:
        _check_accepted(frame, keys, last_step)
    except Exception as error:
        raise FindingError(f"accepted, but {type(error).__name__}: {error}; the mutant is {raw.hex()}") from error
    return "accepted"


def _check_accepted(frame: Frame, keys: list[list[str]], last_step: int) -> None:
    header, blocks, objects = frame
    assert (len(blocks), len(objects)) == (header.blocks, header.objects)
    assert header.points == sum(len(names) * len(block.steps) for names, block in zip(keys, blocks, strict=True))
    steps = sorted(step for block in blocks for step in block.steps.tolist())
    assert len(set(steps)) == len(steps)
    assert not steps or steps[0] > last_step
    if header.kind == wire.KIND_NOTES:
        assert all(item.step >= 0 and len(item.key.encode()) <= wire.MAX_NOTE_KIND_BYTES for item in objects)
        again = wire.decode(wire.encode_notes(header.session, header.seq, objects))
        assert (blocks, objects) == ([], again.objects)
    else:
        assert {item.step for item in objects} <= set(steps)
    assert all(0 <= at <= MAX_TIME_US for block in blocks for at in block.times.tolist())
    if header.kind == wire.KIND_DATA:
        again = wire.decode(wire.encode(header.session, header.seq, blocks, objects))
        assert (bits(blocks), objects) == (bits(again.blocks), again.objects)
    rows = [
        pgcopy.BlockRow(1, header.seq, 1, 1, np.arange(len(names), dtype=np.int32), *block[1:])
        for names, block in zip(keys, blocks, strict=True)
    ]
    assert len(rows) == _rows_in(b"".join(map(bytes, pgcopy.block_pieces(rows))), len(pgcopy.BLOCK_COLUMNS))
    things = [
        pgcopy.ObjectRow(1, header.seq, item.step, 1, 1, item.time, item.key.encode(), item.body) for item in objects
    ]
    assert len(things) == _rows_in(b"".join(pgcopy.object_pieces(things)), len(pgcopy.OBJECT_COLUMNS))
    notes = [pgcopy.NoteRow(1, 1, 1, header.seq, 0, *item[:2], item.key.encode(), item.body) for item in objects]
    assert len(notes) == _rows_in(b"".join(pgcopy.note_pieces(notes)), len(pgcopy.NOTE_COLUMNS))


def _rows_in(copy: bytes, columns: int) -> int:
    """The number of rows that COPY would find; checks every length."""
    at, rows = len(pgcopy.SIGNATURE), 0
    while copy[at:] != pgcopy.TRAILER:
        (count,) = struct.unpack_from("!h", copy, at)
        assert count == columns
        at += 2
        for _ in range(columns):
            (length,) = struct.unpack_from("!i", copy, at)
            assert 0 <= length <= len(copy) - at - 4
            at += 4 + length
        rows += 1
    return rows


def fuzz(mutants: int, seed: int | str) -> Counter[str]:
    """The number of mutants for each outcome.

    Raises:
        FindingError: see `outcome`.
    """
    mutator = Mutator(seed)
    seen: Counter[str] = Counter()
    for number in range(mutants):
        seq, step = mutator.rng.randrange(5), mutator.rng.choice((0, 0, 7, 2**40))
        last_step = step - 1 if mutator.rng.random() < 0.9 else step + 1
        try:
            seen[outcome(mutator.mutant(SESSION, seq, step), last_step)] += 1
        except FindingError as error:
            raise FindingError(f"seed {seed}, mutant {number}: {error}") from error
    return seen


def peak_mib() -> float:
    """The peak memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="faults.fuzz", description="Fuzzes decoder and validation, or a real worker.")
    parser.add_argument("--mutants", type=int, default=1_000_000)
    parser.add_argument("--seed", default=None, help="default: drawn, and printed")
    parser.add_argument("--endpoint", action="store_true", help="send them to a worker process with a Postgres")
    arguments = parser.parse_args()
    seed = arguments.seed or str(random.SystemRandom().getrandbits(32))
    say(f"{arguments.mutants:,} mutants, seed {seed}")
    if arguments.endpoint:
        from faults import fuzz_verdict  # starts a Postgres, which is not needed for the decoder alone

        asyncio.run(fuzz_verdict.long_run(arguments.mutants, seed))
        return
    _long_run(arguments.mutants, seed)


def _long_run(mutants: int, seed: str) -> None:
    """Runs in pieces with a progress line each; if a mutant hangs, an alarm ends the process with a traceback."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise FindingError(f"no outcome within {HANG_S} s")

    signal.signal(signal.SIGALRM, hang)
    seen: Counter[str] = Counter()
    fuzz(1000, "warm-up")
    before, began = peak_mib(), time.perf_counter()
    for start in range(0, mutants, PIECE):
        signal.alarm(HANG_S)
        seen += fuzz(min(PIECE, mutants - start), f"{seed}/{start}")
        if start % 100_000 == 99_000:
            report(seen, began, before)
    signal.alarm(0)
    report(seen, began, before)
    say("no crash, no hang, nothing accepted that is not consistent")


def say(text: str) -> None:
    """Prints a progress line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def report(seen: Counter[str], began: float, before_mib: float, **more: Any) -> None:
    """The text of a progress line."""
    outcomes = ", ".join(f"{name} {count:,}" for name, count in seen.most_common())
    took = time.perf_counter() - began
    extra = "".join(f", {name} {value}" for name, value in more.items())
    say(
        f"{sum(seen.values()):,} in {took:.0f} s ({sum(seen.values()) / took:,.0f}/s), peak {peak_mib():.0f} MiB "
        f"({before_mib:.0f} MiB before){extra}: {outcomes}"
    )


if __name__ == "__main__":
    main()
