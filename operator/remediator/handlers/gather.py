"""
Gathering the facts: the only place where the world is read for a decision.

What cannot be read is left None; nothing here decides what that means.
"""

import asyncio
import re
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

from remediator.domain.alerts import Alert
from remediator.domain.changes import DeletePods, change_from_json
from remediator.domain.errors import RemediatorError
from remediator.domain.expressions import Missing
from remediator.domain.json import dig_object
from remediator.domain.objects import REPLY, WORKLOADS, ObjectRef
from remediator.domain.policies import Mode
from remediator.domain.replies import Reply
from remediator.domain.runs import AlertSet, Run, StepRecord
from remediator.engine.acceptance import AcceptedRunbook, CompiledCheck
from remediator.engine.endings import checks_of
from remediator.engine.facts import NOT_READ, Facts, Owing, Seen, Surroundings, Wants
from remediator.engine.record import current
from remediator.engine.steps import remedy_of
from remediator.engine.surroundings import may_need_room, parts_around
from remediator.engine.values import values_of
from remediator.handlers.accept import account_of
from remediator.handlers.diagnose import Diagnostician
from remediator.handlers.locking import LockKeeper
from remediator.handlers.outside import Outside
from remediator.handlers.readings import UNREADABLE, Readings
from remediator.handlers.replies import KEPT, in_order, parsed
from remediator.handlers.surroundings import surroundings

FIRING: Final = "firing"
PLAIN: Final = re.compile(r"[A-Za-z0-9_ .:/@=+-]+")


