"""Bounds how often one address may ask for keys that this worker has not accepted yet.

Guessing a key is hopeless, so this protects Postgres, which is asked once for each unknown id. Keys that have been
accepted are not bounded: an attacker cannot shut their holders out.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from stepwell.errors import OverloadedError

_BURST = 100
_PER_S = 10.0
_ADDRESSES = 10_000


class Strangers:
    """The unknown keys of each address.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Checks that an address may ask for another key.

        Raises:
            OverloadedError: the address has sent too many unknown keys.
        """
        left = self._now(address)
        if left < 1:
            raise OverloadedError(
                "too many unknown API keys came from this address",
                retry_after_s=(1 - left) / _PER_S,
                detail=f"the limit is {_BURST} at once, and {_PER_S:g} a second",
                hint="check the API key of the processes at this address",
            )

    def count(self, address: str) -> None:
        """Counts a key that was refused."""
        self._left[address] = (self._now(address) - 1, self._clock())
        self._left.move_to_end(address)
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)

    def _now(self, address: str) -> float:
        """How many unknown keys the address may send at once now."""
        left, at = self._left.get(address, (float(_BURST), 0.0))
        return min(float(_BURST), left + (self._clock() - at) * _PER_S)
