"""The hook of a watched model: copies (such as averaged models) and pickled models do not contain it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from stepwell.observe.model_watch import _ForwardHook


class Model:
    """A model with its hooks in a dict, like torch's modules."""

    def __init__(self) -> None:
        self.hooks: dict[int, Any] = {}

    def __call__(self) -> None:
        for hook in self.hooks.values():
            hook(self, None, None)


class Counting:
    """A stand-in for a `Watch`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.passes = 0
        self.log = lambda: None  # cannot be pickled

    def after_forward(self, module: Any) -> None:
        assert module is self.model
        self.passes += 1


def test_copies_of_a_watched_model_are_not_counted() -> None:
    model = Model()
    watch = Counting(model)
    model.hooks[0] = _ForwardHook(watch)  # type: ignore[arg-type]
    for other in (copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))):
        other()
    assert watch.passes == 0
    model()
    assert watch.passes == 1
