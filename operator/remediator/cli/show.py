"""`kubectl remediate show`."""

from typing import Any, Final

import click

from remediator.cli.connect import Connected
from remediator.cli.finding import found
from remediator.cli.options import Common, common
from remediator.domain.errors import Forbidden, NotFound, Unavailable
from remediator.domain.json import JSON, Object

HELP: Final = """\
Tell the whole story of one run.

What it was about, why it took that remedy, what it replaced by what, whether it helped, whom it told.
RUN may be the beginning or the end of a name, NAMESPACE/NAME, or what `list -o name` shows.

\b
Examples:
  kubectl remediate show crashlooping-4f2a81c09be2d713-1
  kubectl remediate show d713-1 -n shop              the end of the name is enough
  kubectl remediate show d713-1 -n shop --evidence   with what the diagnosis captured
  kubectl remediate show d713-1 -n shop -o wide      with every value and the whole timeline
"""


@click.command("show", help=HELP)
@click.argument("run")
@common("text", "wide", "json", "yaml", "name")
@click.option("--evidence", is_flag=True, help="Also what the diagnosis captured, logs for instance.")
def verb(common: Common, run: str, evidence: bool) -> None:
    common.run(lambda ports: _show(ports, common, run, evidence))


async def _show(ports: Connected, common: Common, name: str, evidence: bool) -> None:
    obj = await found(ports.cluster, name, ports.namespace)
    if common.output == "name":
        from remediator.cli.documents import name_of

        click.echo(name_of(obj))
    elif common.output in ("json", "yaml"):
        from remediator.cli.documents import presentable, written

        click.echo(written(await _with_evidence(ports, obj) if evidence else presentable(obj), common.output))
    else:
        click.echo(await _told(ports, common, obj, evidence), color=common.screen.colour)


async def _told(ports: Connected, common: Common, obj: Object, evidence: bool) -> str:
    # what a story needs to be told is not needed by a list
    from dataclasses import replace

    from remediator.cli.owing import debts_of
    from remediator.cli.parsing import parsed, remark
    from remediator.cli.story import evidence_of, story_of
    from remediator.cli.text import Section, rendered, row

    run, left_out = parsed(obj)
    if left_out:
        click.echo(remark(left_out), err=True)
    whole = common.output == "wide"
    story = story_of(run, ports.clock.now(), operator_namespace=ports.operator_namespace, whole=whole)
    story = replace(story, sections=(*story.sections[:-1], *debts_of(run, ports.clock.now()), story.sections[-1]))
    if evidence:
        sections: list[Section] = []
        for attempt in run.status.attempts:
            if not attempt.evidence:
                sections.append(Section(f"Evidence of round {attempt.number}", (row("nothing was captured"),)))
                continue
            content = await _loaded(ports, run.namespace, attempt.evidence)
            if isinstance(content, str):
                sections.append(Section(f"Evidence of round {attempt.number}", (row(content),), attempt.evidence))
            else:
                texts = content.get("texts")
                sections.append(evidence_of(attempt, texts.items() if isinstance(texts, dict) else ()))
        story = replace(story, sections=(*story.sections, *sections))
    return rendered(story, width=common.screen.width, colour=common.screen.colour)


async def _loaded(ports: Connected, namespace: str, name: str) -> Object | str:
    """What was captured, or why it cannot be shown: the rest of the story does not depend on it."""
    try:
        return dict(await ports.evidence.load(namespace, name))
    except NotFound:
        return f"ConfigMap {namespace}/{name} is not there any more"
    except (Forbidden, Unavailable) as error:
        from remediator.cli.errors import sentence

        return f"it cannot be read: {sentence(error)}"


async def _with_evidence(ports: Connected, obj: Object) -> dict[str, Any]:
    from remediator.cli.documents import presentable
    from remediator.cli.parsing import parsed
    from remediator.domain.redaction import redact_json

    run, _ = parsed(obj)
    captured: dict[str, JSON] = {
        str(attempt.number): await _loaded(ports, run.namespace, attempt.evidence)
        for attempt in run.status.attempts
        if attempt.evidence
    }
    return {**presentable(obj), "evidence": redact_json(captured)}
