"""What may happen in a namespace today, and what is missing for more."""

from collections import defaultdict
from typing import Final

from remediator.actions import registry
from remediator.cli.asking import Asker, account_of
from remediator.cli.connect import Connected
from remediator.cli.fence import Surrounded, surrounded, weather
from remediator.cli.granting import OPERATOR
from remediator.cli.text import Cell, Row, Section, Story, Tone, row
from remediator.domain.actions import ActionClass, Permission
from remediator.domain.json import JSON, Object, dig, dig_list, dig_object, dig_text
from remediator.domain.objects import POLICY
from remediator.domain.policies import Mode
from remediator.domain.runs import rfc3339

MOST_POLICIES: Final = 1_000
IMPERSONATE: Final = Permission("", "serviceaccounts", ("impersonate",))


async def document(ports: Connected) -> Object:
    """The answer as data; what could not be asked is null."""
    about = await surrounded(ports)
    asker = Asker(ports.cluster)
    named = await _accounts(ports)
    accounts = [await _account(ports, asker, name, policies) for name, policies in sorted(named.items()) if name]
    mode, why = about.fence.mode(Mode.AUTOMATIC)
    actions: list[JSON] = [
        await _action(about, asker, action, sorted(name for name in named if name))
        for action in registry.names(ActionClass.CHANGE)
    ]
    return {
        "namespace": about.namespace,
        "holds": await _holds(ports, about),
        "highestMode": str(mode),
        **({"loweredBy": why} if why else {}),
        "accounts": [*accounts],
        "policiesWithoutAccount": [*named.get("", [])],
        "actions": actions,
    }


async def _accounts(ports: Connected) -> dict[str, list[str]]:
    """The accounts that AlertPolicies of the namespace name, and which do; "" for those that name none."""
    listing = await ports.cluster.list(POLICY, ports.namespace, limit=MOST_POLICIES)
    found: defaultdict[str, list[str]] = defaultdict(list)
    for one in listing.items:
        found[dig_text(one, "spec", "serviceAccountName")].append(dig_text(one, "metadata", "name"))
    return dict(found)


async def _account(ports: Connected, asker: Asker, name: str, policies: list[str]) -> Object:
    operator = account_of(ports.operator_namespace, OPERATOR)
    lacks = await asker.lacks(operator, IMPERSONATE, ports.namespace, name)
    return {"name": name, "policies": [*policies], "operatorMayActAsIt": None if lacks is None else not lacks}


async def _action(about: Surrounded, asker: Asker, action: str, accounts: list[str]) -> Object:
    objection = about.fence.objection(action)
    if about.is_the_operators:
        objection = "the operator's own namespace is never a target"
    lacking: Object = {name: await _lacking(asker, about.namespace, name, action) for name in accounts}
    return {
        "name": action,
        "allowed": not objection,
        **({"objection": objection} if objection else {}),
        "lacks": lacking,
    }


async def _lacking(asker: Asker, namespace: str, name: str, action: str) -> JSON:
    found: list[JSON] = []
    for permission in registry.info(action).permissions:
        verbs = await asker.lacks(account_of(namespace, name), permission, namespace)
        if verbs is None:
            return None
        if verbs:
            resource = f"{permission.resource}.{permission.group}" if permission.group else permission.resource
            found.append(f"{', '.join(verbs)} {resource}")
    return found


async def _holds(ports: Connected, about: Surrounded) -> list[JSON]:
    """What holds every change at this moment."""
    found: list[JSON] = []
    by, frozen = about.fence.suspended_by(), about.fence.freeze_at(ports.clock.now())
    if by:
        found.append(f"Guardrail {by} suspends everything")
    if frozen is not None:
        why = f": {frozen.reason}" if frozen.reason else ""
        found.append(f"Guardrail {frozen.guardrail} freezes every change until {rfc3339(frozen.until)}{why}")
    sky = await weather(ports, about)
    found += [f"a storm, at least until {rfc3339(storm.until)}: {storm.sentence}" for storm in sky.storms or ()]
    return found


def story(found: Object) -> Story:
    """The same, told."""
    namespace = dig_text(found, "namespace")
    lowered = dig_text(found, "loweredBy")
    today = [row("held", Cell(str(one), Tone.BAD)) for one in _texts(found, "holds")]
    head = [
        *(today or [row("held", "by nothing at this moment")]),
        row("highest mode", dig_text(found, "highestMode") + (f": {lowered}" if lowered else "")),
    ]
    return Story(
        (Cell(f"Changes in namespace {namespace}", Tone.TITLE),),
        (
            Section("", tuple(head)),
            Section("Accounts", tuple(_account_rows(found))),
            Section("Actions", tuple(_action_rows(found))),
        ),
        airy=True,
    )


def _texts(found: Object, *path: str) -> list[str]:
    value = dig(found, *path)
    return [str(one) for one in value] if isinstance(value, list) else []


def _account_rows(found: Object) -> list[Row]:
    rows = [
        row(dig_text(one, "name"), f"for {', '.join(_texts(one, 'policies'))}", _acting(one.get("operatorMayActAsIt")))
        for one in dig_list(found, "accounts")
    ]
    without = _texts(found, "policiesWithoutAccount")
    if without:
        rows.append(row("(none)", f"for {', '.join(without)}", "at most DryRun: `serviceAccountName` is not set"))
    return rows or [row("no AlertPolicy of this namespace names one")]


def _acting(may: JSON) -> Cell:
    if may is None:
        return Cell("whether the operator may act as it, you may not ask")
    return Cell("the operator may act as it") if may else Cell("the operator may not act as it", Tone.BAD)


def _action_rows(found: Object) -> list[Row]:
    rows = []
    for one in dig_list(found, "actions"):
        allowed = one.get("allowed") is True
        said = Cell("allowed", Tone.GOOD) if allowed else Cell(dig_text(one, "objection"), Tone.BAD)
        rows.append(row(dig_text(one, "name"), said))
        for account, lacks in dig_object(one, "lacks").items():
            if lacks is None:
                rows.append(row(f"{account}: what it may do, you may not ask", depth=1))
            elif isinstance(lacks, list) and lacks:
                rows.append(row(f"{account} lacks {'; '.join(str(each) for each in lacks)}", depth=1))
            elif allowed:
                rows.append(row(f"{account} may do what it takes", depth=1))
    return rows
