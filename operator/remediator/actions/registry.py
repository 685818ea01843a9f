"""
All actions by name.

One line per action, in alphabetical order: schemas, roles, the reference page and the command
line's help follow from it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from remediator.actions.base import AnyAction, ChangeAction, Demanding, Diagnostic, MessageAction, Shaped
from remediator.actions.diagnostics.describe import Describe
from remediator.actions.diagnostics.events import Events
from remediator.actions.diagnostics.get import Get
from remediator.actions.diagnostics.http_get import HttpGet
from remediator.actions.diagnostics.logs import Logs
from remediator.actions.diagnostics.probe import Probe
from remediator.actions.diagnostics.promql import Promql
from remediator.actions.diagnostics.rollout_history import RolloutHistory
from remediator.actions.diagnostics.top import Top
from remediator.actions.messages.escalate import Escalate
from remediator.actions.messages.notify import Notify
from remediator.actions.remediation.cordon import Cordon
from remediator.actions.remediation.delete_pod import DeletePod
from remediator.actions.remediation.drain import Drain
from remediator.actions.remediation.restart import Restart
from remediator.actions.remediation.rollback import Rollback
from remediator.actions.remediation.scale import Scale
from remediator.actions.remediation.set_env import SetEnv
from remediator.actions.remediation.uncordon import Uncordon
from remediator.domain.actions import ActionClass, ActionInfo, Output, Parameters, Permission

ACTIONS: Final[Mapping[str, AnyAction]] = {
    "cordon": Cordon(),
    "deletePod": DeletePod(),
    "describe": Describe(),
    "drain": Drain(),
    "escalate": Escalate(),
    "events": Events(),
    "get": Get(),
    "httpGet": HttpGet(),
    "logs": Logs(),
    "notify": Notify(),
    "probe": Probe(),
    "promql": Promql(),
    "restart": Restart(),
    "rollback": Rollback(),
    "rolloutHistory": RolloutHistory(),
    "scale": Scale(),
    "setEnv": SetEnv(),
    "top": Top(),
    "uncordon": Uncordon(),
}

_NEEDED_FOR: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("apps", "controllerrevisions"): frozenset({"DaemonSet", "StatefulSet"}),
    ("apps", "daemonsets"): frozenset({"DaemonSet"}),
    ("apps", "deployments"): frozenset({"Deployment"}),
    ("apps", "replicasets"): frozenset({"Deployment", "ReplicaSet"}),
    ("apps", "statefulsets"): frozenset({"StatefulSet"}),
}
"""The resources that only targets of some kinds lead to."""


@dataclass(frozen=True, slots=True)
class Use:
    """One use of an action; `targets` are the kinds its target may have, empty for any."""

    action: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = ()


def info(name: str) -> ActionInfo:
    """Raises KeyError for a name that is no action."""
    return ACTIONS[name].info


def parameters(name: str) -> type[Parameters]:
    return info(name).parameters


def diagnostic(name: str) -> Diagnostic[Any]:
    """The action, which must be one that reads."""
    return cast(Diagnostic[Any], _of_class(name, ActionClass.READ))


def change(name: str) -> ChangeAction[Any]:
    """The action, which must be one that alters something."""
    return cast(ChangeAction[Any], _of_class(name, ActionClass.CHANGE))


def message(name: str) -> MessageAction[Any]:
    """The action, which must be one that tells somebody."""
    return cast(MessageAction[Any], _of_class(name, ActionClass.MESSAGE))


def _of_class(name: str, cls: ActionClass) -> AnyAction:
    action = ACTIONS[name]
    if action.info.cls is not cls:
        raise KeyError(f"{name} is {action.info.cls}, not {cls}")
    return action


def names(cls: ActionClass) -> tuple[str, ...]:
    """The actions of a class, in alphabetical order."""
    return tuple(name for name, action in ACTIONS.items() if action.info.cls is cls)


def output_model(
    name: str, parameters: Parameters | Mapping[str, Any] | None = None, targets: Sequence[str] = ()
) -> type[Output] | None:
    """
    The output of one use of an action, as far as its parameters and the target's kinds decide it.

    None for an action without output. Raises pydantic's ValidationError for parameters it does not take.
    """
    action = ACTIONS[name]
    if not isinstance(action, Shaped):
        return action.info.output
    return action.output_for(_parsed(action.info, parameters), targets)


def output_models(name: str) -> tuple[type[Output], ...]:
    """All outputs that an action can have, the one with most to say first; empty for one without output."""
    action = ACTIONS[name]
    if isinstance(action, Shaped):
        return action.shapes
    return (action.info.output,) if action.info.output is not None else ()


def permissions(uses: Iterable[Use]) -> tuple[Permission, ...]:
    """
    What an account needs for these uses in the namespace of their targets, one entry per resource.

    A kind that a CRD brings is left out: which resource it is, only the API server knows.
    """
    needed: dict[tuple[str, str], set[str]] = {}
    for use in uses:
        for permission in _of(use):
            needed.setdefault((permission.group, permission.resource), set()).update(permission.verbs)
    return tuple(Permission(*resource, tuple(sorted(verbs))) for resource, verbs in sorted(needed.items()))


def _of(use: Use) -> tuple[Permission, ...]:
    action = ACTIONS[use.action]
    if isinstance(action, Demanding):
        return action.permissions_for(_parsed(action.info, use.parameters), use.targets)
    return tuple(p for p in action.info.permissions if _leads_to(p, use.targets))


def _leads_to(permission: Permission, targets: Sequence[str]) -> bool:
    kinds = _NEEDED_FOR.get((permission.group, permission.resource))
    return kinds is None or not targets or not kinds.isdisjoint(targets)


def _parsed(info: ActionInfo, given: Parameters | Mapping[str, Any] | None) -> Parameters:
    return given if isinstance(given, Parameters) else info.parameters.model_validate(dict(given or {}))