class Gatherer:
    """Reads what the engine wants to see, side by side."""

    def __init__(self, outside: Outside, diagnostician: Diagnostician) -> None:
        self._outside = outside
        self._diagnostician = diagnostician
        self.locks = LockKeeper(outside)
        """What it reads locks with; who takes them uses the same, which remembers what the taking brought."""
        self._diagnoses: dict[tuple[str, int], Mapping[str, Any]] = {}

    def readings(self, run: Run) -> Readings:
        """Nothing read yet of what the run's account sees."""
        outside = self._outside
        return Readings(outside.acting_as(run, account_of(run)), outside.clock, self.locks.known(run))

    async def facts(
        self, run: Run, book: AcceptedRunbook | None, problem: str, wanted: Wants, once: Readings | None = None
    ) -> Facts:
        """
        One reading of the world; it raises for nothing that the world can do.

        What `once` holds already is not read again; the facts are then as old as that.
        """
        outside = self._outside
        once = once or self.readings(run)
        boot_seconds = once.since
        diagnosis = await self._diagnosis(run)
        step = _step(run, wanted)
        asked: dict[str, Coroutine[Any, Any, Any]] = {}
        if wanted.target:
            asked["target"] = once.seen(run.target.ref)
        if step is not None and step.target is not None:
            asked["step_target"] = once.seen(step.target.ref)
        if wanted.firing:
            asked["firing"] = once.once(FIRING, lambda: self._firing(run, once))
        if wanted.lock:
            asked["lock"] = self._lock(run)
        if wanted.rollouts:
            asked["rollouts"] = self._rollouts(once, run)
        if wanted.surroundings:
            asked["surroundings"] = self._around(once, step)
        if wanted.inhibitors:
            asked["inhibitors"] = self._inhibitors(run, once)
        brought = await _side_by_side(asked)
        firing, source = brought.pop("firing", (None, ""))
        missing = await self._missing(run, book, step) if wanted.permissions else None
        policy, policy_problem = outside.definitions.policy_of(run)
        namespace = run.target.ref.namespace
        fence = outside.definitions.fence(namespace)
        facts = Facts(
            now=outside.clock.now(),
            boot_seconds=min(boot_seconds, once.since),
            runbook=book,
            runbook_problem=problem,
            policy=policy,
            policy_problem=policy_problem,
            fence=fence,
            namespace_is_gone=fence is None and await self._is_gone(run),
            storms=outside.storms.over(namespace),
            namespace=outside.definitions.namespace(namespace),
            diagnosis=diagnosis,
            can_ask=outside.alerts.configured,
            firing=firing,
            firing_source=source,
            missing_permissions=missing,
            owing=self._owing(run, step) if wanted.undoing else None,
            replies=await self._replies(run) if wanted.replies else outside.said.of(run),
            suspended=outside.switch.state,
            **brought,
        )
        return await self._with_expressions(run, book, facts, wanted)

    def ask_ahead(self, run: Run, once: Readings) -> None:
        """Whether the alerts still fire is being asked already, where a change may follow at once."""
        policy, _ = self._outside.definitions.policy_of(run)
        if policy is not None and run.spec.mode is Mode.AUTOMATIC and not policy.spec.grace:
            once.ahead(FIRING, lambda: self._firing(run, once))

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
            values, unanswered = await self._queried(run, book, facts, wanted)
            facts = replace(facts, values=values, unanswered=unanswered)
        return facts

    async def _diagnosis(self, run: Run) -> Mapping[str, Any]:
        attempt = run.status.attempt
        if run.is_ended or attempt is None or attempt.diagnosed_at is None:
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

    async def _around(self, once: Readings, step: StepRecord | None) -> Surroundings | None:
        """What the step could harm; what can be known from the change alone is read beside its object."""
        if step is None or step.change is None:
            return None
        change = change_from_json(step.change)
        first = parts_around(change, None)
        found = await surroundings(self._outside.cluster, self._outside.mirror, change, first, once.seen)
        seen = await once.seen(change.target.ref) if may_need_room(change) else NOT_READ
        rest = parts_around(change, seen.obj) - first
        return (
            await surroundings(self._outside.cluster, self._outside.mirror, change, rest, once.seen, found)
            if rest
            else found
        )

    async def _missing(self, run: Run, book: AcceptedRunbook | None, step: StepRecord | None) -> tuple[str, ...] | None:
        """What the account may not do of what the step, and those that were joined with it, need."""
        resolved = run.status.resolved
        if resolved is None or book is None or step is None or step.target is None:
            return None
        names = step.names or [step.name]
        uses = [one.use for one in remedy_of(book, current(run)).steps if one.name in names and one.use is not None]
        about = [replace(use, targets=(step.target.ref.kind_text,)) for use in uses]
        try:
            return await self._outside.accounts.refused(resolved.account, about, step.target.ref.namespace)
        except RemediatorError:
            return None

    def _owing(self, run: Run, step: StepRecord | None) -> tuple[Owing, ...] | None:
        if step is None or step.target is None:
            return None
        return self._outside.owed.on(step.target.ref, but=run.uid)

    async def _firing(self, run: Run, once: Readings) -> tuple[Any, str]:
        source_of_alerts = self._outside.alerts_for(run)
        if not run.alerts.names or not source_of_alerts.configured:
            return None, ""
        found: list[Alert] = []
        source = ""
        for question in questions_about(run.alerts):
            answer = await source_of_alerts.firing(question)
            once.share(answer.asked_at)
            source = answer.source
            if answer.alerts is None:
                return None, source
            found.extend(answer.alerts)
        return tuple(found), source

    async def _inhibitors(self, run: Run, once: Readings) -> tuple[tuple[Alert, ...] | None, ...] | None:
        """
        For each of the policy's inhibitions what its source says, by one question.

        Outside of the operator's namespace alerts that carry another namespace's label are passed over:
        whether they fire is not the tenant's to know.
        """
        outside = self._outside
        policy, _ = outside.definitions.policy_of(run)
        if policy is None:
            return None
        answers = await asyncio.gather(*(outside.alerts.firing(one.question) for one in policy.inhibitions))
        for answer in answers:
            once.share(answer.asked_at)
        seen = [answer.alerts for answer in answers]
        if run.home == outside.namespace:
            return tuple(seen)
        return tuple(None if one is None else tuple(a for a in one if _is_of(run.home, a)) for one in seen)

    async def _lock(self, run: Run) -> Any:
        try:
            return await self.locks.read(run.target.ref, run)
        except UNREADABLE:
            return None

    async def _is_gone(self, run: Run) -> bool:
        """Whether there is no such namespace as the target's; where nobody says so, it is there."""
        target = run.spec.target
        if target.is_outside or not target.ref.namespace:
            return False
        seen = Readings(self._outside.cluster, self._outside.clock).seen
        return (await seen(ObjectRef.of("Namespace", "", target.ref.namespace))).gone

    async def _rollouts(self, once: Readings, run: Run) -> tuple[Seen, ...]:
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
        return tuple(await asyncio.gather(*(once.seen(ref) for ref in workloads)))

    async def _replies(self, run: Run) -> tuple[Reply, ...] | None:
        """What the API server itself has, whatever the watch has brought; None where it did not say all of it."""
        fields = f"spec.runRef.name={run.name}"
        try:
            listing = await self._outside.cluster.list(REPLY, run.namespace, fields=fields, limit=KEPT)
        except UNREADABLE:
            return None
        found = [parsed(obj) for obj in listing.items]
        return None if listing.truncated else in_order(one for one in found if one is not None)

    async def _queried(
        self, run: Run, book: AcceptedRunbook, facts: Facts, wanted: Wants
    ) -> tuple[Mapping[int, float | None], Mapping[int, str]]:
        remedy = remedy_of(book, current(run))
        checks = checks_of(run, remedy)
        values = values_of(run, facts)
        found: dict[int, float | None] = {}
        unanswered: dict[int, str] = {}
        for index in wanted.queries:
            try:
                found[index] = await self._query(run, checks[index], values, facts)
            except RemediatorError as error:
                unanswered[index] = str(error)
        return found, unanswered

    async def _query(self, run: Run, check: CompiledCheck, values: Any, facts: Facts) -> float | None:
        assert check.query is not None and check.check.promql is not None, "only queries are asked"
        query = check.query.evaluate(values)
        if isinstance(query, Missing) or not isinstance(query.value, str):
            return None
        metrics = self._outside.metrics_for(run)
        samples = await metrics.query(check.check.promql.endpoint, query.value, facts.now)
        return samples[0].value if len(samples) == 1 else None


