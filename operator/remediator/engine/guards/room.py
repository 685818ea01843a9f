"""Whether there is room for what a change makes bigger: in the namespace's quotas, within its LimitRanges."""

from collections.abc import Iterator

from remediator.domain.changes import Differs, Patch, applied, change_from_json
from remediator.domain.disruption import needs_room_for_one_more
from remediator.domain.json import JSON, Object, dig, dig_object, dig_text
from remediator.domain.objects import WORKLOADS
from remediator.domain.quantities import Quantity, parse_quantity
from remediator.domain.resources import (
    ZERO,
    Amounts,
    above,
    asked_by_container,
    asked_by_pod,
    container_limits,
    defaults_of,
    plus,
    quota_name,
    smaller,
    times,
)
from remediator.domain.verdicts import Allow, Deny, Reason, Verdict
from remediator.domain.workloads import desired_replicas, template_containers
from remediator.engine.facts import Surroundings
from remediator.engine.guards.question import Question, unknown
from remediator.engine.surroundings import Part, changes_resources, may_need_room, parts_around

_COMPUTED = ("requests.", "limits.")


def quota_leaves_room(question: Question) -> Verdict:
    """Refuse what the namespace's ResourceQuotas have no room for, or its LimitRanges do not allow."""
    change, target = _change(question), question.facts.step_target
    if change is None or change.is_empty or target.gone:
        return Allow()
    if Part.QUOTAS not in parts_around(change, target.obj) and not (target.obj is None and may_need_room(change)):
        return Allow()
    seen, around, namespace = target.obj, question.facts.surroundings, change.target.ref.namespace
    if seen is None:
        return unknown(question, f"{change.target} cannot be read: {target.error}")
    if around is None or around.quotas is None:
        return unknown(question, f"the ResourceQuotas of namespace {namespace} cannot be read")
    if not around.quotas and not changes_resources(change):
        return Allow()
    if around.limit_ranges is None:
        return unknown(question, f"the LimitRanges of namespace {namespace} cannot be read")
    try:
        return _room(question, change, seen, around)
    except Differs:
        return Allow()  # change_still_fits speaks for an object that holds other values by now
    except ValueError as error:
        return unknown(question, f"cannot tell what {change.target} asks for: {error}")


def _change(question: Question) -> Patch | None:
    change = change_from_json(question.step.change) if question.step.change is not None else None
    return change if isinstance(change, Patch) and change.target.ref.kind in WORKLOADS else None


def _room(question: Question, change: Patch, seen: Object, around: Surroundings) -> Verdict:
    quotas, ranges = around.quotas or (), around.limit_ranges or ()
    after = applied(change, seen)
    objection = next(_outside_of_ranges(seen, after, ranges), "")
    if objection:
        return Deny(Reason.OUT_OF_BOUNDS, f"{change.target}: {objection}")
    defaults = defaults_of(ranges)
    each = asked_by_pod(dig_object(after, "spec", "template"), defaults)
    old = asked_by_pod(dig_object(seen, "spec", "template"), defaults)
    more = above(times(each, desired_replicas(after)), times(old, desired_replicas(seen)))
    if change.replaces_pods and needs_room_for_one_more(seen):
        # larger pods need most before the last old one goes, smaller ones when the first is made
        more = plus(more, smaller(old, each))
    template = dig_object(after, "spec", "template")
    for quota in quotas:
        objection = _objection(quota, more, each)
        if not objection:
            continue
        selects = _selects(quota, template, each)
        if selects is None:
            return unknown(question, f"cannot tell whether it is about the pods of {change.target}: {objection}")
        if selects:
            return Deny(Reason.OUT_OF_BOUNDS, f"{change.target}: {objection}")
    return Allow()


def _objection(quota: Object, more: Amounts, each: Amounts) -> str:
    """Why the quota has no room for so much more; empty where it has."""
    name = f"ResourceQuota {dig_text(quota, 'metadata', 'name')}"
    hard, used = dig_object(quota, "status", "hard"), dig_object(quota, "status", "used")
    if not hard and dig_object(quota, "spec", "hard"):
        return f"{name} has not been counted yet"
    for key, limit in hard.items():
        counted = quota_name(key)
        wanted, left = more.get(counted, ZERO), _amount(limit) - _amount(used.get(key, 0))
        if wanted > ZERO and wanted > left:
            return f"{name} has {max(left, ZERO)} of {key} left, and this step needs {wanted} more"
        if more and counted.startswith(_COMPUTED) and counted not in each:
            return f"{name} limits {key}, and the pods do not say how much of it they need"
    return ""


def _amount(value: JSON) -> Quantity:
    return parse_quantity(value if isinstance(value, str | int | float) else "")


def _selects(quota: Object, template: Object, each: Amounts) -> bool | None:
    """Whether a quota is about pods of the template; None where its scopes are not for us to judge."""
    if dig(quota, "spec", "scopeSelector") is not None:
        return None
    asks = any(name.startswith(_COMPUTED) for name in each)
    ends = dig(template, "spec", "activeDeadlineSeconds") is not None
    holds = {"BestEffort": not asks, "NotBestEffort": asks, "Terminating": ends, "NotTerminating": not ends}
    scopes = dig(quota, "spec", "scopes")
    said = [holds.get(str(scope)) for scope in scopes] if isinstance(scopes, list) else []
    if False in said:
        return False
    return None if None in said else True


def _outside_of_ranges(seen: Object, after: Object, ranges: tuple[Object, ...]) -> Iterator[str]:
    """What is wrong with the containers whose requests or limits the change makes others."""
    defaults = defaults_of(ranges)
    before = {dig_text(one, "name"): one.get("resources") for one in template_containers(seen)}
    for container in template_containers(after):
        if container.get("resources") == before.get(dig_text(container, "name")):
            continue
        asked = asked_by_container(container, defaults)
        for limits in container_limits(ranges):
            for objection in _outside_of(limits, asked):
                yield f"container {dig_text(container, 'name')} would have {objection}"


def _outside_of(limits: Object, asked: Amounts) -> Iterator[str]:
    for resource, text in dig_object(limits, "max").items():
        most = _amount(text)
        for side in ("requests", "limits"):
            amount = asked.get(f"{side}.{resource}")
            if amount is not None and amount > most:
                yield f"{side}.{resource} of {amount}; the LimitRange allows at most {most}"
    for resource, text in dig_object(limits, "min").items():
        least = _amount(text)
        amount = asked.get(f"requests.{resource}")
        if amount is not None and amount < least:
            yield f"requests.{resource} of {amount}; the LimitRange allows no less than {least}"
    for resource, text in dig_object(limits, "maxLimitRequestRatio").items():
        ratio, request, limit = (
            _amount(text),
            asked.get(f"requests.{resource}"),
            asked.get(f"limits.{resource}"),
        )
        if request is not None and limit is not None and limit.value > ratio.value * request.value:
            yield f"limits.{resource} of {limit} for a request of {request}; the LimitRange allows {ratio} times as much"
