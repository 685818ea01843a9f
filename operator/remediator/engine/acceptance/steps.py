"""Steps with everything that they render and ask, compiled."""

from collections.abc import Collection, Sequence

from remediator.domain.actions import ActionClass
from remediator.domain.errors import Problem
from remediator.domain.expressions import Expression, Place, Rendering, Result, Template
from remediator.domain.questions import Question
from remediator.domain.runbooks import WAIT, StepTarget
from remediator.engine.acceptance.accepted import ActionUse, CompiledStep, CompiledTarget
from remediator.engine.acceptance.uses import Used, Where
from remediator.engine.acceptance.writing import Writing
from remediator.engine.manifests import join, template_places

_LISTS = {Where.DIAGNOSE: Place.DIAGNOSE, Where.STEPS: Place.PLAN}
_CONDITIONS = {Where.DIAGNOSE: Place.DIAGNOSE}


def compiled_step(used: Used, where: Where, writing: Writing, earlier: Collection[str] | None) -> CompiledStep:
    """The step; `earlier` are the names of the steps that its conditions may look back at."""
    step, path = used.step, used.path
    for_each: Expression | None = None
    if step.for_each is not None and where in _LISTS:
        at = join(path, "forEach")
        for_each = writing.expression(step.for_each, _LISTS[where], at, result=Result.LIST, earlier=earlier)
        if for_each is None:
            return CompiledStep(step, path)  # what `item` is cannot be known, so the rest would be noise
        writing = writing.within(for_each)
    parameters = _parameters(used, where, writing, earlier)
    when = writing.expression(step.when, _CONDITIONS.get(where, Place.STEP_WHEN), join(path, "when"), earlier=earlier)
    if used.question is not None and where is Where.DIAGNOSE and when is not None:
        _refuse_what_is_read(when.names, join(path, "when"), writing)
    return CompiledStep(
        step=step,
        path=path,
        info=used.info,
        parameters=parameters,
        targets=used.targets,
        use=_use(used),
        when=when,
        for_each=for_each,
        target=compiled_target(step.target, _LISTS.get(where, Place.MESSAGE), path, writing, earlier),
        wait=used.wait,
        question=used.question,
        until=_until(used, writing, earlier),
    )


def compiled_target(
    target: StepTarget | None, place: Place, path: str, writing: Writing, earlier: Collection[str] | None = None
) -> CompiledTarget | None:
    """The object of a step; each of its parts must become a string."""
    if target is None:
        return None
    if target.parameter is not None:
        return CompiledTarget(parameter=target.parameter)

    def part(key: str, text: str | None) -> Template | None:
        return writing.text(text, place, join(path, "target", key), earlier=earlier)

    return CompiledTarget(
        kind=part("kind", target.kind), name=part("name", target.name), namespace=part("namespace", target.namespace)
    )


def in_waves(diagnostics: Sequence[CompiledStep]) -> tuple[tuple[tuple[CompiledStep, ...], ...], list[Problem]]:
    """
    The diagnostics, each in the first wave after those whose output it names.

    A circle is refused: the problem names all that are in it or wait for it.
    """
    wanted = {step.name: _named(step) for step in diagnostics}
    waves: list[tuple[CompiledStep, ...]] = []
    done: set[str] = set()
    while len(done) < len(wanted):
        ready = tuple(step for step in diagnostics if step.name not in done and wanted[step.name] <= done)
        if not ready:
            return tuple(waves), [_circle(diagnostics, wanted, done)]
        waves.append(ready)
        done |= {step.name for step in ready}
    return tuple(waves), []


def _named(step: CompiledStep) -> frozenset[str]:
    return frozenset(name.removeprefix("diagnosis.") for name in step.names if name.startswith("diagnosis."))


def _circle(diagnostics: Sequence[CompiledStep], wanted: dict[str, frozenset[str]], done: set[str]) -> Problem:
    first = next(step for step in diagnostics if step.name not in done)
    if first.name in wanted[first.name]:
        return Problem(first.path, f"{first.name} names its own output, which is not there before it was read")
    around = ", ".join(
        f"{name} names {' and '.join(sorted(wanted[name] - done))}" for name in wanted if name not in done
    )
    return Problem(first.path, f"diagnostics wait for one another: {around}; take one of the references out")


def _parameters(used: Used, where: Where, writing: Writing, earlier: Collection[str] | None) -> Rendering:
    if used.step.action == WAIT:
        return Rendering(dict(used.step.parameters))  # its `until` is an expression, not a template
    if used.question is not None:
        return _question(used, used.question, where, writing, earlier)
    is_message = used.info is not None and used.info.cls is ActionClass.MESSAGE
    place = Place.MESSAGE if is_message else _LISTS.get(where, Place.MESSAGE)
    path = join(used.path, used.step.action)
    rendering = writing.tree(used.step.parameters, place, path, earlier=earlier)
    if not is_message:
        _refuse_wrong_types(used, rendering, writing)
    return rendering


def _question(
    used: Used, question: Question, where: Where, writing: Writing, earlier: Collection[str] | None
) -> Rendering:
    place = Place.DIAGNOSE if where is Where.DIAGNOSE else Place.MESSAGE
    path = join(used.path, used.step.action)
    made = writing.tree({"text": question.text}, place, path, earlier=earlier)
    if where is Where.DIAGNOSE:
        _refuse_what_is_read(made.names, path, writing)
    return made


def _refuse_what_is_read(names: Collection[str], path: str, writing: Writing) -> None:
    """Note what a question before the diagnosis cannot know."""
    read = sorted(name for name in names if name.startswith(("diagnosis.", "variables.")))
    if read:
        writing.problem(path, f"people are asked before anything is read, so {read[0]} is not known: leave it out")


def _refuse_wrong_types(used: Used, parameters: Rendering, writing: Writing) -> None:
    """Note lone templates whose type the action would refuse only once they are rendered."""
    if used.info is None or used.parameters is None:
        return
    for keys, number in template_places(used.info.parameters, used.step.parameters):
        template = _template_at(parameters, keys)
        if template is not None:
            writing.refuse_other_type(template, join(used.path, used.info.name, *keys), number=number)


def _template_at(rendering: Rendering, keys: Sequence[str | int]) -> Template | None:
    found: object = rendering
    for key in keys:
        tree = found.tree if isinstance(found, Rendering) else None
        if isinstance(tree, dict) and isinstance(key, str):
            found = tree.get(key)
        elif isinstance(tree, list) and isinstance(key, int):
            found = tree[key] if key < len(tree) else None
        else:
            return None
    tree = found.tree if isinstance(found, Rendering) else None
    return tree if isinstance(tree, Template) else None


def _use(used: Used) -> ActionUse | None:
    if used.info is None or used.parameters is None:
        return None
    return ActionUse(used.info.name, used.parameters, used.targets)


def _until(used: Used, writing: Writing, earlier: Collection[str] | None) -> Expression | None:
    if used.wait is None:
        return None
    path = join(used.path, WAIT)
    writing.positive(used.wait.within, join(path, "within"))
    writing.positive(used.wait.lasting, join(path, "for"))
    return writing.expression(used.wait.until, Place.WAIT_UNTIL, join(path, "until"), earlier=earlier)
