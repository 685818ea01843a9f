"""
Rendering the plan of a remedy, once, before its first change.

Every target, every element of `forEach` and every changed value is fixed here, from what was
diagnosed; nothing is written to the cluster. Neighbouring changes of one object become one write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from remediator.actions import registry
from remediator.domain.changes import Change, Patch
from remediator.domain.errors import NotFound
from remediator.domain.expressions import Expression, Missing, Values
from remediator.domain.json import JSON, Object, dig_text
from remediator.domain.objects import ObjectRef, Target
from remediator.domain.ownership import managed_by
from remediator.domain.policies import ManagedTargets
from remediator.domain.redaction import redact_json
from remediator.domain.runbooks import MAX_ITEMS, WAIT
from remediator.domain.runs import Run, RunTarget, StepRecord
from remediator.domain.verdicts import Reason, Refusal
from remediator.engine.acceptance import CompiledRemedy, CompiledStep
from remediator.engine.settle import stored_change
from remediator.handlers.diagnose import reaches_outside
from remediator.handlers.outside import Outside
from remediator.handlers.readings import Readings


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A rendered step, still with its change as a value so that neighbours can be joined."""

    compiled: CompiledStep
    record: StepRecord
    change: Change | None


async def render(
    run: Run, remedy: CompiledRemedy, values: Values, outside: Outside, readings: Readings
) -> list[StepRecord]:
    """
    The steps of the plan, none of them begun.

    Raises Refusal where the remedy must not be carried out, with the reason a person reads;
    Unavailable and Forbidden are passed on.
    """
    drawn: list[_Drawn] = []
    for compiled in remedy.steps:
        for index, item in _items(compiled, values):
            seen = values if index is None else values.but(item=item)
            drawn.append(await _draw(run, compiled, index, item, seen, outside, readings))
    return [one.record for one in _joined(drawn)]


def _items(compiled: CompiledStep, values: Values) -> Sequence[tuple[int | None, JSON]]:
    if compiled.for_each is None:
        return [(None, None)]
    elements = _value(compiled.for_each, values, compiled)
    if not isinstance(elements, list):
        raise Refusal(Reason.FACT_UNKNOWN, f"{compiled.step.name}: forEach did not yield a list")
    limit = compiled.step.max_items or MAX_ITEMS
    if len(elements) > limit:
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{compiled.step.name}: {len(elements)} elements, and maxItems is {limit}")
    return list(enumerate(elements))


def _value(expression: Expression, values: Values, compiled: CompiledStep) -> JSON:
    found = expression.evaluate(values)
    if isinstance(found, Missing):
        raise Refusal(Reason.FACT_UNKNOWN, f"{compiled.step.name}: {found.message}")
    return found.value


async def _draw(
    run: Run,
    compiled: CompiledStep,
    index: int | None,
    item: JSON,
    values: Values,
    outside: Outside,
    readings: Readings,
) -> _Drawn:
    step = compiled.step
    if step.revert_on_resolve and step.ttl is None and not run.alerts.count:
        raise Refusal(
            Reason.OUT_OF_BOUNDS, f"{step.name}: revertOnResolve waits for alerts, and the run has none: give a ttl"
        )
    record = StepRecord(name=step.name, action=step.action, item=index, item_value=redact_json(item))
    if step.action == WAIT or compiled.info is None or not compiled.info.changes:
        return _Drawn(compiled, record, None)
    target, seen = await _target(run, compiled, values, outside, readings)
    parameters = _parameters(compiled, values)
    change = await registry.change(step.action).plan(
        parameters, target, seen, outside.acting_for(run), now=outside.clock.now()
    )
    _refuse_if_managed(run, change, seen, outside)
    planned = {"target": RunTarget.of(target.ref, target.uid), "change": _kept(change)}
    record = record.model_copy(update={**planned, "ttl": step.ttl, "revert_on_resolve": step.revert_on_resolve})
    return _Drawn(compiled, record, change)


def _kept(change: Change) -> dict[str, Any]:
    """
    The change as the plan keeps it.

    Raises Refusal where a value of it is a secret: it could neither be shown nor be put back.
    """
    stored = stored_change(change)
    if redact_json(stored) != stored:
        raise Refusal(
            Reason.OUT_OF_BOUNDS,
            f"{change.summary}: the change would put a secret onto the record; keep it in a Secret and refer to that",
        )
    return stored


