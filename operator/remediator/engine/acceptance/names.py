"""The names that expressions use: each means one thing."""

from collections.abc import Iterator

from remediator.domain.errors import Problem
from remediator.domain.expressions import RESERVED
from remediator.domain.runbooks import RunbookSpec
from remediator.engine.manifests import join


def name_problems(spec: RunbookSpec) -> Iterator[Problem]:
    """Names that are words of CEL, and names that two things bear."""
    bearers: dict[str, str] = {}
    for path, name in _named(spec):
        at = join(path, "name")
        if name in RESERVED:
            yield Problem(at, f"{name} is a word of CEL; choose another name")
        elif name in bearers:
            yield Problem(at, f"{name} is already the name of {bearers[name]}; choose another name")
        bearers.setdefault(name, path)
    remedies: dict[str, str] = {}
    for index, remedy in enumerate(spec.remedies):
        path = f"spec.remedies[{index}]"
        if remedy.name in remedies:
            message = f"{remedy.name} is already the name of {remedies[remedy.name]}; choose another name"
            yield Problem(join(path, "name"), message)
        remedies.setdefault(remedy.name, path)


def _named(spec: RunbookSpec) -> Iterator[tuple[str, str]]:
    """Diagnostics, variables and steps, which share one room: the record names them alike."""
    for index, diagnostic in enumerate(spec.diagnose):
        yield f"spec.diagnose[{index}]", diagnostic.name
    for index, variable in enumerate(spec.variables):
        yield f"spec.variables[{index}]", variable.name
    for index, remedy in enumerate(spec.remedies):
        for number, step in enumerate(remedy.steps):
            yield f"spec.remedies[{index}].steps[{number}]", step.name
    for key, steps in (("otherwise", spec.otherwise), ("finally", spec.finally_)):
        for index, step in enumerate(steps):
            yield f"spec.{key}[{index}]", step.name
