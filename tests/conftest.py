"""What every test has: the fixture plug-ins, and the rule that no exception ends unseen in an event loop's handler.

Stands around all tests. Every loop of the process is watched, asyncio's and uvloop's, in any thread; what reached a
handler fails the test that ran. `loop_errors` is for tests that provoke it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import traceback
from collections.abc import Callable, Generator
from typing import Any

import pytest

from fixtures.memory import use_memory
from fixtures.programs import ALONE

# In an order in which none imports a later one: pytest rewrites the asserts of a plug-in when it imports it.
pytest_plugins = [
    *("fixtures.postgres", "fixtures.ingest", "fixtures.commands", "fixtures.server", "fixtures.media"),
    *("fixtures.blobs", "fixtures.web_fronts"),
]

Context = dict[str, Any]
_LOOP_ERRORS = pytest.StashKey[list[Context]]()


@pytest.fixture
def loop_errors(request: pytest.FixtureRequest) -> list[Context]:
    """What reached a loop's handler so far. A test that provokes such an error looks at it and clears the list."""
    return request.config.stash[_LOOP_ERRORS]


def pytest_configure(config: pytest.Config) -> None:
    """Watch all event loops of the process, the SDK's thread included."""
    os.environ.update(ALONE)
    use_memory()
    errors = config.stash[_LOOP_ERRORS] = []
    for kind in _loop_classes():
        patch = pytest.MonkeyPatch()
        patch.setattr(kind, "call_exception_handler", _recording(kind.call_exception_handler, errors))
        config.add_cleanup(patch.undo)


@pytest.fixture(scope="module", autouse=True)
def old_objects() -> None:
    """Collections after a module's tests look at what it made, not at all libraries: that took up to a second each."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test whose tasks or callbacks raised where nobody looked."""
    try:
        return (yield)
    finally:
        errors = item.config.stash[_LOOP_ERRORS]
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            # A task's unseen exception is reported when the task is collected.
            gc.collect()
        seen, errors[:] = list(errors), []
        if seen:
            pytest.fail(
                "an exception reached an event loop's handler:\n" + "\n".join(map(_describe, seen)), pytrace=False
            )


def _loop_classes() -> list[Any]:
    kinds: list[Any] = [asyncio.BaseEventLoop]
    try:
        import uvloop
    except ImportError:
        return kinds
    return [*kinds, uvloop.Loop]


def _recording(original: Callable[[Any, Context], None], errors: list[Context]) -> Callable[[Any, Context], None]:
    def call_exception_handler(loop: Any, context: Context) -> None:
        errors.append(context)
        original(loop, context)

    return call_exception_handler


def _describe(context: Context) -> str:
    error = context.get("exception")
    lines = traceback.format_exception(error) if isinstance(error, BaseException) else []
    return f"{context.get('message')}\n{''.join(lines)}"