async def _target(
    run: Run, compiled: CompiledStep, values: Values, outside: Outside, readings: Readings
) -> tuple[Target, Object]:
    ref = _ref(run, compiled, values)
    objection = reaches_outside(run, ref, outside.namespace)
    if objection:
        raise Refusal(Reason.NOT_PERMITTED, objection)
    if ref.namespace == outside.namespace:
        raise Refusal(
            Reason.NAMESPACE_NOT_PERMITTED, f"{ref} is in the operator's own namespace, which is never changed"
        )
    try:
        seen = await readings.read(ref)
    except NotFound:
        raise Refusal(Reason.TARGET_GONE, f"{ref} is gone") from None
    uid = dig_text(seen, "metadata", "uid")
    if ref == run.target.ref and run.target.uid and uid != run.target.uid:
        raise Refusal(Reason.TARGET_CHANGED, f"{ref} is another object than the one the run is about")
    return Target(ref, uid), seen


def _refuse_if_managed(run: Run, change: Change, seen: Object, outside: Outside) -> None:
    """Fields that a delivery tool keeps as they are declared are changed only where the policy says so."""
    owner = managed_by(seen) if isinstance(change, Patch) else None
    policy, _ = outside.definitions.policy_of(run)
    if owner and (policy is None or policy.spec.managed_targets is ManagedTargets.REFUSE):
        message = f"{change.target} is managed by {owner}: change it there, or it is changed back"
        raise Refusal(Reason.MANAGED_ELSEWHERE, message)


def _ref(run: Run, compiled: CompiledStep, values: Values) -> ObjectRef:
    if compiled.target is None:
        return run.target.ref
    place = compiled.target.render(values, run.target.ref.namespace)
    if isinstance(place, Missing):
        raise Refusal(Reason.TARGET_UNKNOWN, f"{compiled.step.name}: {place.message}")
    return place.ref


def _parameters(compiled: CompiledStep, values: Values) -> Any:
    rendered = compiled.parameters.evaluate(values)
    if isinstance(rendered, Missing):
        raise Refusal(Reason.FACT_UNKNOWN, f"{compiled.step.name}: {rendered.message}")
    try:
        return registry.parameters(compiled.step.action).model_validate(rendered.value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refusal(Reason.OUT_OF_BOUNDS, f"{compiled.step.name}.{where}: {first['msg']}") from None


def _joined(drawn: Sequence[_Drawn]) -> list[_Drawn]:
    """Neighbouring changes of one object as one: one intent, one patch, one rollout, one undo."""
    result: list[_Drawn] = []
    for one in drawn:
        if not result or not _can_join(result[-1], one):
            result.append(one)
            continue
        before = result[-1]
        assert isinstance(before.change, Patch) and isinstance(one.change, Patch), "only patches are joined"
        change = before.change.joined_with(one.change)
        names = [*(before.record.names or [before.record.name]), one.record.name]
        actions = [*before.record.actions, *one.record.actions]
        record = before.record.model_copy(
            update={"names": names, "joined_actions": list(dict.fromkeys(actions)), "change": _kept(change)}
        )
        result[-1] = _Drawn(before.compiled, record, change)
    return result


def _can_join(before: _Drawn, after: _Drawn) -> bool:
    if not isinstance(before.change, Patch) or not isinstance(after.change, Patch):
        return False
    paths = {edit.path for edit in before.change.edits}
    overlaps = any(edit.path in paths for edit in after.change.edits)
    is_one = before.change.target == after.change.target and _limits(before) == _limits(after)
    return is_one and not overlaps and _is_plain(before) and _is_plain(after)


def _limits(drawn: _Drawn) -> tuple[Any, bool]:
    """When the change is taken back: what is taken back apart is written apart."""
    return drawn.record.ttl, drawn.record.revert_on_resolve


def _is_plain(drawn: _Drawn) -> bool:
    step = drawn.compiled.step
    return step.when is None and step.for_each is None and step.timeout is None and step.approval is None
