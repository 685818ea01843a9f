"""`kubectl remediate suspend`."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common
from remediator.cli.text import shown
from remediator.domain.errors import AlreadyExists, Rejected, RemediatorError

if TYPE_CHECKING:
    # the switch is read by what a help text does not need
    from remediator.cli.switch import Standing

HELP: Final = """\
Suspend everything: the kill switch.

From here on the API server refuses new runs and changes, whatever the operator does. What is open ends
as Stopped before its next change; alerts are recorded and start nothing. What must be taken back is
held, and taken back first by `resume`. Nothing that was stopped resumes by itself.

Then it is waited until every run has ended; Ctrl-C ends the waiting, and the switch stays pulled.

\b
Examples:
  kubectl remediate suspend --reason 'the network is being changed'
  kubectl remediate suspend --reason 'INC-4711' --yes --timeout 0s    without a question, without waiting
  kubectl create configmap suspended -n remediator-system --from-literal=reason=INC-4711    the same by hand
"""

STILL_OPEN: Final = 1


@click.command("suspend", help=HELP)
@common("table", "wide")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for everybody who meets the switch.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.option(
    "--timeout", default="2m", show_default=True, metavar="DURATION", help="How long to wait; 0s: not at all."
)
def verb(common: Common, reason: str, yes: bool, timeout: str) -> None:
    reason, patience = " ".join(reason.split()), _duration(timeout)
    if not reason:
        raise click.UsageError("--reason must say why: it is what everybody reads who meets the switch")
    common.run(lambda ports: _pull(ports, common, reason, is_sure=yes))
    if not patience:
        return
    try:
        is_over = common.run(lambda ports: _wait(ports, common, patience))
    except KeyboardInterrupt:
        click.echo("\nNo longer waiting. Everything stays suspended: kubectl remediate status", err=True)
        raise
    if not is_over:
        sys.exit(STILL_OPEN)


def _duration(text: str) -> timedelta:
    # pydantic comes with it, which a help text does not need
    from remediator.domain.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as wrong:
        raise click.UsageError(f"--timeout: {wrong}") from None


async def _pull(ports: Connected, common: Common, reason: str, *, is_sure: bool) -> None:
    """The switch is pulled, by whomever, and what is in flight was shown before."""
    from remediator.cli.switch import CONFIG_MAP, IN_FORCE, standing
    from remediator.engine.suspension import switch_object

    found = await standing(ports)
    if found.suspension.pulled:
        _echo(f"Already: {found.suspension.sentence}.")
        return
    by = await caller(ports)
    if not is_sure:
        _show(found, ports, common)
        _confirm("Suspend everything in this cluster?")
    try:
        await ports.cluster.create(CONFIG_MAP, switch_object(ports.operator_namespace, reason, by))
    except AlreadyExists:
        _echo("Already: somebody else was faster.")
    _echo(f"Everything is suspended: {reason}.")
    for name, state in found.admission.items():
        if state != IN_FORCE:
            click.echo(f"Warning: the API server may not enforce it: {name}: {shown(state)}", err=True)


async def caller(ports: Connected) -> str:
    """Who asks; that it cannot be told keeps nobody from stopping everything."""
    try:
        return (await ports.whoami())[0]
    except RemediatorError:
        return ""


def _show(found: "Standing", ports: Connected, common: Common) -> None:
    from remediator.cli.switch import Unknown
    from remediator.cli.tables import table

    if isinstance(found.open, Unknown):
        click.echo(f"What is in flight {found.open.why}.", err=True)
    elif not found.open:
        click.echo("No run is open.", err=True)
    else:
        lines = table(found.open, ports.clock.now(), all_namespaces=True, wide=False, width=common.screen.width)
        click.echo("\n".join(lines), err=True)


def _confirm(question: str) -> None:
    if not _is_a_terminal():
        raise Rejected("there is nobody to ask here: --yes says that you are sure")
    click.confirm(question, abort=True, err=True)


def _is_a_terminal() -> bool:
    return sys.stdin.isatty()


async def _wait(ports: Connected, common: Common, patience: timedelta) -> bool:
    """Whether every run has ended in time; what is open is shown meanwhile."""
    import asyncio

    from remediator.cli.live import follow

    try:
        async with asyncio.timeout(patience.total_seconds()):
            await follow(
                ports.cluster,
                ports.clock,
                "",
                screen=common.screen,
                wanted=lambda one: one.is_open,
                wide=common.output == "wide",
                until=lambda rows: not rows,
            )
    except TimeoutError:
        click.echo("Some runs have not ended yet. Everything stays suspended: kubectl remediate status", err=True)
        return False
    _echo("No run is open.")
    return True


def _echo(text: str) -> None:
    click.echo(shown(text))
