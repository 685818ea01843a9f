"""`kubectl remediate debts`."""

from typing import Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common
from remediator.domain.json import dig_list, dig_text
from remediator.domain.objects import RUN

MOST: Final = 10_000

HELP: Final = """\
List what runs have changed and will take back.

A change may be made for a limited time, until the alerts are resolved, or be taken back because it did
not help. What is owed is put back by itself when it is due, also after the run has ended.

\b
Examples:
  kubectl remediate debts                what is owed in the context's namespace
  kubectl remediate debts -A             and everywhere
  kubectl remediate debts -A -o json | jq 'map(.due)'
"""


@click.command("debts", help=HELP)
@common("text", "json", "yaml")
@click.option("-A", "--all-namespaces", is_flag=True, help="What is owed in all namespaces.")
def verb(common: Common, all_namespaces: bool) -> None:
    common.run(lambda ports: _debts(ports, common, all_namespaces))


async def _debts(ports: Connected, common: Common, all_namespaces: bool) -> None:
    # what a run's record needs to be read is not needed by a help text
    from remediator.cli.documents import written
    from remediator.cli.owing import documents, is_owing, owed_by
    from remediator.cli.parsing import NotOurs, parsed
    from remediator.cli.text import Story, rendered
    from remediator.domain.redaction import redact_json

    namespace = "" if all_namespaces else ports.namespace
    listing = await ports.cluster.list(RUN, namespace, limit=MOST)
    if listing.truncated:
        click.echo(f"only the first {MOST} runs by name were looked at: name a namespace by -n", err=True)
    runs = []
    for obj in listing.items:
        if all(dig_text(debt, "state") not in ("", "Owed") for debt in dig_list(obj, "status", "debts")):
            continue
        try:
            runs.append(parsed(obj)[0])
        except NotOurs as error:
            click.echo(str(error), err=True)
    runs = sorted((run for run in runs if is_owing(run)), key=lambda run: (run.namespace, run.name))
    if common.output in ("json", "yaml"):
        click.echo(written(redact_json([one for run in runs for one in documents(run)]), common.output))
    elif not runs:
        click.echo(f"Nothing is owed in namespace {namespace}." if namespace else "Nothing is owed.", err=True)
    else:
        now = ports.clock.now()
        story = Story((), tuple(owed_by(run, now) for run in runs))
        click.echo(rendered(story, width=common.screen.width, colour=common.screen.colour), color=common.screen.colour)
