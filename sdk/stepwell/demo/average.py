"""Averages gradients across the demo's ranks: all ranks send theirs to rank 0, which sends the mean back.

Takes the place of NCCL in a real job. Receives float64 arrays of equal length, one for each rank and step; returns
their mean, the same on all ranks. Uses a Unix socket whose path all ranks know.
"""

from __future__ import annotations

import time
from multiprocessing.connection import Client, Connection, Listener
from types import TracebackType
from typing import Self

import numpy as np

from stepwell.demo.model import Array

_CONNECT_S = 30.0


class Averager:
    """One rank's connection to the others.

    Args:
        path: the path of the socket.
        rank, size: this rank, and the number of ranks.
    """

    def __init__(self, path: str, rank: int, size: int) -> None:
        self._size = size
        self._peers: list[Connection] = []
        if rank == 0:
            with Listener(path, family="AF_UNIX", backlog=size) as listener:
                self._peers = [listener.accept() for _ in range(size - 1)]
        else:
            self._peers = [_connect(path)]
        self._is_hub = rank == 0

    def mean(self, own: Array) -> Array:
        """The mean over all ranks.

        Raises:
            EOFError, OSError: another rank has ended.
        """
        if self._is_hub:
            total = own.copy()
            for peer in self._peers:
                total += np.frombuffer(peer.recv_bytes())
            total /= self._size
            raw = total.tobytes()
            for peer in self._peers:
                peer.send_bytes(raw)
            return total
        self._peers[0].send_bytes(own.tobytes())
        return np.frombuffer(self._peers[0].recv_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self._peers:
            peer.close()


def _connect(path: str) -> Connection:
    deadline = time.monotonic() + _CONNECT_S
    while True:
        try:
            return Client(path, family="AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):  # rank 0 does not listen yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
