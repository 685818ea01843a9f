"""`kubectl remediate list`."""

from typing import Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common
from remediator.cli.tables import RunRow, Wanted, newest_first, table
from remediator.cli.text import shown
from remediator.domain.objects import RUN

MOST: Final = 10_000

HELP: Final = """\
List runs, newest first.

On a terminal that is too narrow, names lose their middle; what is left of one, at its beginning or
its end, still finds the run.

\b
Examples:
  kubectl remediate list                        the runs of the context's namespace
  kubectl remediate list -A --open              whatever has not ended, everywhere
  kubectl remediate list --policy crashlooping --outcome Failed
  kubectl remediate list -n shop -w             follow them while they happen
  kubectl remediate list -o json | jq '.items[].status.outcome'
"""


@click.command("list", help=HELP)
@common("table", "wide", "json", "yaml", "name")
@click.option("-A", "--all-namespaces", is_flag=True, help="The runs of all namespaces.")
@click.option("--open", "only_open", is_flag=True, help="Only runs that have not ended.")
@click.option("--policy", default="", metavar="NAME", help="Only runs of this AlertPolicy.")
@click.option("--outcome", default="", metavar="OUTCOME", help="Only runs that ended so: Remediated, Failed, …")
@click.option("-w", "--watch", is_flag=True, help="Follow the runs until Ctrl-C.")
def verb(common: Common, all_namespaces: bool, only_open: bool, policy: str, outcome: str, watch: bool) -> None:
    if outcome and only_open:
        raise click.UsageError("an open run has no outcome: give --open or --outcome")
    if watch and common.output not in ("table", "wide"):
        raise click.UsageError("--watch shows a table: leave -o out, or give -o wide")
    wanted = selection(only_open=only_open, policy=policy, outcome=_outcome(outcome))
    if watch:
        common.run(lambda ports: _follow(ports, common, all_namespaces, wanted))
    else:
        common.run(lambda ports: _list(ports, common, all_namespaces, wanted))


def selection(*, only_open: bool = False, policy: str = "", outcome: str = "") -> Wanted:
    """Which runs are listed."""

    def is_wanted(one: RunRow) -> bool:
        return (
            (not only_open or one.is_open)
            and (not policy or one.policy == policy)
            and (not outcome or one.outcome == outcome)
        )

    return is_wanted


def _outcome(text: str) -> str:
    """The outcome as it is spelled; a wrong one would silently fit no run."""
    if not text:
        return ""
    # a fifth of a second that a plain list does not need
    from remediator.domain.runs import RunOutcome

    known = {str(one).lower(): str(one) for one in RunOutcome}
    if text.lower() not in known:
        raise click.UsageError(f"{text} is no outcome; there are: {', '.join(known.values())}")
    return known[text.lower()]


async def _list(ports: Connected, common: Common, all_namespaces: bool, wanted: Wanted) -> None:
    namespace = "" if all_namespaces else ports.namespace
    listing = await ports.cluster.list(RUN, namespace, limit=MOST)
    objects = {row.key: obj for obj in listing.items if wanted(row := RunRow.of(obj))}
    rows = newest_first([RunRow.of(obj) for obj in objects.values()])
    if listing.truncated:
        click.echo(f"only the first {MOST} runs by name were looked at: name a namespace by -n", err=True)
    if common.output in ("json", "yaml"):
        from remediator.cli.documents import listed, written

        click.echo(written(listed([objects[row.key] for row in rows]), common.output))
    elif common.output == "name":
        from remediator.cli.documents import name_of

        for row in rows:
            click.echo(shown(name_of(objects[row.key])))
    elif not rows:
        click.echo(nothing(namespace), err=True)
    else:
        screen = common.screen
        lines = table(
            rows,
            ports.clock.now(),
            all_namespaces=all_namespaces,
            wide=common.output == "wide",
            width=screen.width,
            colour=screen.colour,
        )
        click.echo("\n".join(lines), color=screen.colour)


def nothing(namespace: str) -> str:
    """That there is no run, in a sentence."""
    return f"No runs found in namespace {namespace}." if namespace else "No runs found."


async def _follow(ports: Connected, common: Common, all_namespaces: bool, wanted: Wanted) -> None:
    from remediator.cli.live import follow

    await follow(
        ports.cluster,
        ports.clock,
        "" if all_namespaces else ports.namespace,
        screen=common.screen,
        wanted=wanted,
        wide=common.output == "wide",
    )
