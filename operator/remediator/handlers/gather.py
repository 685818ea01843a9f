"""
Gathering the facts: the only place where the world is read for a decision.

What cannot be read is left None; nothing here decides what that means.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from remediator.domain.alerts import Alert
from remediator.domain.changes import DeletePods, change_from_json
from remediator.domain.errors import Forbidden, NotFound, Rejected, RemediatorError, Unavailable
from remediator.domain.expressions import Missing
from remediator.domain.json import dig_object
from remediator.domain.names import lease_name
from remediator.domain.objects import WORKLOADS, ObjectRef
from remediator.domain.runs import Run
from remediator.engine.acceptance import AcceptedRunbook, CompiledCheck
from remediator.engine.endings import checks_of
from remediator.engine.facts import NOT_READ, Facts, Seen, Wants
from remediator.engine.flow import remedy_of
from remediator.engine.record import current
from remediator.engine.values import values_of
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.outside import Outside
from remediator.ports import Cluster

UNREADABLE = (Forbidden, Rejected, Unavailable)


class Gatherer:
    """Reads what the engine wants to see, side by side."""

    def __init__(self, outside: Outside, diagnostician: Diagnostician) -> None:
        self._outside = outside
        self._diagnostician = diagnostician
        self._diagnoses: dict[tuple[str, int], Mapping[str, Any]] = {}

    async def facts(self, run: Run, book: AcceptedRunbook | None, problem: str, wanted: Wants) -> Facts:
        """One reading of the world; it raises for nothing that the world can do."""
        outside = self._outside
        boot_seconds = outside.clock.boot_seconds()
        diagnosis = await self._diagnosis(run)
        cluster = outside.acting_for(run)
        target, step_target, (firing, source), lock, rollouts = await asyncio.gather(
            self._seen(cluster, run.target.ref) if wanted.target else _not_read(),
            self._step_target(cluster, run, wanted),
            self._firing(run) if wanted.firing else _nobody(),
            self._lock(run) if wanted.lock else _no_lock(),
            self._rollouts(cluster, run) if wanted.rollouts else _none(),
        )
        policy, policy_problem = outside.definitions.policy_of(run)
        namespace = run.target.ref.namespace
        facts = Facts(
            now=outside.clock.now(),
            boot_seconds=boot_seconds,
            runbook=book,
            runbook_problem=problem,
            policy=policy,
            policy_problem=policy_problem,
            fence=outside.definitions.fence(namespace),
            target=target,
            step_target=step_target,
            namespace=outside.definitions.namespace(namespace),
            diagnosis=diagnosis,
            can_ask=outside.alerts.configured,
            firing=firing,
            firing_source=source,
            lock=lock,
            rollouts=rollouts,
        )
        return await self._with_expressions(run, book, facts, wanted)

    async def target(self, run: Run) -> Seen:
        """The run's target as its account sees it."""
        return await self._seen(self._outside.acting_for(run), run.target.ref)

    def keep(self, run: Run, outputs: Mapping[str, Any]) -> None:
        """Remember what the diagnosis of the current round brought, so that it is not loaded again."""
        self._diagnoses[(run.uid, current(run).number)] = outputs

    def forget(self, run: Run) -> None:
        """The run has ended, or is another's now."""
        for key in [key for key in self._diagnoses if key[0] == run.uid]:
            del self._diagnoses[key]

    async def _with_expressions(self, run: Run, book: AcceptedRunbook | None, facts: Facts, wanted: Wants) -> Facts:
        if book is None:
            return facts
        if wanted.latest:
            brought = await self._diagnostician.diagnose(run, book, values_of(run, facts), only=wanted.latest)
            facts = replace(facts, latest=brought.outputs)
        if wanted.queries:
            facts = replace(facts, values=await self._queried(run, book, facts, wanted))
        return facts

    async def _diagnosis(self, run: Run) -> Mapping[str, Any]:
        attempt = run.status.attempt
        if attempt is None or attempt.diagnosed_at is None:
            return {}
        key = (run.uid, attempt.number)
        if key in self._diagnoses:
            return self._diagnoses[key]
        outputs: dict[str, Any] = dict(attempt.outputs or {})
        if attempt.outputs is None and attempt.evidence:
            try:
                content = await self._outside.evidence.load(run.namespace, attempt.evidence)
                outputs = dict(dig_object(dict(content), "outputs"))
            except RemediatorError:
                return {}  # every name is then unknown, and nothing is decided on it
        outputs.update({record.name: None for record in attempt.diagnosis if record.skipped})
        self._diagnoses[key] = outputs
        return outputs

    async def _seen(self, cluster: Cluster, ref: ObjectRef) -> Seen:
        if ref.kind == "external" or not ref.name:
            return NOT_READ
        try:
            return Seen(obj=await cluster.read(ref))
        except NotFound:
            return Seen(gone=True)
        except UNREADABLE as error:
            return Seen(error=str(error))

    async def _step_target(self, cluster: Cluster, run: Run, wanted: Wants) -> Seen:
        if wanted.step_target is None:
            return NOT_READ
        attempt = current(run)
        step = (attempt.undo if wanted.undoing else attempt.steps)[wanted.step_target]
        return await self._seen(cluster, step.target.ref) if step.target is not None else NOT_READ

    async def _firing(self, run: Run) -> tuple[Any, str]:
        names = sorted(run.alerts.names)
        if not names or not self._outside.alerts.configured:
            return None, ""
        found: list[Alert] = []
        source = ""
        for name in names:
            answer = await self._outside.alerts.firing({"alertname": name})
            source = answer.source
            if answer.alerts is None:
                return None, source
            found.extend(answer.alerts)
        return tuple(found), source

    async def _lock(self, run: Run) -> Any:
        try:
            return await self._outside.locks.read(lease_name(run.target.ref))
        except UNREADABLE:
            return None

    async def _rollouts(self, cluster: Cluster, run: Run) -> tuple[Seen, ...]:
        refs: set[ObjectRef] = set()
        for step in current(run).steps:
            if step.change is None or not step.has_changed_something:
                continue
            change = change_from_json(step.change)
            if isinstance(change, DeletePods):
                refs.add(run.target.ref)
            elif change.replaces_pods or change.target.ref.kind in WORKLOADS:
                refs.add(change.target.ref)
        workloads = sorted(ref for ref in refs if ref.kind in WORKLOADS)
        return tuple(await asyncio.gather(*(self._seen(cluster, ref) for ref in workloads)))

    async def _queried(
        self, run: Run, book: AcceptedRunbook, facts: Facts, wanted: Wants
    ) -> Mapping[int, float | None]:
        remedy = remedy_of(book, current(run))
        checks = checks_of(run, remedy)
        values = values_of(run, facts)
        found: dict[int, float | None] = {}
        for index in wanted.queries:
            found[index] = await self._query(checks[index], values, facts)
        return found

    async def _query(self, check: CompiledCheck, values: Any, facts: Facts) -> float | None:
        assert check.query is not None and check.check.promql is not None, "only queries are asked"
        query = check.query.evaluate(values)
        if isinstance(query, Missing) or not isinstance(query.value, str):
            return None
        try:
            samples = await self._outside.metrics.query(check.check.promql.endpoint, query.value, facts.now)
        except RemediatorError:
            return None
        return samples[0].value if len(samples) == 1 else None


async def _not_read() -> Seen:
    return NOT_READ


async def _nobody() -> tuple[None, str]:
    return None, ""


async def _no_lock() -> None:
    return None


async def _none() -> None:
    return None
