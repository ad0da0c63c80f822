"""A native thread of the operating system, even where gevent's patching turns threads of `threading` into greenlets.

The I/O loop of a run needs one: asyncio has one running loop for each native thread, and greenlets share theirs. As a
greenlet, the I/O loop of a second run could not start ("cannot be called from a running event loop"), and `flush()`
would mistake the running loop for a loop of its caller and not wait.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any


class NativeThread:
    """A daemon thread.

    Args:
        target: the function to run.
        name: the name of the thread.
    """

    def __init__(self, target: Callable[[], None], name: str) -> None:
        self._target = target
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ident: int | None = None
        self._beside_gevent: int | None = None  # the process that started it despite gevent's patching
        self._ended = threading.Event()

    @property
    def started(self) -> bool:
        """Whether `start` has succeeded."""
        return self._beside_gevent is not None or self._thread.ident is not None

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread."""
        return self._ident == threading.get_ident()

    def start(self) -> None:
        """Starts the thread.

        Raises:
            RuntimeError: no thread can be started.
        """
        monkey: Any = sys.modules.get("gevent.monkey")
        if monkey is None or not monkey.is_module_patched("threading"):
            self._thread.start()
            return
        # Greenlets that wait for the thread switch to gevent's loop, which raises LoopExit when it has nothing left to
        # wait for. This watcher gives the loop something to wait for until the thread ends.
        watcher = sys.modules["gevent"].get_hub().loop.async_()
        watcher.start(watcher.stop)
        monkey.get_original("_thread", "start_new_thread")(self._run_beside, (watcher,))
        self._beside_gevent = os.getpid()

    def is_alive(self) -> bool:
        """Does the same as `threading.Thread.is_alive`."""
        if self._beside_gevent is not None:
            return self._beside_gevent == os.getpid() and not self._ended.is_set()
        return self._thread.is_alive()

    def join(self) -> None:
        """Does the same as `threading.Thread.join`."""
        if self._beside_gevent is None:
            self._thread.join()
        elif self._beside_gevent == os.getpid():
            self._ended.wait()

    def _run_beside(self, watcher: Any) -> None:
        try:
            self._run()
        finally:
            self._ended.set()
            watcher.send()

    def _run(self) -> None:
        self._ident = threading.get_ident()
        self._target()
