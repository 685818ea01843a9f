"""Which action a step uses, and whether it may stand where it stands."""

import enum
from collections.abc import Collection
from dataclasses import dataclass

from remediator.domain.actions import ActionClass, ActionInfo, Parameters
from remediator.domain.errors import InvalidManifest, Problem
from remediator.domain.questions import ASK, MANUAL, Ask, Manual, Question
from remediator.domain.runbooks import WAIT, ParameterType, RunbookSpec, Step, Wait
from remediator.engine.acceptance.accepted import Actions
from remediator.engine.acceptance.consent import approval_problems
from remediator.engine.acceptance.writing import SHORTEST_PACE
from remediator.engine.kinds import kind_objection
from remediator.engine.manifests import OPENING, join, nearest, one_of, parsed


class Where(enum.StrEnum):
    """The lists in which steps stand; the value is the field."""

    DIAGNOSE = "diagnose"
    STEPS = "steps"
    OTHERWISE = "otherwise"
    FINALLY = "finally"


_CLASSES = {
    Where.DIAGNOSE: (ActionClass.READ,),
    Where.STEPS: (ActionClass.READ, ActionClass.CHANGE, ActionClass.MESSAGE),
    Where.OTHERWISE: (ActionClass.MESSAGE,),
    Where.FINALLY: (ActionClass.MESSAGE,),
}
_QUESTIONS = {
    ASK: (Where.DIAGNOSE, Where.STEPS),
    MANUAL: (Where.STEPS, Where.OTHERWISE, Where.FINALLY),
}
"""Where people are asked something, and where they are told to do something."""

_DOES = {ActionClass.READ: "only reads", ActionClass.CHANGE: "changes something", ActionClass.MESSAGE: "is a message"}
_TAKES = {
    Where.DIAGNOSE: "diagnostics only read",
    Where.OTHERWISE: "`otherwise` holds messages and `manual` only",
    Where.FINALLY: "`finally` holds messages and `manual` only",
}
_BELONGS = {
    ActionClass.READ: "move it to `diagnose`",
    ActionClass.CHANGE: "move it to the `steps` of a remedy",
    ActionClass.MESSAGE: "move it to the `steps` of a remedy, to `otherwise` or to `finally`",
}


@dataclass(frozen=True, slots=True)
class Used:
    """A step and what it uses; `info` and `parameters` are None for a wait and a question, and where a problem was noted."""

    step: Step
    path: str
    info: ActionInfo | None = None
    parameters: Parameters | None = None
    wait: Wait | None = None
    question: Question | None = None
    targets: tuple[str, ...] = ()


def used(step: Step, path: str, where: Where, spec: RunbookSpec, actions: Actions, found: list[Problem]) -> Used:
    """The action of the step; what is wrong with its use is added to `found`."""
    found.extend(Problem(join(path, key), message) for key, message in _misplaced(step, where))
    targets = _target_kinds(step, path, spec, found)
    found.extend(approval_problems(step.approval, path))
    if step.approval is not None and not _changes_something(step.action, actions):
        message = (
            f"{step.action} changes nothing, so there is nothing to approve: move it to the step or remedy that does"
        )
        found.append(Problem(join(path, "approval"), message))
    if step.action == WAIT:
        return _waiting(step, path, where, found)
    if step.action in _QUESTIONS:
        return _asking(step, path, where, found)
    try:
        info = actions.info(step.action)
    except KeyError:
        known = [WAIT] if where is Where.STEPS else []
        known += [name for name, places in _QUESTIONS.items() if where in places]
        known += [name for cls in _CLASSES[where] for name in actions.names(cls)]
        found.append(Problem(join(path, step.action), _no_such_action(step.action, known)))
        return Used(step, path)
    if info.cls not in _CLASSES[where]:
        message = f"{info.name} {_DOES[info.cls]}, and {_TAKES[where]}: {_BELONGS[info.cls]}"
        found.append(Problem(join(path, step.action), message))
    _refuse_other_kinds(info, step, path, targets, found)
    found.extend(Problem(join(path, key), message) for key, message in _lasting(info, step))
    return Used(step, path, info, _parameters(info, step, path, found), targets=targets)


def _changes_something(action: str, actions: Actions) -> bool:
    return action in actions.names(ActionClass.CHANGE)


def _misplaced(step: Step, where: Where) -> list[tuple[str, str]]:
    """The common fields that say nothing where the step stands."""
    found = []
    if step.for_each is not None and where in (Where.OTHERWISE, Where.FINALLY):
        message = f"forEach cannot stand in `{where}`: send one message, and name the elements in its text"
        found.append(("forEach", message))
    if step.max_items is not None and step.for_each is None:
        found.append(("maxItems", "maxItems bounds forEach, which is missing: add forEach, or remove it"))
    if step.timeout is not None and not step.timeout:
        found.append(("timeout", "must be longer than 0s"))
    if step.ttl is not None and step.ttl < SHORTEST_PACE:
        found.append(("ttl", "must be at least 1s"))
    return found


