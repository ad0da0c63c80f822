"""Sealing with a mistake in it, for tests of the judge: what it must see.

    no-claim        a pass neither claims its writer nor compares when it hands over: two sealers take the same points
    no-snapshots    a slot is emptied as soon as it is sealed, whoever still reads with an older snapshot
    no-hand-over    chunks are written, and the points stay in hot history, too

The first and the last are of the sealer, the second is of the database; so is that of the view (`tests/faults`).
"""

from __future__ import annotations

from typing import Any

from stepwell_ingest.seal import sealer

_REPLACED = {
    "no-claim": {
        "claim": "SELECT $1::bigint IS NOT NULL AND $2::integer IS NOT NULL",
        "hand_over": "UPDATE stepwell.ledger SET sealed_below = greatest(sealed_below, $5), sealed_points = sealed_points + $6 "
        "WHERE run_id = $1 AND writer_id = $2 AND epoch = $3 AND $4::bigint IS NOT NULL",
    },
    # One hand-over is skipped; the next ones see the points again.
    "no-hand-over": {
        "hand_over": "UPDATE stepwell.ledger SET sealed_points = sealed_points + $6 "
        "WHERE run_id = $1 AND writer_id = $2 AND epoch = $3 AND $4::bigint IS NOT NULL AND $5::bigint IS NOT NULL"
    },
}


def break_sealing(mutant: str) -> None:
    """In this process."""
    original = sealer.queries

    def queries(module: str) -> dict[str, str]:
        return {**original(module), **_REPLACED[mutant]}

    broken: Any = queries
    sealer.queries = broken
