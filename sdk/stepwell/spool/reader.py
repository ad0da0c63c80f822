"""Reads segments: frames by seq for the stream, and the whole directory when a spool is opened again.

Receives the files that `stepwell.spool` wrote, in whatever state a crash or a disk left them; returns frames whose
bytes match their checksums. Promises that every seq of a segment yields exactly one frame, the appended one or a
tombstone in its place, and never a frame that was not appended. `stepwell.spool.segment` describes the format.

Handling of damage:

    a body that does not match its checksum     tombstone with the points and objects that its header counts
    a header that does not match its checksum   the next header of this session is searched at multiples of 8 bytes; a
                                                tombstone for each seq between, with a count of 0 (it is unknown)
    the same, and nothing follows, last file    torn tail: cut off (the rest of an append that did not return)
    a damaged head                              frames are searched as above; other segments give the identity
    the same in the last file, and no frames    crash while the segment was created: the file is removed
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from stepwell import wire
from stepwell.errors import SpoolFormatError, WireError
from stepwell.spool.segment import SUFFIX, Segment, SpoolIdentity, claims_to_be_segment, is_torn_head, read_head

_BUFFER_BYTES = 256 * 1024
_NO_END = 1 << 63


class FrameReader:
    """Reads the frames of one segment by seq. Reading in order costs O(bytes); reading an earlier frame starts again
    from the head."""

    def __init__(self, segment: Segment, session: bytes) -> None:
        self.segment = segment
        self._session = session
        self._file: BinaryIO = segment.path.open("rb", buffering=_BUFFER_BYTES)
        # The frame `_seq` is at `_offset`; the seqs of `_gap` have no readable header.
        self._offset, self._seq = segment.start, segment.first
        self._gap = range(0)
        self._last: tuple[int, bytes, bool] | None = None

    def close(self) -> None:
        self._file.close()

    def frame(self, seq: int) -> tuple[bytes, bool]:
        """The frame with this seq, which must be in this segment, and whether it is a tombstone for a damaged one.

        Raises:
            OSError: the file cannot be read. This does not count as damage: the file may be readable again later.
        """
        if self._last is not None and self._last[0] == seq:
            return self._last[1:]
        if seq < self._seq and seq not in self._gap:
            self._offset, self._seq, self._gap = self.segment.start, self.segment.first, range(0)
        while seq not in self._gap:
            header = self._locate()
            if header is None:
                self._gap = range(self._seq, self.segment.end)
            elif seq >= self._seq:
                body_at = self._offset + wire.HEADER_BYTES
                self._offset += header.length
                self._seq += 1
                if header.seq == seq:
                    frame, damaged = self._read(header, body_at)
                    self._last = (seq, frame, damaged)
                    return frame, damaged
        return wire.encode_tombstone(self._session, seq, 0), True

    def find_end(self) -> tuple[int, int]:
        """The seq after the last frame with a good header and full length, and the offset where that frame ends."""
        while (header := self._locate()) is not None:
            self._offset += header.length
            self._seq += 1
        return self._seq, self._offset

    def _read(self, header: wire.Header, body_at: int) -> tuple[bytes, bool]:
        self._file.seek(body_at - wire.HEADER_BYTES)
        frame = self._file.read(header.length)
        if zlib.crc32(memoryview(frame)[wire.HEADER_BYTES :]) == header.body_crc:
            return frame, False
        lost = header.values + header.dropped
        return wire.encode_tombstone(self._session, header.seq, lost), True

    def _locate(self) -> wire.Header | None:
        """Moves `_offset` and `_seq` to the next readable frame; returns its header, or None at the end."""
        room = self.segment.size - self._offset
        if room < wire.HEADER_BYTES:
            return None
        self._file.seek(self._offset)
        header = self._peek(self._file.read(wire.HEADER_BYTES), 0, room)
        if header is not None:
            return header
        self._file.seek(self._offset)
        rest = self._file.read(room)
        at = rest.find(wire.MAGIC, 8)
        while at >= 0:
            if at % 8 == 0 and (header := self._peek(rest, at, room)) is not None:
                self._gap = range(self._seq, header.seq)
                self._offset, self._seq = self._offset + at, header.seq
                return header
            at = rest.find(wire.MAGIC, at + 1)
        return None

    def _peek(self, buffer: bytes, at: int, room: int) -> wire.Header | None:
        try:
            header = wire.peek(buffer, at)
        except WireError:
            return None
        # Every skipped frame had at least the size of a header, which bounds how far the seq can have moved.
        plausible = self._seq <= header.seq <= self._seq + at // wire.HEADER_BYTES and header.seq < self.segment.end
        return header if plausible and header.session == self._session and header.length <= room - at else None


class Loaded(NamedTuple):
    """The result of `load`.

    Attributes:
        segments: the segments in order, at least one.
        repaired_bytes: the number of bytes that were cut off or removed.
    """

    identity: SpoolIdentity
    segments: list[Segment]
    repaired_bytes: int


def segment_files(directory: Path) -> list[Path]:
    """The segments in `directory`, by first seq; empty when there are none or it cannot be listed."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(SUFFIX)]
    except OSError:
        return []
    return [directory / name for name in sorted(names) if name[: -len(SUFFIX)].isdecimal() and len(name) == 24]


