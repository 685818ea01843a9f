"""
Which storms go on, made out from the runs that are known, and telling people of them once.

The thousand runs that a storm holds say nothing of it: one event says that it began and one that it
is over, on the Guardrail whose rule it is, or on the operator's Namespace for the default rule.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from remediator.domain.guardrails import Said
from remediator.domain.json import dig_text
from remediator.domain.objects import BUILT_IN, GUARDRAIL, ObjectRef
from remediator.domain.runs import rfc3339
from remediator.domain.statuses import StormRecord
from remediator.domain.storms import DEFAULT_RULE, Storm, StormRule, storm_of
from remediator.domain.verdicts import Reason
from remediator.handlers.definitions import Definitions
from remediator.handlers.metrics import StormMetrics
from remediator.handlers.run_index import RunIndex
from remediator.ports import Clock, KubernetesEvents

_FARTHEST: Final = timedelta(days=3650)
"""No run is older."""

TOLD_EVERY_SECONDS: Final = 1.0
KEPT_SECONDS: Final = 5.0
"""How long an answer is kept while no run begins; a namespace that is selected anew shows after it."""

DEFAULT: Final = "(default)"
"""The default rule's label on metrics, which no Guardrail can be named."""


@dataclass(frozen=True, slots=True)
class _Answer:
    rule: StormRule
    version: int
    gone: int
    at: float
    storm: Storm | None


class Storms:
    """The storms of this moment."""

    def __init__(self, index: RunIndex, definitions: Definitions, clock: Clock) -> None:
        self._index = index
        self._definitions = definitions
        self._clock = clock
        self._answers: dict[str, _Answer] = {}

    @property
    def is_known(self) -> bool:
        """Whether all runs were seen that there were at the start."""
        return self._index.synced

    def over(self, namespace: str) -> tuple[Storm, ...] | None:
        """The storms that hold what begins in the namespace; None while that is not known."""
        fence = self._definitions.fence(namespace)
        if not self.is_known or fence is None:
            return None
        rules = fence.storm_rules() or (Said(DEFAULT_RULE, ""),)
        found = (self._storm(rule.by, rule.value) for rule in rules)
        return tuple(storm for storm in found if storm is not None)

    def all(self) -> dict[str, Storm | None]:
        """For each rule the storm that goes on; empty while that is not known."""
        if not self.is_known:
            return {}
        rules = {rule.by: rule.value for rule in self._definitions.storm_rules()}
        self._answers = {name: answer for name, answer in self._answers.items() if name in rules or not name}
        return {name: self._storm(name, rule) for name, rule in {"": DEFAULT_RULE, **rules}.items()}

    def held(self, guardrail: str) -> int:
        """How many runs stand still because of a storm where this rule holds."""
        namespaces = Counter(self._index.held_for(Reason.STORM))
        return sum(count for name, count in namespaces.items() if self._definitions.has_storm_rule(guardrail, name))

    def _storm(self, guardrail: str, rule: StormRule) -> Storm | None:
        now, at = self._clock.now(), self._clock.boot_seconds()
        known = self._answers.get(guardrail)
        if known is None or not self._counts(known, rule, now, at):
            storm = self._look(guardrail, rule, now)
            known = self._answers[guardrail] = _Answer(rule, self._index.version, self._index.gone, at, storm)
        return known.storm

    def _counts(self, known: _Answer, rule: StormRule, now: datetime, at: float) -> bool:
        """Whether an answer is still one: what begins meanwhile can only prolong a storm, and not end it."""
        if known.rule != rule or known.gone != self._index.gone or at - known.at > KEPT_SECONDS:
            return False
        return known.version == self._index.version if known.storm is None else known.storm.until > now

    def _look(self, guardrail: str, rule: StormRule, now: datetime) -> Storm | None:
        """Few runs say whether there is one; since when is looked for only as far back as it goes on without a calm."""
        calm = rule.within + rule.calm
        reach = min(calm, _FARTHEST)
        while True:
            since = now - reach
            if self._index.count_since(since) < rule.episodes:
                return None
            storm = storm_of(guardrail, rule, self._begun(guardrail, since), now)
            if storm is None or reach == _FARTHEST or now - storm.since + calm <= reach:
                return storm
            reach = min(reach * 2, _FARTHEST)

    def _begun(self, guardrail: str, since: datetime) -> list[datetime]:
        begun = self._index.begun_since(since)
        if not guardrail:
            return [at for at, _ in begun]
        governed = {name: self._definitions.selects(guardrail, name) for name in {place for _, place in begun}}
        return [at for at, place in begun if governed[place]]


class StormTeller:
    """Says of each storm that it began, and that it is over."""

    def __init__(
        self,
        storms: Storms,
        definitions: Definitions,
        events: KubernetesEvents,
        metrics: StormMetrics,
        clock: Clock,
        note: Callable[[str, StormRecord | None], None],
        *,
        operator_namespace: str,
    ) -> None:
        self._storms = storms
        self._definitions = definitions
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._note = note
        self._operator_namespace = operator_namespace
        self._told: dict[str, Storm] = {}

    async def keep(self) -> None:
        """Tell, for ever; only the leader does, and who leads no longer says nothing of storms."""
        try:
            while True:
                await self.tell()
                await self._clock.sleep(TOLD_EVERY_SECONDS)
        finally:
            self._metrics.forget_all()

    async def tell(self) -> None:
        """Say what has changed since the last time."""
        present = self._storms.all()
        for name in self._told.keys() - present.keys() if present else ():
            del self._told[name]  # the rule is gone, and so is who would be told
            self._metrics.forget(name or DEFAULT)
        for name, storm in present.items():
            held = self._storms.held(name) if storm is not None else 0
            self._metrics.show(name or DEFAULT, goes_on=storm is not None, held=held)
            if name:
                self._note(name, StormRecord(since=storm.since, until=storm.until, held=held) if storm else None)
            before = self._told.get(name)
            if storm is not None:
                self._told[name] = storm
                if before is None:
                    await self._say(
                        name, "StormBegan", f"{storm.sentence}; it began at {rfc3339(storm.since)}", warning=True
                    )
            elif before is not None:
                del self._told[name]
                message = f"the storm that began at {rfc3339(before.since)} is over; what it held goes on"
                await self._say(name, "StormOver", message, warning=False)

    async def _say(self, guardrail: str, reason: str, message: str, *, warning: bool) -> None:
        if guardrail:
            ref = ObjectRef(GUARDRAIL.group, GUARDRAIL.kind, "", guardrail)
            known = self._definitions.get(GUARDRAIL, ("", guardrail))
            uid = known.version[0] if known is not None else ""
        else:
            ref = ObjectRef("", BUILT_IN["Namespace"].kind, "", self._operator_namespace)
            uid = dig_text(self._definitions.namespace(self._operator_namespace), "uid")
        await self._events.record(ref, uid, reason=reason, message=message, warning=warning)
