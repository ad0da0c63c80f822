"""The reports of a sender, read from its stations: the account of all values, and the counters of each station.

Called by users' threads at any moment, while the I/O thread continues, so figures may differ slightly from each other.
"""

from __future__ import annotations

from stepwell.delivery.account import Account, Stats
from stepwell.delivery.collector import Collector
from stepwell.delivery.in_flight import StreamCounts
from stepwell.delivery.outbox import Outbox
from stepwell.stage.stage import Stage


def account_of(collector: Collector, outbox: Outbox, counts: StreamCounts) -> Account:
    """The account of all values."""
    stored, dropped, logged = counts.values_acknowledged, outbox.counts.dropped, collector.logged
    rejected = counts.values_rejected
    if outbox.given_up:  # nothing is left: values that were not stored or lost are rejected
        rejected = logged - stored - dropped
    return Account(logged, stored, rejected, dropped, max(0, logged - stored - rejected - dropped))


def stats_of(stage: Stage, collector: Collector, outbox: Outbox, counts: StreamCounts) -> Stats:
    """The counters of all stations."""
    kept = outbox.counts
    return Stats(
        steps_logged=stage.rows,
        steps_back=stage.late_calls.dropped,
        steps_quarantined=stage.late_calls.quarantined,
        calls_dropped=stage.room.dropped,
        values_logged=collector.logged,
        values_spooled=kept.spooled,
        values_unspooled=kept.unspooled,
        values_dropped=kept.dropped,
        frames_sent=counts.frames_sent,
        bytes_sent=counts.bytes_sent,
        frames_stored=counts.frames_stored,
        frames_duplicate=counts.frames_duplicate,
        frames_rejected=counts.frames_rejected,
        values_acknowledged=counts.values_acknowledged,
        values_rejected=account_of(collector, outbox, counts).rejected,
        connections=counts.connections,
        durable_step=collector.durable_step,
        notes=collector.notes,
        notes_dropped=stage.room.dropped_notes + kept.notes_dropped,
    )
