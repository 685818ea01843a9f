"""
A Guardrail as it is read, and what is wrong with it.

One that cannot be read governs everything and allows nothing: a mistake in a fence must not open it.
"""

from collections.abc import Iterator

from remediator.domain.actions import ActionClass
from remediator.domain.errors import InvalidManifest, Problem
from remediator.domain.guardrails import Guardrail, GuardrailSpec, LabelSelector
from remediator.domain.json import JSON
from remediator.domain.policies import Mode
from remediator.engine.acceptance.accepted import Actions
from remediator.engine.manifests import join, nearest, parsed


def accept_guardrail(name: str, spec: JSON, actions: Actions) -> tuple[Guardrail, tuple[Problem, ...]]:
    """
    The Guardrail, and every problem with its path.

    Where its shape or its selector is wrong the Guardrail has no spec, and nothing is allowed
    anywhere. A field that this version cannot honour keeps everything it selects from being changed.
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
    for field in spec.not_yet_honoured:
        message = "this version cannot honour it, so nothing that it selects is changed: remove it"
        yield Problem(f"spec.{field}", message)
    if spec.max_mode is Mode.APPROVE:
        message = (
            "this version cannot ask for approval, so nothing that it selects is changed: write DryRun or Automatic"
        )
        yield Problem("spec.maxMode", message)
