"""`kubectl remediate grant`."""

import sys
from typing import TYPE_CHECKING, Final

import click

from remediator.cli.connect import Connected
from remediator.cli.options import Common, common
from remediator.domain.errors import NotFound
from remediator.domain.json import Object

if TYPE_CHECKING:
    from remediator.cli.granting import Wanted, Wish
    from remediator.domain.objects import ObjectRef
    from remediator.domain.policies import Mode

HELP: Final = """\
Let the runs of a namespace do some actions there.

Shows the ServiceAccount that they act as, the roles that these actions take and no others, the
operator's right to act as that account, and the Guardrail that lists the actions. With --apply they
are made, after you were shown what is new or changed. What an earlier grant allowed and this one does
not name is taken away; what else stands on the Guardrail is kept. AlertPolicies of the namespace then
say `serviceAccountName`.

\b
Examples:
  kubectl remediate grant -n shop --allow restart
  kubectl remediate grant -n shop --allow restart,rollback --mode Approve --apply
  kubectl remediate grant -n shop --allow restart | kubectl apply -f -
"""


@click.command("grant", help=HELP)
@common("yaml", "json")
@click.option("--allow", "allow", required=True, metavar="ACTION,…", help="Actions that may change something there.")
@click.option(
    "--mode", default="", metavar="MODE", help="The highest mode there; default: as the Guardrail says, or any."
)
@click.option("--account", default="remediator-runs", show_default=True, metavar="NAME", help="The ServiceAccount.")
@click.option("--guardrail", default="", metavar="NAME", help="The Guardrail; default: the namespace's name.")
@click.option("--apply", "is_applied", is_flag=True, help="Make it so, instead of showing it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def verb(common: Common, allow: str, mode: str, account: str, guardrail: str, is_applied: bool, yes: bool) -> None:
    if is_applied and not yes and not sys.stdin.isatty():
        raise click.UsageError("--apply asks first, and this is no terminal: give --yes")
    common.run(lambda ports: _grant(ports, common, _wish(ports, allow, mode, account, guardrail), is_applied, yes))


def _wish(ports: Connected, allow: str, mode: str, account: str, guardrail: str) -> "Wish":
    from remediator.cli.granting import UnknownAction, Wish, known_actions

    try:
        actions = known_actions(allow.split(","))
    except UnknownAction as wrong:
        raise click.UsageError(f"--allow: {wrong}") from wrong
    if ports.namespace == ports.operator_namespace:
        raise click.UsageError("the operator's own namespace is never a target: name another one by -n")
    return Wish(ports.namespace, ports.operator_namespace, actions, account, guardrail, _mode(mode))


def _mode(text: str) -> "Mode | None":
    from remediator.domain.policies import Mode

    if not text:
        return None
    known = {str(mode).lower(): mode for mode in Mode}
    if text.lower() not in known:
        raise click.UsageError(f"{text} is no mode; there are: {', '.join(Mode)}")
    return known[text.lower()]


async def _grant(ports: Connected, common: Common, wish: "Wish", is_applied: bool, yes: bool) -> None:
    from remediator.cli.documents import written
    from remediator.cli.granting import objects
    from remediator.domain.objects import GUARDRAIL, ObjectRef

    name = wish.guardrail or wish.namespace
    before = await _present(ports, ObjectRef(GUARDRAIL.group, GUARDRAIL.kind, "", name))
    wanted = objects(wish, before)
    for warning in await _still_against(ports, wish, wanted[-1]):
        click.echo(f"Note: {warning}", err=True)
    if is_applied:
        await _apply(ports, wanted, yes)
    elif common.output == "json":
        items = [one.obj for one in wanted]
        click.echo(written({"apiVersion": "v1", "kind": "List", "items": items}, "json"))
    else:
        click.echo("\n---\n".join(written(one.obj, "yaml") for one in wanted))


async def _present(ports: Connected, ref: "ObjectRef") -> Object | None:
    try:
        return await ports.cluster.read(ref)
    except NotFound:
        return None


async def _still_against(ports: Connected, wish: "Wish", guardrail: "Wanted") -> list[str]:
    """What other Guardrails have against it even then."""
    from remediator.actions import registry
    from remediator.cli.fence import surrounded
    from remediator.domain.guardrails import Fence
    from remediator.domain.json import dig_object, dig_text
    from remediator.domain.policies import Mode
    from remediator.engine.acceptance import accept_guardrail

    about = await surrounded(ports)
    own, problems = accept_guardrail(
        dig_text(guardrail.obj, "metadata", "name"), dig_object(guardrail.obj, "spec"), registry
    )
    others = tuple(one for one in about.fence.guardrails if one.name != own.name)
    fence = Fence(tuple(sorted((*others, own), key=lambda one: one.name)))
    found = [f"Guardrail {own.name}: {problem}" for problem in problems]
    found += [f"{action} is still not allowed: {why}" for action in wish.actions if (why := fence.objection(action))]
    asked = wish.mode or Mode.AUTOMATIC
    if wish.mode is not None and fence.mode(asked)[1] and fence.mode(asked)[0] is not asked:
        found.append(f"the mode is still lower than {asked}: {fence.mode(asked)[1]}")
    return found


async def _apply(ports: Connected, wanted: "list[Wanted]", yes: bool) -> None:
    from remediator.cli.granting import differences, over

    present = [await _present(ports, one.ref) for one in wanted]
    todo = []
    for one, there in zip(wanted, present, strict=True):
        changed = differences(one, there) if there is not None else []
        if there is None:
            click.echo(f"new      {one.ref}")
        else:
            click.echo(f"changed  {one.ref}: {'; '.join(changed)}" if changed else f"as it is {one.ref}")
        if there is None or changed:
            todo.append((one, over(one, there) if there is not None else None))
    if not todo:
        click.echo("Nothing has to be changed.")
        return
    if not yes:
        click.confirm("Make it so?", abort=True)
    for one, changed_object in todo:
        if changed_object is None:
            await ports.cluster.create(one.kind, one.obj)
        else:
            await ports.cluster.replace(one.kind, changed_object)
    click.echo(
        f"{len(todo)} objects written. `kubectl remediate whatcan -n {ports.namespace}` shows what may happen now."
    )
