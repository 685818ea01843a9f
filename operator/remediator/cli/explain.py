"""`kubectl remediate explain`."""

from typing import TYPE_CHECKING, Final

import click

from remediator.cli.connect import Connected
from remediator.cli.finding import found
from remediator.cli.options import Common, common
from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import Object, dig_int, dig_object, dig_text
from remediator.domain.objects import RUNBOOK, ObjectRef

if TYPE_CHECKING:
    from remediator.domain.runs import Resolved

HELP: Final = """\
Say why a run did what it did.

Why this remedy and not the others: each condition, its value, and the values it was decided on. What
the guards said, why it waits and what would release it, why its mode was lowered, why it ended so,
and whether its alerts stay answered. The conditions' text comes from the Runbook as it was frozen for
this run, or from the Runbook itself where that has not changed since.

\b
Examples:
  kubectl remediate explain crashlooping-4f2a81c09be2d713-1
  kubectl remediate explain d713-1 -n shop
  kubectl remediate explain d713-1 -n shop -o json
"""


@click.command("explain", help=HELP)
@click.argument("run")
@common("text", "json", "yaml")
def verb(common: Common, run: str) -> None:
    common.run(lambda ports: _explain(ports, common, run))


async def _explain(ports: Connected, common: Common, name: str) -> None:
    # half a second for the engine's own words, which only this verb needs
    from remediator.cli.explanation import explanation_of, told
    from remediator.cli.parsing import parsed, remark
    from remediator.cli.text import rendered

    run, left_out = parsed(await found(ports.cluster, name, ports.namespace))
    if left_out:
        click.echo(remark(left_out), err=True)
    content, problem = await _content(ports, run.status.resolved)
    outputs = {
        attempt.number: brought
        for attempt in run.status.attempts
        if attempt.outputs is None
        and attempt.evidence
        and (brought := await _outputs(ports, run.namespace, attempt.evidence)) is not None
    }
    now = ports.clock.now()
    explanation = explanation_of(run, content, problem, outputs)
    if common.output in ("json", "yaml"):
        from remediator.cli.documents import written
        from remediator.domain.redaction import redact_json

        click.echo(written(redact_json(explanation.as_json()), common.output))
        return
    text = rendered(told(explanation, run, now), width=common.screen.width, colour=common.screen.colour)
    click.echo(text, color=common.screen.colour)


async def _content(ports: Connected, resolved: "Resolved | None") -> tuple[Object | None, str]:
    """The Runbook as it was carried out, or why it cannot be shown: the record explains much without it."""
    from remediator.cli.explanation import frozen

    if resolved is None:
        return None, "it was not frozen: the run was not accepted"
    name = resolved.runbook.content
    place = f"ConfigMap {ports.operator_namespace}/{name}"
    try:
        content = frozen(await ports.cluster.read(ObjectRef("", "ConfigMap", ports.operator_namespace, name)))
        problem = f"{place} holds no Runbook"
    except NotFound:
        content, problem = {}, f"{place} is not there (--operator-namespace names another place)"
    except (Forbidden, Rejected, Unavailable):
        content, problem = {}, f"you may not read {place}"
    content = content or await _unchanged(ports, resolved)
    return (content, "") if content else (None, f"{problem}, so conditions are shown without their text")


async def _unchanged(ports: Connected, resolved: "Resolved") -> Object:
    """The Runbook itself, if it is still the one that was carried out; else empty."""
    book = resolved.runbook
    try:
        obj = await ports.cluster.read(ObjectRef(RUNBOOK.group, RUNBOOK.kind, book.namespace, book.name))
    except (NotFound, Forbidden, Rejected, Unavailable):
        return {}
    same = (dig_text(obj, "metadata", "uid"), dig_int(obj, "metadata", "generation")) == (book.uid, book.generation)
    return dig_object(obj, "spec") if same and book.uid else {}


async def _outputs(ports: Connected, namespace: str, name: str) -> Object | None:
    try:
        content = await ports.evidence.load(namespace, name)
    except (NotFound, Forbidden, Rejected, Unavailable):
        return None
    outputs = content.get("outputs")
    return outputs if isinstance(outputs, dict) else None
