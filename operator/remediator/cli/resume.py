"""`kubectl remediate resume`."""

from typing import TYPE_CHECKING, Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common
from remediator.cli.text import shown
from remediator.domain.errors import AlreadyExists, NotFound

if TYPE_CHECKING:
    # the switch is read by what a help text does not need
    from remediator.cli.switch import Standing

HELP: Final = """\
Resume after `suspend`.

What is owed is taken back first. Runs that were stopped stay so, and the alerts that were recorded
meanwhile start nothing until they resolve; with --pick-up the operator takes them up, a few at a time,
the youngest first. Every other alert starts its run as usual.

\b
Examples:
  kubectl remediate resume
  kubectl remediate resume --pick-up
"""


@click.command("resume", help=HELP)
@common("text")
@click.option("--pick-up", is_flag=True, help="Also take up the alerts that were recorded meanwhile.")
def verb(common: Common, pick_up: bool) -> None:
    common.run(lambda ports: _resume(ports, pick_up=pick_up))


async def _resume(ports: Connected, *, pick_up: bool) -> None:
    from remediator.cli.switch import standing

    found = await standing(ports)
    await _release(ports, found)
    if pick_up:
        await _ask_for_alerts(ports)
    for line in _what_follows(found, pick_up=pick_up):
        click.echo(shown(line))


async def _release(ports: Connected, found: "Standing") -> None:
    from remediator.cli.switch import switch_ref

    if not found.suspension.pulled:
        click.echo("Nothing is suspended.")
        return
    try:
        await ports.cluster.delete(switch_ref(ports))
    except NotFound:
        click.echo("Somebody else was faster.")
    click.echo(shown(f"Resumed; until now {found.suspension.sentence}."))


async def _ask_for_alerts(ports: Connected) -> None:
    from remediator.cli.suspend import caller
    from remediator.cli.switch import CONFIG_MAP
    from remediator.engine.suspension import pick_up_object

    try:
        await ports.cluster.create(CONFIG_MAP, pick_up_object(ports.operator_namespace, await caller(ports)))
    except AlreadyExists:
        return  # somebody has asked already


def _what_follows(found: "Standing", *, pick_up: bool) -> list[str]:
    from remediator.cli.switch import Unknown

    lines = []
    if not isinstance(found.owing, Unknown) and found.owing:
        lines.append(f"Taken back first: what {len(found.owing)} of the runs that have ended still owe.")
    if isinstance(found.recorded, Unknown):
        return [*lines, f"Whether alerts were recorded meanwhile {found.recorded.why}."]
    count = sum(found.recorded.values())
    if count:
        what = "is taken up" if pick_up else "starts nothing until it resolves; --pick-up takes it up"
        lines.append(f"{count:,} alerts were recorded meanwhile; each {what}.")
    return lines
