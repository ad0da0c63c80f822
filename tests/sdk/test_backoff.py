"""Pauses double up to a bound, with jitter, without a limit on their number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepwell.transport.backoff import Backoff


@given(st.floats(0.01, 1), st.floats(1, 60), st.integers(1, 200))
def test_pauses_are_jittered_and_double_up_to_the_maximum(min_s: float, max_s: float, count: int) -> None:
    backoff = Backoff(min_s, max_s)
    for number in range(count):
        bound = min(min_s * 2 ** min(number, 100), max_s)
        assert bound / 2 <= backoff.next_s() <= bound


@given(st.floats(0, 100), st.integers(0, 10))
def test_pause_respects_retry_after(asked_s: float, count: int) -> None:
    backoff = Backoff(0.1, 30)
    for _ in range(count):
        assert asked_s <= backoff.next_s(asked_s) <= max(asked_s, 30) + 30


def test_success_resets_the_pause() -> None:
    backoff = Backoff(1, 64)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1


def test_pauses_are_jittered() -> None:
    assert len({Backoff(1, 64).next_s() for _ in range(100)}) > 90
