"""The account of a run: where its values are, and the counters of each component.

Off the data path: the sender fills these in from the counters of stage, outbox and stream. Plain values.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """Where every logged point and object is: logged = stored + rejected + dropped + left.

    Attributes:
        logged: points and objects of all closed steps.
        stored: acknowledged by the server.
        rejected: refused by the server for good.
        dropped: lost here for want of room.
        left: still in the spool or in memory.
    """

    logged: int
    stored: int
    rejected: int
    dropped: int
    left: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What happened at each station so far. Values are points and objects.

    Attributes:
        steps_logged: steps closed and cut.
        steps_back: calls dropped because their step had passed.
        steps_quarantined: likewise, but put aside (`Settings.step_back`).
        calls_dropped: calls for which the stage had no room in time.
        values_logged: in all frames.
        values_spooled: went to the disk at once.
        values_unspooled: waited in memory, because the disk took nothing.
        values_dropped: lost, because disk and memory were full.
        frames_sent, bytes_sent: over the wire, retries included.
        frames_stored, frames_duplicate, frames_rejected: as the server answered.
        values_acknowledged, values_rejected: what these held.
        connections: how often the stream attached.
        durable_step: committed in Postgres up to this step; None: nothing yet (offline: always).
        notes: what was said of the run beside values (summary, config and the like); in no other count of values.
        notes_dropped: lost for want of room; with whole segments that are given up, notes go uncounted.
    """

    steps_logged: int
    steps_back: int
    steps_quarantined: int
    calls_dropped: int
    values_logged: int
    values_spooled: int
    values_unspooled: int
    values_dropped: int
    frames_sent: int
    bytes_sent: int
    frames_stored: int
    frames_duplicate: int
    frames_rejected: int
    values_acknowledged: int
    values_rejected: int
    connections: int
    durable_step: int | None
    notes: int = 0
    notes_dropped: int = 0
