"""The setup of every test: the fixture plugins, and the rule that no exception may end in an event loop's handler.

Every loop of the process is watched, of asyncio and uvloop, in any thread; an exception that reaches a handler fails
the current test. `loop_errors` is for tests that provoke such exceptions.
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

# In an order in which no plugin imports a later one: pytest rewrites the asserts of a plugin when it imports it.
pytest_plugins = [
    *("fixtures.postgres", "fixtures.ingest", "fixtures.commands", "fixtures.server", "fixtures.media"),
    *("fixtures.blobs", "fixtures.web_fronts", "fixtures.access"),
]

Context = dict[str, Any]
_LOOP_ERRORS = pytest.StashKey[list[Context]]()


@pytest.fixture
def loop_errors(request: pytest.FixtureRequest) -> list[Context]:
    """The exceptions that have reached a loop's handler; a test that provokes one checks it and clears the list."""
    return request.config.stash[_LOOP_ERRORS]


def pytest_configure(config: pytest.Config) -> None:
    """Watches all event loops of the process, including those in threads of the SDK."""
    os.environ.update(ALONE)
    use_memory()
    errors = config.stash[_LOOP_ERRORS] = []
    for kind in _loop_classes():
        patch = pytest.MonkeyPatch()
        patch.setattr(kind, "call_exception_handler", _recording(kind.call_exception_handler, errors))
        config.add_cleanup(patch.undo)


@pytest.fixture(scope="module", autouse=True)
def old_objects() -> None:
    """Garbage collections after a module's tests check its own objects only: all libraries took up to a second each."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fails the test if its tasks or callbacks raised unhandled exceptions."""
    try:
        return (yield)
    finally:
        errors = item.config.stash[_LOOP_ERRORS]
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            # The unhandled exception of a task is reported when the task is garbage-collected.
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
