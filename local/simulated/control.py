"""What the control endpoint sets and counts. Counts only: nothing of a request is kept."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from local.simulated.magic_words import RepeatedFailure
from local.simulated.shapes import FailureOrder, Json, Refused


@dataclass(slots=True)
class CallCounts:
    """One provider's calls: all, those answered with an error, those that a failure was played
    on, those whose client left before the end, and those under way."""

    calls: int = 0
    refused: int = 0
    failed: int = 0
    hung_up: int = 0
    open: int = 0


class FailurePlan:
    """The plans and tallies of all providers of one application."""

    def __init__(self, providers: Iterable[str]) -> None:
        self.tallies = {provider: CallCounts() for provider in providers}
        self.redirects_followed = 0
        self._plans: dict[str, RepeatedFailure] = {}

    def plan(self, provider: str, plan: RepeatedFailure) -> None:
        """Let the next calls of a provider fail. Raises Refused for an unknown provider."""
        if provider not in self.tallies:
            raise Refused("There is no such provider.", param="provider")
        self._plans[provider] = plan

    def take(self, provider: str) -> tuple[FailureOrder, ...]:
        """The orders for one call of the provider, which are then used up by one."""
        plan = self._plans.get(provider)
        if plan is None or plan.times_left == 0:
            return ()
        if plan.times_left is not None:
            self._plans[provider] = replace(plan, times_left=plan.times_left - 1)
        return (plan.order,)

    def reset(self) -> None:
        """Forget every plan and count; calls under way stay counted as open."""
        self._plans.clear()
        self.redirects_followed = 0
        for tally in self.tallies.values():
            tally.calls = tally.refused = tally.failed = tally.hung_up = 0

    def read(self) -> Json:
        """Counts and plans as JSON."""
        return {
            "providers": {name: asdict(tally) for name, tally in self.tallies.items()},
            "plans": {
                name: {"fail": plan.order.kind, "times_left": plan.times_left}
                for name, plan in self._plans.items()
                if plan.times_left != 0
            },
            "redirects_followed": self.redirects_followed,
        }
