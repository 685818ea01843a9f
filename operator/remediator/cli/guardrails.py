"""`kubectl remediate guardrails`."""

from typing import Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common

HELP: Final = """\
Show what all Guardrails together say of a namespace.

Each effective value stands with the Guardrail that said it. Whether there is a storm by the default rule
is made out from the runs of all namespaces, which you need to be allowed to list.

\b
Examples:
  kubectl remediate guardrails -n shop
  kubectl remediate guardrails -n shop -o json | jq .freeze
"""


@click.command("guardrails", help=HELP)
@common("text", "json", "yaml")
def verb(common: Common) -> None:
    common.run(lambda ports: _show(ports, common))


async def _show(ports: Connected, common: Common) -> None:
    # half a second for the kinds, which a help text does not need
    from remediator.cli.fence import document, story, surrounded, weather

    about = await surrounded(ports)
    found = document(about, await weather(ports, about), ports.clock.now())
    if common.output in ("json", "yaml"):
        from remediator.cli.documents import written

        click.echo(written(found, common.output))
        return
    from remediator.cli.text import rendered

    screen = common.screen
    click.echo(rendered(story(about, found), width=screen.width, colour=screen.colour), color=screen.colour)