def questions_about(alerts: AlertSet) -> list[dict[str, str]]:
    """
    For each alertname the labels that all of the run's alerts of that name share, so that few others are told of.

    Of more than are recorded in full only the name is sure to be shared. A value may have been redacted or cut
    on the record, which leaves characters that no plain value has: it asks for nothing.
    """
    if alerts.count > len(alerts.first):
        return [{"alertname": name} for name in sorted(alerts.names)]
    asked = []
    for name in sorted(alerts.names):
        labels = [alert.labels for alert in alerts.first if alert.labels.get("alertname") == name]
        shared = set.intersection(*(set(one.items()) for one in labels)) if labels else set()
        asked.append({"alertname": name} | {key: value for key, value in shared if PLAIN.fullmatch(value)})
    return asked


def _step(run: Run, wanted: Wants) -> StepRecord | None:
    """The step that comes next, if its object has to be read."""
    if wanted.step_target is None:
        return None
    attempt = current(run)
    return (attempt.undo if wanted.undoing else attempt.steps)[wanted.step_target]


def _is_of(namespace: str, alert: Alert) -> bool:
    return alert.labels.get("namespace", "") in ("", namespace)


async def _side_by_side(asked: Mapping[str, Coroutine[Any, Any, Any]]) -> dict[str, Any]:
    """The answers by name; most looks ask for one thing or for nothing, which needs no task of its own."""
    if len(asked) < 2:
        return {name: await one for name, one in asked.items()}
    return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
