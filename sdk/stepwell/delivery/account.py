"""The account of a run: where its values are, and the counters of each component.

Off the data path: the sender fills these in from the counters of stage, outbox and stream. Plain values.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """Accounts for every logged point and object: logged = stored + rejected + dropped + left.

    Attributes:
        logged: points and objects of all steps that were closed and cut.
        stored: acknowledged by the server.
        rejected: refused by the server for good.
        dropped: lost in this process, because neither spool nor memory had room for their frame. Calls that the stage
            dropped are not among them (`Stats.calls_dropped`).
        left: still in the spool or in memory.
    """

    logged: int
    stored: int
    rejected: int
    dropped: int
    left: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The counters of all stations so far. Values are points and objects.

    Attributes:
        steps_logged: steps closed and cut.
        steps_back: calls dropped because their step had passed.
        steps_quarantined: such calls that were quarantined instead (`Settings.step_back`).
        calls_dropped: calls and notes for which the stage had no room in time.
        values_logged: values in all frames.
        values_spooled: values written to the disk at once.
        values_unspooled: values that waited in memory, because the disk failed or the spool was full.
        values_dropped: values lost, because spool and memory were full, or with the oldest segment of a full spool.
        frames_sent, bytes_sent: frames and bytes sent, including retries.
        frames_stored, frames_duplicate, frames_rejected: as the server answered.
        values_acknowledged, values_rejected: the values in acknowledged and rejected frames.
        connections: how often the stream attached.
        durable_step: the step up to which everything is committed in Postgres; None: nothing yet (offline: always).
        notes: notes about the run (summary, config and the like); the counts of values do not include them.
        notes_dropped: notes lost, because there was no room; notes in dropped segments are not counted.
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
