"""`kubectl remediate whatcan`."""

from typing import Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common

HELP: Final = """\
Show what may happen in a namespace today, and what is missing for more.

For each action that changes something: whether the Guardrails allow it, and what the accounts that the
AlertPolicies of the namespace name may not do although it takes it. What an account may do is asked of
the API server, which you need to be allowed to (`create` on `subjectaccessreviews`).

\b
Examples:
  kubectl remediate whatcan -n shop
  kubectl remediate whatcan -n shop -o json | jq '.actions[] | select(.allowed)'
"""


@click.command("whatcan", help=HELP)
@common("text", "json", "yaml")
def verb(common: Common) -> None:
    common.run(lambda ports: _show(ports, common))


async def _show(ports: Connected, common: Common) -> None:
    # half a second for the kinds, which a help text does not need
    from remediator.cli.possible import document, story

    found = await document(ports)
    if common.output in ("json", "yaml"):
        from remediator.cli.documents import written

        click.echo(written(found, common.output))
        return
    from remediator.cli.text import rendered

    screen = common.screen
    click.echo(rendered(story(found), width=screen.width, colour=screen.colour), color=screen.colour)
