"""`kubectl remediate status`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common
from remediator.cli.text import Cell, Row, Section, Story, Tone, ago, date_time, rendered, row

if TYPE_CHECKING:
    # the switch is read by what a help text does not need
    from remediator.cli.leader import Leader
    from remediator.cli.switch import Standing, Unknown
    from remediator.cli.tables import RunRow

HELP: Final = """\
Say whether everything is suspended, who acts, and what there is to do.

By whom, since when and why; which runs are open and which still owe something; the alerts that wait
since a suspension; and whether the API server really enforces the switch.

\b
Examples:
  kubectl remediate status
  kubectl remediate status -o json | jq .suspended
"""

SHOWN: Final = 20


@click.command("status", help=HELP)
@common("text", "json", "yaml")
def verb(common: Common) -> None:
    common.run(lambda ports: _status(ports, common))


async def _status(ports: Connected, common: Common) -> None:
    from remediator.cli.switch import standing

    found = await standing(ports)
    if common.output in ("json", "yaml"):
        from remediator.cli.documents import written
        from remediator.domain.redaction import redact_json

        click.echo(written(redact_json(found.as_json()), common.output))
        return
    story = story_of(found, ports.clock.now())
    click.echo(rendered(story, width=common.screen.width, colour=common.screen.colour), color=common.screen.colour)


def story_of(found: "Standing", now: datetime) -> Story:
    """How everything stands, for people."""
    sections = [
        Section("Open runs", _runs(found.open, now), _count(found.open)),
        Section("Runs that owe something", _runs(found.owing, now), _count(found.owing)),
        Section("Suspended alerts", _alerts(found), "being picked up" if found.picking_up else ""),
        Section("Leader", _leader(found, now)),
        Section("Enforced by the API server", _admission(found)),
    ]
    return Story(_head(found, now), tuple(sections), airy=True)


def _head(found: "Standing", now: datetime) -> tuple[Cell, ...]:
    suspension = found.suspension
    if not suspension.pulled:
        return (Cell("Nothing is suspended.", Tone.GOOD),)
    whom = suspension.by or "somebody unknown"
    since = ""
    if suspension.since is not None:
        since = f" since {date_time(suspension.since)}, {ago(now - suspension.since)} ago"
    lines = [Cell(f"Everything is suspended, by {whom}{since}.", Tone.BAD)]
    lines.append(Cell(f"Reason: {suspension.reason or 'none is given'}"))
    if not found.is_enforced:
        lines.append(Cell("The API server does not enforce all of it: see below.", Tone.BAD))
    return tuple(lines)


def _count(runs: "Sequence[RunRow] | Unknown") -> str:
    return str(len(runs)) if isinstance(runs, Sequence) and runs else ""


def _runs(runs: "Sequence[RunRow] | Unknown", now: datetime) -> tuple[Row, ...]:
    if not isinstance(runs, Sequence):
        return (row(f"they {runs.why}"),)
    rows = [
        row(
            f"{one.namespace}/{one.name}",
            one.outcome or one.state,
            ago(now - one.created_at),
            one.latest or one.message,
        )
        for one in runs[:SHOWN]
    ]
    if len(runs) > SHOWN:
        rows.append(row(f"… and {len(runs) - SHOWN} more: kubectl remediate list -A --open"))
    return tuple(rows) or (row("none"),)


def _alerts(found: "Standing") -> tuple[Row, ...]:
    if not isinstance(found.recorded, Mapping):
        return (row(f"they {found.recorded.why}"),)
    return tuple(row(policy, _alerts_in_words(count)) for policy, count in found.recorded.items()) or (row("none"),)


def _alerts_in_words(count: int) -> str:
    return "1 alert" if count == 1 else f"{count:,} alerts"


def _leader(found: "Standing", now: datetime) -> tuple[Row, ...]:
    """The replica that acts, and those that only take alerts."""
    from remediator.cli.switch import Unknown

    leader, pods = found.leader, found.replicas
    if isinstance(leader, Unknown):
        return (row(f"it {leader.why}"),)
    rows = [row("nobody leads: alerts are taken, and nothing is done about them")]
    if leader.holder:
        since = f"since {date_time(leader.since)}, {ago(now - leader.since)} ago" if leader.since is not None else ""
        rows = [row(leader.holder, f"epoch {leader.epoch}", since, _renewed(leader, now))]
    if isinstance(pods, Sequence):
        others = [one for one in pods if not leader.holder.startswith(f"{one.name}_")]
        rows += [row(one.name, "stands by" if one.is_ready else "is not ready") for one in others]
    return tuple(rows)


def _renewed(leader: "Leader", now: datetime) -> str:
    over = leader.ran_out(now)
    if over.total_seconds() > 0:
        return f"its Lease ran out {ago(over)} ago by this machine's clock"
    return f"renewed {ago(now - leader.renewed_at)} ago" if leader.renewed_at is not None else ""


def _admission(found: "Standing") -> tuple[Row, ...]:
    from remediator.cli.switch import IN_FORCE, POLICIES

    return tuple(
        row(name, Cell(state, Tone.GOOD if state == IN_FORCE else Tone.BAD), POLICIES[name])
        for name, state in found.admission.items()
    )