def load(directory: Path) -> Loaded:
    """Scans a spool directory whose lock is held, and repairs its tail.

    Reads the head of every segment, and of the last one the headers of all frames; the others end where the next
    begins. Bodies are checked when they are read.

    Raises:
        SpoolFormatError: another version wrote it, or it is not a spool. No frame was changed.
        OSError: a file cannot be read or repaired.
    """
    paths = segment_files(directory)
    heads = [read_head(path) for path in paths]
    identity = next((head.identity for head in heads if head is not None), None)
    if identity is None:
        torn = all(is_torn_head(path) for path in paths)
        raise SpoolFormatError(
            "the spool holds no frames"
            if torn
            else "this directory is not a spool, or the headers of its segments are damaged",
            detail=str(directory),
            hint="its process ended before it logged anything; delete the directory" if torn else None,
        )
    segments: list[Segment] = []
    for path, head in zip(paths, heads, strict=True):
        first = int(path.stem)
        if head is not None and (head.first_seq != first or head.identity.session != identity.session):
            raise SpoolFormatError(
                "a segment does not belong to this spool",
                detail=f"{path.name} is segment {head.first_seq} of session {head.identity.session.hex()}",
                hint="move it out of the directory",
            )
        if segments:
            segments[-1].end = first
        segments.append(Segment(path, first, _NO_END, head.length if head else 0, path.stat().st_size))
    return Loaded(identity, segments, _repair(directory, segments, identity.session))


def _repair(directory: Path, segments: list[Segment], session: bytes) -> int:
    for leftover in directory.glob(f"*{SUFFIX}.tmp"):  # a rewrite that was interrupted before its rename
        leftover.unlink()
    repaired = 0
    while True:
        last = segments[-1]
        last.end = _NO_END
        reader = FrameReader(last, session)
        try:
            last.end, length = reader.find_end()
        finally:
            reader.close()
        surplus = last.size - length
        if last.start or last.end > last.first:
            if surplus:
                os.truncate(last.path, length)
                last.size = length
            return repaired + surplus
        if not claims_to_be_segment(last.path) and not is_torn_head(last.path):
            raise SpoolFormatError(
                "a file in the spool is not a segment", detail=last.path.name, hint="move it out of the directory"
            )
        last.path.unlink()
        repaired += last.size
        segments.pop()


def locate(segments: list[Segment], seq: int) -> Segment:
    """The segment that holds `seq`; `segments` are in order and the first one begins at or below it."""
    low, high = 0, len(segments)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if segments[middle].first <= seq else (low, middle)
    return segments[low]
