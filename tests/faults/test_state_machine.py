"""Random sequences of actions: a short run of the state machine. `python -m faults.soak` is the long one."""

from __future__ import annotations

import pytest

from faults.soak import machine

pytestmark = [pytest.mark.db, pytest.mark.slow]


def test_each_value_is_stored_once_in_random_histories() -> None:
    verdicts = machine(seed=1, examples=5, steps=12)
    assert verdicts
    assert all(verdict.clean for verdict in verdicts)
