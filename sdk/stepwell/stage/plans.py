"""The plans of a run, by key set: keeps recent ones, and forgets unused ones.

Part of the stage, which holds its lock while it uses this module. Receives key sets; returns their plans, and at a cut
the plans with waiting rows. Promises: the numbers of plans and of keys in them are bounded, and a plan with waiting
rows is never forgotten. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from stepwell.stage.plan import Plan

#: The most plans; each takes about a kilobyte.
MAX_PLANS = 4096
#: The most keys in all plans; each takes another 16 bytes.
MAX_PLAN_KEYS = 1 << 20


class Plans:
    """The plans of one stage, the oldest first."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._keys = 0  # the number of keys in all plans
        self.find = self._plans.get

    def __iter__(self) -> Iterator[Plan]:
        return iter(list(self._plans.values()))

    def of(self, keys: tuple[str, ...]) -> Plan:
        """The plan of a key set, created if there is none."""
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plans[keys] = Plan(keys)
            self._keys += len(keys)
        return plan

    def waiting(self) -> list[Plan]:
        """The plans with waiting rows; the caller must take these rows now."""
        found = [plan for plan in self._plans.values() if plan.steps]
        for plan in found:
            plan.recent = True
        return found

    def forget(self, kept: Plan | None) -> list[Plan]:
        """Removes surplus plans after a cut, and returns them.

        Plans that had rows since they were last considered are removed last.

        Args:
            kept: a plan that is not removed, because the open row belongs to it.
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