def _limits(step: Step) -> list[str]:
    """The fields that say when the step's change is taken back."""
    return [key for key, given in (("ttl", step.ttl is not None), ("revertOnResolve", step.revert_on_resolve)) if given]


def _lasting(info: ActionInfo, step: Step) -> list[tuple[str, str]]:
    """Limits of what cannot be taken back."""
    if info.undoable:
        return []
    why = f"{info.name} cannot be taken back" if info.changes else f"{info.name} {_DOES[info.cls]} and changes nothing"
    return [(key, f"{why}: remove it") for key in _limits(step)]


def _waiting(step: Step, path: str, where: Where, found: list[Problem]) -> Used:
    if where is not Where.STEPS:
        message = f"a wait stands only among the steps of a remedy: remove it from `{where}`"
        found.append(Problem(join(path, WAIT), message))
    if step.target is not None:
        found.append(Problem(join(path, "target"), "a wait is about no object: remove it"))
    if step.timeout is not None:
        found.append(Problem(join(path, "timeout"), "a wait ends after its own `within` or `for`: remove it"))
    found.extend(Problem(join(path, key), "a wait changes nothing: remove it") for key in _limits(step))
    try:
        wait = parsed(Wait, step.parameters, join(path, WAIT))
    except InvalidManifest as error:
        found.extend(error.problems)
        return Used(step, path)
    return Used(step, path, wait=wait)


def _asking(step: Step, path: str, where: Where, found: list[Problem]) -> Used:
    if where not in _QUESTIONS[step.action]:
        places = one_of(str(place) for place in _QUESTIONS[step.action])
        found.append(Problem(join(path, step.action), f"{step.action} stands in {places}, not in `{where}`"))
    for key, given in (("target", step.target), ("forEach", step.for_each), ("timeout", step.timeout)):
        if given is not None:
            found.append(Problem(join(path, key), f"people are asked once, for as long as `within` says: remove {key}"))
    try:
        at = join(path, step.action)
        question: Question = (
            parsed(Ask, step.parameters, at) if step.action == ASK else parsed(Manual, step.parameters, at)
        )
    except InvalidManifest as error:
        found.extend(error.problems)
        return Used(step, path)
    if not question.within:
        found.append(Problem(join(path, step.action, "within"), "must be longer than 0s: nobody could answer in time"))
    return Used(step, path, question=question)


def _no_such_action(name: str, known: Collection[str]) -> str:
    hint = nearest(name, known) or f"; there are {', '.join(sorted(known))}"
    return f"there is no action {name}{hint}"


def _parameters(info: ActionInfo, step: Step, path: str, found: list[Problem]) -> Parameters | None:
    try:
        return parsed(info.parameters, step.parameters, join(path, info.name))
    except InvalidManifest as error:
        found.extend(error.problems)
        return None


def _target_kinds(step: Step, path: str, spec: RunbookSpec, found: list[Problem]) -> tuple[str, ...]:
    """The kinds that the step's target may have; empty where only rendering can tell."""
    target = step.target
    if target is None:
        return tuple(spec.targets)
    if target.parameter is not None:
        declared = {parameter.name: parameter.type for parameter in spec.parameters}
        at = join(path, "target", "parameter")
        if target.parameter not in declared:
            found.append(Problem(at, f"there is no parameter {target.parameter}{nearest(target.parameter, declared)}"))
        elif declared[target.parameter] is not ParameterType.REFERENCE:
            message = f"the parameter {target.parameter} is a {declared[target.parameter]}; a target needs a reference"
            found.append(Problem(at, message))
        return ()
    if target.kind is None:
        found.append(Problem(join(path, "target", "kind"), "is required beside `name`"))
        return ()
    if OPENING in target.kind:
        return ()
    objection = kind_objection(target.kind)
    if objection:
        found.append(Problem(join(path, "target", "kind"), objection))
    return (target.kind,) if not objection else ()


def _refuse_other_kinds(
    info: ActionInfo, step: Step, path: str, targets: tuple[str, ...], found: list[Problem]
) -> None:
    if not info.targets or not targets or not set(info.targets).isdisjoint(targets):
        return
    kinds = one_of(info.targets)
    if step.target is not None:
        found.append(Problem(join(path, "target", "kind"), f"{info.name} is for {kinds}, not for {targets[0]}"))
    else:
        message = f"{info.name} is for {kinds}, and the Runbook is about {one_of(targets)}: give the step a `target`"
        found.append(Problem(join(path, info.name), message))
