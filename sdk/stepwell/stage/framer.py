"""From a cut to frames: the rows become dense matrices, one metric after the other, and are cut where a frame is full.

In comes a `Cut` of the stage; out go encoded frames with consecutive seqs: data, then notes. Promises: every row,
object and note of the cut is in exactly one frame; all steps of a frame of data lie above those of the one before it;
notes keep their order. Pure but for the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from stepwell.stage.plan import Cut, CutBlock
from stepwell.wire import MAX_BLOCKS, Block, Object, encode, encode_notes, encode_tombstone

log = logging.getLogger("stepwell")


def frames(cut: Cut, session: bytes, first_seq: int, target_bytes: int) -> Iterator[bytes]:
    """The frames of `cut`.

    Args:
        target_bytes: a frame is halved by steps until it is below this and has no more than `MAX_BLOCKS`, or one step.
    """
    seq = first_seq
    if cut.blocks:
        for blocks, objects in _parts([_matrix(block) for block in cut.blocks], cut.objects, target_bytes):
            values = sum(block.values.size for block in blocks) + len(objects)
            yield _encoded(session, seq, values, partial(encode, session, seq, blocks, objects))
            seq += 1
    for notes in _groups(cut.notes, target_bytes):
        yield _encoded(session, seq, len(notes), partial(encode_notes, session, seq, notes))
        seq += 1


def _encoded(session: bytes, seq: int, values: int, encoded: Callable[[], bytes]) -> bytes:
    """A frame; where none can be made, which only a mistake of ours explains, its place: the others of the cut stay."""
    try:
        return encoded()
    except Exception:
        log.exception("%d values or notes could not be framed, and are lost", values)
        return encode_tombstone(session, seq, min(values, 2**32 - 1))


def _matrix(block: CutBlock) -> Block:
    """float64[S][K], as it was appended, to float64[K][S], as it is stored. Times to whole microseconds."""
    rows = len(block.steps)
    return Block(
        block.names,
        np.frombuffer(block.steps, np.int64),
        np.rint(np.frombuffer(block.times, np.float64) * 1e6).astype(np.int64),
        np.frombuffer(block.values, np.float64).reshape(rows, block.keys).T,
    )


def _parts(
    blocks: Sequence[Block], objects: Sequence[Object], target_bytes: int
) -> Iterator[tuple[Sequence[Block], Sequence[Object]]]:
    size = sum(block.values.nbytes + 16 * len(block.steps) + len(block.names) for block in blocks)
    size += sum(len(item.key) + len(item.body) for item in objects)
    first = min(int(block.steps[0]) for block in blocks)
    last = max(int(block.steps[-1]) for block in blocks)
    if (size <= target_bytes and len(blocks) <= MAX_BLOCKS) or first == last:
        yield blocks, objects
        return
    all_steps = np.sort(np.concatenate([block.steps for block in blocks]))
    middle = int(all_steps[len(all_steps) // 2])  # the first step of the second half
    cuts = [int(np.searchsorted(block.steps, middle)) for block in blocks]
    for part in (
        [_slice(block, 0, at) for block, at in zip(blocks, cuts, strict=True) if at],
        [_slice(block, at, None) for block, at in zip(blocks, cuts, strict=True) if at < len(block.steps)],
    ):
        steps = range(int(min(block.steps[0] for block in part)), int(max(block.steps[-1] for block in part)) + 1)
        yield from _parts(part, [item for item in objects if item.step in steps], target_bytes)


def _groups(notes: Sequence[Object], target_bytes: int) -> Iterator[Sequence[Object]]:
    """Notes in order, in groups below the target, or of one note."""
    start = size = 0
    for index, item in enumerate(notes):
        weight = 24 + len(item.key) + len(item.body)
        if index > start and size + weight > target_bytes:
            yield notes[start:index]
            start, size = index, 0
        size += weight
    if start < len(notes):
        yield notes[start:]


def _slice(block: Block, start: int, stop: int | None) -> Block:
    return Block(block.names, block.steps[start:stop], block.times[start:stop], block.values[:, start:stop])
