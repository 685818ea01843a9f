"""
A Guardrail as it is read, and what is wrong with it.

One that cannot be read governs everything and allows nothing: a mistake in a fence must not open it.
"""

from collections.abc import Iterator

from remediator.domain.actions import ActionClass
from remediator.domain.errors import InvalidManifest, Problem
from remediator.domain.freezes import mistakes
from remediator.domain.guardrails import Guardrail, GuardrailSpec, LabelSelector
from remediator.domain.hosts import objection_to_pattern
from remediator.domain.json import JSON
from remediator.engine.acceptance.accepted import Actions
from remediator.engine.acceptance.consent import approval_problems
from remediator.engine.manifests import join, nearest, parsed


def accept_guardrail(name: str, spec: JSON, actions: Actions) -> tuple[Guardrail, tuple[Problem, ...]]:
    """
    The Guardrail, and every problem with its path.

    Where its shape or its selector is wrong the Guardrail has no spec, and nothing is allowed
    anywhere. A freeze that is not understood is active.
    """
    try:
        read = parsed(GuardrailSpec, spec, "spec")
    except InvalidManifest as error:
        return Guardrail(name, None), error.problems
    misselected = tuple(_selector_problems(read.namespace_selector, "spec.namespaceSelector"))
    if misselected:
        return Guardrail(name, None), misselected
    return Guardrail(name, read), tuple(_problems(read, actions))


def _selector_problems(selector: LabelSelector, path: str) -> Iterator[Problem]:
    for index, requirement in enumerate(selector.match_expressions):
        at = join(path, "matchExpressions", index, "values")
        listed = requirement.operator in ("In", "NotIn")
        if listed and not requirement.values:
            yield Problem(at, f"{requirement.operator} needs at least one value")
        elif not listed and requirement.values:
            yield Problem(at, f"{requirement.operator} takes no values: remove them, or write In")


def _problems(spec: GuardrailSpec, actions: Actions) -> Iterator[Problem]:
    changes = actions.names(ActionClass.CHANGE)
    for index, action in enumerate(spec.allow or []):
        if action in changes:
            continue
        path = f"spec.allow[{index}]"
        if any(action in actions.names(cls) for cls in ActionClass):
            yield Problem(path, f"{action} changes nothing and needs no permission: remove it")
        else:
            yield Problem(path, f"there is no action {action} that changes something{nearest(action, changes)}")
    for index, host in enumerate(spec.hosts or []):
        objection = objection_to_pattern(host)
        if objection:
            yield Problem(f"spec.hosts[{index}]", objection)
    yield from approval_problems(spec.approval, "spec")
    for index, freeze in enumerate(spec.freeze):
        at = f"spec.freeze[{index}]"
        for wrong in mistakes(freeze):
            yield Problem(f"{at}.{wrong.field}" if wrong.field else at, f"{wrong.message}; until then it is active")
    if spec.storm is not None and not spec.storm.within:
        yield Problem("spec.storm.within", "in no time there is no storm: write more than 0s, such as 5m")
