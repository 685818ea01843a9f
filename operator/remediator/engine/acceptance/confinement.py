"""What a Runbook asks Prometheus, as far as it can be told before it runs that it stays in one namespace."""

from collections.abc import Iterator

from remediator.domain.errors import Problem
from remediator.domain.promql import confined
from remediator.engine.acceptance.accepted import AcceptedRunbook
from remediator.engine.manifests import OPENING, shown


def confinement_problems(runbook: AcceptedRunbook, namespace: str, path: str) -> Iterator[Problem]:
    """The queries that no run of the namespace will be answered; what is rendered shows only when it runs."""
    for query in _queries(runbook):
        if OPENING in query:
            continue
        try:
            confined(query, namespace)
        except ValueError as error:
            where = f"Runbook {runbook.full_name} asks Prometheus {shown(query)}"
            yield Problem(path, f"{where}, which cannot be confined to namespace {namespace}: {error}")


def _queries(runbook: AcceptedRunbook) -> Iterator[str]:
    for step in runbook.steps():
        if step.info is not None and step.use is not None:
            yield from (str(getattr(step.use.parameters, name)) for name in step.info.queries)
    for remedy in runbook.remedies:
        yield from (check.check.promql.query for check in remedy.checks if check.check.promql is not None)
