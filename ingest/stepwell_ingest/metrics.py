"""All metrics that the server exports. `GET /metrics` renders them for Prometheus.

Counters move once for each batch or message, never for each point.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stepwell.errors import Error
from stepwell.wire import Frame, Header


class Committed(Protocol):
    """A recorded frame: its header, its stored contents, and its rejection (None: it was stored)."""

    @property
    def header(self) -> Header: ...
    @property
    def frame(self) -> Frame: ...
    @property
    def rejection(self) -> Error | None: ...


class Metrics:
    """The counters of one worker process.

    Attributes:
        batches: the number of committed batches; streams use it to report progress to their clients.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.frames = Counter("stepwell_frames", "Frames by outcome.", ["outcome"], registry=registry)
        self._frames_stored = self.frames.labels("stored")
        self.points = Counter("stepwell_points_stored", "Points committed.", registry=registry)
        self.objects = Counter("stepwell_objects_stored", "Objects committed.", registry=registry)
        self.notes = Counter("stepwell_notes_stored", "Notes committed.", registry=registry)
        self.bytes = Counter("stepwell_frame_bytes_stored", "Bytes of frames committed.", registry=registry)
        self.batches = 0
        self.batches_failed = Counter(
            "stepwell_batches_failed", "Batches whose senders were told to retry.", registry=registry
        )
        self.batch_seconds = Histogram(
            "stepwell_batch_seconds",
            "From taking a batch to its COMMIT.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=registry,
        )
        self.blobs = Counter("stepwell_blobs_stored", "Files stored for good.", registry=registry)
        self.blob_bytes = Counter("stepwell_blob_bytes_stored", "Bytes of files stored for good.", registry=registry)
        self.refused = Counter(
            "stepwell_requests_refused", "Requests and streams that were refused.", ["code"], registry=registry
        )
        self.streams = Gauge("stepwell_streams", "Open streams.", registry=registry)
        self.held_bytes = Gauge("stepwell_held_bytes", "Bytes between the socket and COMMIT.", registry=registry)
        self.waiting = Gauge("stepwell_submissions_waiting", "Submissions in the queues of writers.", registry=registry)

    def batch_stored(self, frames: int, size: int, seconds: float) -> None:
        """Counts a batch of `frames` frames and `size` bytes that was committed in `seconds`."""
        if frames:
            self.batches += 1
            self.bytes.inc(size)
            self.batch_seconds.observe(seconds)

    def entries_committed(self, entries: Iterable[Committed]) -> None:
        """Counts recorded frames, stored or rejected."""
        stored = points = objects = notes = rejected = 0
        for entry in entries:
            if entry.rejection is None:
                stored += 1
                points += entry.header.points
                objects += entry.header.objects - entry.header.notes
                notes += len(entry.frame.objects) if entry.header.notes else 0
            else:
                rejected += 1
        self._frames_stored.inc(stored)
        if rejected:
            self.frames.labels("rejected").inc(rejected)
        self.points.inc(points)
        if objects:
            self.objects.inc(objects)
        if notes:
            self.notes.inc(notes)

    def blob_taken(self, new: bool, size: int) -> None:
        """Counts an answered upload; `new`: it stored a file that was missing."""
        if new:
            self.blobs.inc()
            self.blob_bytes.inc(size)

    def render(self) -> bytes:
        """The counters in the text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)
