"""The key sets that a run has logged: those that it keeps logging are found again, the others are forgotten in time.

Beside the stage, which calls these with its lock held. Receives key sets; returns their plans, and all waiting rows at
a cut. Promises: what is remembered is bounded by a number of plans and of keys in them, no plan is forgotten while rows
wait in it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from stepwell.stage.plan import Plan

#: A key set costs about a kilobyte, and each of its keys 16 bytes.
MAX_PLANS = 4096
MAX_PLAN_KEYS = 1 << 20


class Plans:
    """All key sets of one stage, the oldest first."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._keys = 0  # of all plans
        self.find = self._plans.get

    def __iter__(self) -> Iterator[Plan]:
        return iter(list(self._plans.values()))

    def of(self, keys: tuple[str, ...]) -> Plan:
        """The plan of a key set, made if there is none."""
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plans[keys] = Plan(keys)
            self._keys += len(keys)
        return plan

    def waiting(self) -> list[Plan]:
        """Those with rows, which the caller takes now."""
        found = [plan for plan in self._plans.values() if plan.steps]
        for plan in found:
            plan.recent = True
        return found

    def forget(self, kept: Plan | None) -> list[Plan]:
        """Removes as many plans as there are too many, after a cut; returns them.

        Those that had rows since they were last looked at go last.

        Args:
            kept: is not removed: the open row belongs to it.
        """
        gone: list[Plan] = []
        for second_look in (False, True):
            if not self._too_many:
                break
            for keys, plan in list(self._plans.items()):
                if plan is kept or (plan.recent and not second_look):
                    plan.recent = False
                    continue
                del self._plans[keys]
                self._keys -= len(keys)
                gone.append(plan)
                if not self._too_many:
                    break
        return gone

    @property
    def _too_many(self) -> bool:
        return len(self._plans) > MAX_PLANS or self._keys > MAX_PLAN_KEYS
