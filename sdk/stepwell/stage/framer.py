"""Turns a cut into frames: rows become dense matrices, metric by metric, which are split if a frame would be too large.

Receives a `Cut` of the stage; returns encoded frames with consecutive seqs: data, then notes. Promises: every row,
object and note of the cut is in exactly one frame; all steps of a data frame are greater than those of the one before
it; notes keep their order. Pure apart from logging.
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
    """Turns `cut` into frames.

    Args:
        cut: rows, objects and notes of the stage.
        session: the id of the session, 16 bytes.
        first_seq: the seq of the first frame.
        target_bytes: a frame is halved by steps until it has at most this size and at most `MAX_BLOCKS` blocks, or
            only one step.
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
    """Encodes a frame. If that fails, which would be a bug, a tombstone takes the place of the frame, and the rest of
    the cut survives."""
    try:
        return encoded()
    except Exception:
        log.exception("%d values or notes could not be encoded, and are lost", values)
        return encode_tombstone(session, seq, min(values, 2**32 - 1))


def _matrix(block: CutBlock) -> Block:
    """Transposes float64[S][K], as appended, to float64[K][S], as stored. Converts times to whole microseconds."""
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
    """Yields the notes in order, in groups of at most `target_bytes`, or of one larger note."""
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
