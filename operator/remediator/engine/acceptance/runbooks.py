"""
A Runbook that may be carried out, or everything that keeps it from that.

What is wrong is told in three rounds, because a later one would only repeat an earlier mistake in
other words: the shape; then names, actions and their parameters; then expressions and what follows
from the whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from pydantic import BaseModel

from remediator.domain.errors import InvalidExpression, InvalidManifest, Problem
from remediator.domain.expressions import RESERVED, Checker, Place, Scope
from remediator.domain.json import JSON, Object
from remediator.domain.questions import Answered
from remediator.domain.runbooks import AlertResolvedCheck, Check, IfNotHelped, Remedy, RolloutCheck, RunbookSpec, Step
from remediator.engine.acceptance.accepted import (
    AcceptedRunbook,
    Actions,
    CompiledCheck,
    CompiledRemedy,
    CompiledStep,
)
from remediator.engine.acceptance.consent import approval_problems
from remediator.engine.acceptance.names import name_problems
from remediator.engine.acceptance.sharing import sharing_problems
from remediator.engine.acceptance.steps import compiled_step, in_waves
from remediator.engine.acceptance.uses import Used, Where, used
from remediator.engine.acceptance.writing import SHORTEST_PACE, Writing, told
from remediator.engine.kinds import kind_objection
from remediator.engine.manifests import join, one_of, parsed
from remediator.engine.parameters import declaration_problems

_MOVES_ON: Final = (IfNotHelped.TRY_NEXT, IfNotHelped.KEEP_AND_TRY_NEXT)


def accept_runbook(
    namespace: str, name: str, uid: str, generation: int, spec: JSON, actions: Actions
) -> AcceptedRunbook:
    """
    The Runbook, compiled.

    Raises:
        InvalidManifest: with every problem, its path, and what to write instead.
    """
    read = _read(spec)
    found = [*_declarations(read)]
    uses = _Uses(read, actions, found)
    writing = _writing(read, uses, actions, found)
    waves, circles = in_waves([compiled_step(one, Where.DIAGNOSE, writing, None) for one in uses.diagnose])
    if not writing.problems:
        writing.problems.extend(circles)
    branches = _Remedies(read, writing)
    remedies = tuple(branches.compiled(index, steps) for index, steps in enumerate(uses.remedies))
    done = [step.name for remedy in uses.remedies for step in _steps(remedy)]
    otherwise = _messages(uses.otherwise, Where.OTHERWISE, writing, done)
    finally_ = _messages(uses.finally_, Where.FINALLY, writing, [*done, *(step.name for step in otherwise)])
    problems = [*found, *writing.problems]
    if problems:
        raise InvalidManifest(dict.fromkeys(problems))
    return AcceptedRunbook(
        namespace=namespace,
        name=name,
        uid=uid,
        generation=generation,
        spec=read,
        content=spec if isinstance(spec, dict) else {},
        waves=waves,
        remedies=remedies,
        otherwise=otherwise,
        finally_=finally_,
        scope=_scope(read, uses, actions),
        warnings=told([*_unreachable(read), *writing.warnings]),
    )


def _read(spec: JSON) -> RunbookSpec:
    read = parsed(RunbookSpec, spec, "spec")
    misread = [
        Problem(path, "an action is a key of its own beside the name, such as `restart: {}`")
        for path, step in _raw_steps(spec)
        if "action" in step or "parameters" in step
    ]
    if misread:
        raise InvalidManifest(misread)
    return read


def _raw_steps(spec: JSON) -> Iterator[tuple[str, Object]]:
    """Every step as it was written."""
    whole = spec if isinstance(spec, dict) else {}
    lists = [(f"spec.{where}", whole.get(where)) for where in ("diagnose", "otherwise", "finally")]
    remedies = whole.get("remedies")
    for index, remedy in enumerate(remedies if isinstance(remedies, list) else []):
        lists.append((f"spec.remedies[{index}].steps", remedy.get("steps") if isinstance(remedy, dict) else None))
    for path, steps in lists:
        for index, step in enumerate(steps if isinstance(steps, list) else []):
            if isinstance(step, dict):
                yield join(path, index), step


def _declarations(spec: RunbookSpec) -> Iterator[Problem]:
    for index, kind in enumerate(spec.targets):
        objection = kind_objection(kind)
        if objection:
            yield Problem(f"spec.targets[{index}]", objection)
    yield from sharing_problems(spec.shared_with)
    yield from declaration_problems(spec.parameters, "spec.parameters")
    for index, remedy in enumerate(spec.remedies):
        yield from approval_problems(remedy.approval, f"spec.remedies[{index}]")
        if remedy.approval is not None and not remedy.steps:
            message = "a remedy that concludes changes nothing, so there is nothing to approve: remove it"
            yield Problem(f"spec.remedies[{index}].approval", message)


class _Uses:
    """Which action every step of the Runbook uses."""

    def __init__(self, spec: RunbookSpec, actions: Actions, found: list[Problem]) -> None:
        def all_of(steps: Sequence[Step], path: str, where: Where) -> tuple[Used, ...]:
            return tuple(used(step, join(path, i), where, spec, actions, found) for i, step in enumerate(steps))

        self.diagnose = all_of(spec.diagnose, "spec.diagnose", Where.DIAGNOSE)
        self.remedies = tuple(
            all_of(remedy.steps, f"spec.remedies[{index}].steps", Where.STEPS)
            for index, remedy in enumerate(spec.remedies)
        )
        self.otherwise = all_of(spec.otherwise, "spec.otherwise", Where.OTHERWISE)
        self.finally_ = all_of(spec.finally_, "spec.finally", Where.FINALLY)

    @property
    def steps(self) -> tuple[Used, ...]:
        """Everything that is known as a step afterwards, in order."""
        return (*(one for remedy in self.remedies for one in remedy), *self.otherwise, *self.finally_)


def _writing(spec: RunbookSpec, uses: _Uses, actions: Actions, found: list[Problem]) -> Writing:
    """
    The compiler of the Runbook's expressions.

    Raises:
        InvalidManifest: if what is declared does not hold together, so that no expression means anything.
    """
    unusable = list(name_problems(spec))
    if unusable or RESERVED.intersection(parameter.name for parameter in spec.parameters):
        raise InvalidManifest(dict.fromkeys([*found, *unusable]))
    try:
        return Writing(Checker(_scope(spec, uses, actions)))
    except InvalidExpression as error:
        raise InvalidManifest(dict.fromkeys([*found, *error.problems])) from None


def _scope(spec: RunbookSpec, uses: _Uses, actions: Actions) -> Scope:
    return Scope(
        parameters={parameter.name: str(parameter.type) for parameter in spec.parameters},
        diagnostics={one.step.name: _output(one, actions) for one in uses.diagnose},
        steps={one.step.name: _output(one, actions) for one in uses.steps},
        variables={variable.name: variable.expression for variable in spec.variables},
        for_each=frozenset(one.step.name for one in uses.diagnose if one.step.for_each is not None),
    )


def _output(one: Used, actions: Actions) -> type[BaseModel] | None:
    if one.question is not None:
        return Answered
    if one.info is None or one.parameters is None or not one.info.reads:
        return None
    return actions.output_model(one.info.name, one.parameters, one.targets)


def _steps(remedy: Sequence[Used]) -> list[Step]:
    return [one.step for one in remedy]


def _messages(uses: Sequence[Used], where: Where, writing: Writing, done: Sequence[str]) -> tuple[CompiledStep, ...]:
    before = list(done)
    compiled = []
    for one in uses:
        compiled.append(compiled_step(one, where, writing, before))
        before.append(one.step.name)
    return tuple(compiled)


class _Remedies:
    """The remedies of one Runbook, with what their silence means."""

    def __init__(self, spec: RunbookSpec, writing: Writing) -> None:
        self._spec = spec
        self._writing = writing
        self._shared = self._all(spec.verify, "spec.verify")

    def compiled(self, index: int, uses: Sequence[Used]) -> CompiledRemedy:
        remedy, path = self._spec.remedies[index], f"spec.remedies[{index}]"
        when = self._writing.expression(remedy.when, Place.REMEDY_WHEN, join(path, "when"))
        self._writing.positive(remedy.timeout, join(path, "timeout"))
        steps = _messages(uses, Where.STEPS, self._writing, ())
        lasting = [step.info.name for step in steps if step.info and step.info.changes and not step.info.undoable]
        self._refuse_impossible_undo(remedy, path, lasting)
        checks, are_default = self._checks(remedy, path, steps)
        default = IfNotHelped.KEEP if lasting else IfNotHelped.UNDO
        return CompiledRemedy(
            remedy=remedy,
            when=when,
            steps=steps,
            checks=checks,
            checks_are_default=are_default,
            undoable=not lasting,
            if_not_helped=remedy.if_not_helped or default,
        )

    def _refuse_impossible_undo(self, remedy: Remedy, path: str, lasting: Sequence[str]) -> None:
        if remedy.if_not_helped is IfNotHelped.UNDO and lasting:
            others = one_of(str(one) for one in IfNotHelped if one is not IfNotHelped.UNDO)
            message = f"{one_of(dict.fromkeys(lasting))} cannot be taken back: write {others}"
            self._writing.problem(join(path, "ifNotHelped"), message)

    def _checks(
        self, remedy: Remedy, path: str, steps: Sequence[CompiledStep]
    ) -> tuple[tuple[CompiledCheck, ...], bool]:
        if remedy.verify is not None:
            return self._all(remedy.verify, join(path, "verify")), False
        if self._shared:
            return self._shared, False
        replaces_pods = any(step.info is not None and step.info.replaces_pods for step in steps)
        rollout = (Check(rollout=RolloutCheck()),) if replaces_pods else ()
        return tuple(CompiledCheck(one) for one in (*rollout, Check(alert_resolved=AlertResolvedCheck()))), True

    def _all(self, checks: Sequence[Check], path: str) -> tuple[CompiledCheck, ...]:
        return tuple(self._check(check, join(path, index)) for index, check in enumerate(checks))

    def _check(self, check: Check, path: str) -> CompiledCheck:
        for problem in _impossible(check, path):
            self._writing.problems.append(problem)
        that = check.check.that if check.check is not None else None
        query = check.promql.query if check.promql is not None else None
        return CompiledCheck(
            check=check,
            that=self._writing.expression(that, Place.VERIFY, join(path, "check", "that")),
            query=self._writing.text(query, Place.VERIFY, join(path, "promql", "query")),
        )


def _impossible(check: Check, path: str) -> Iterator[Problem]:
    """What keeps a check from ever holding."""
    if check.rollout is not None:
        yield from _too_long(timedelta(0), check.rollout.within, path, "rollout", "")
    if check.alert_resolved is not None:
        resolved = check.alert_resolved
        yield from _too_long(resolved.quiet_for, resolved.within, path, "alertResolved", "quietFor")
    for key, timed in (("promql", check.promql), ("check", check.check)):
        if timed is None:
            continue
        yield from _too_long(timed.lasting, timed.within, path, key, "for")
        if timed.every < SHORTEST_PACE:
            yield Problem(join(path, key, "every"), "must be at least 1s")
    if check.promql is not None:
        bounds: Mapping[str, str | None] = {"below": check.promql.below, "above": check.promql.above}
        for key, text in bounds.items():
            if text is not None and not _is_number(text):
                yield Problem(join(path, "promql", key), f'must be a number in quotes, such as "0.95", is "{text}"')


def _too_long(lasting: timedelta, within: timedelta, path: str, check: str, key: str) -> Iterator[Problem]:
    if not within:
        yield Problem(join(path, check, "within"), "must be longer than 0s")
    elif lasting > within:
        yield Problem(join(path, check, key), "is longer than `within`, so that it could never hold: raise `within`")


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _unreachable(spec: RunbookSpec) -> Iterator[str]:
    """Remedies that no choice can come to."""
    for index, remedy in enumerate(spec.remedies[:-1]):
        if remedy.when is None and remedy.if_not_helped not in _MOVES_ON:
            yield f"spec.remedies[{index}]: it has no `when`, so the remedies below it are never looked at"
            return
