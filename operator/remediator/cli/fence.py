"""
What all Guardrails say of one namespace, read as the person who asks.

Everything is computed by the code that the operator decides with, from what the API server holds now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from remediator.actions import registry
from remediator.cli.connect import Connected
from remediator.cli.tables import moment
from remediator.cli.text import Cell, Row, Section, Story, Tone, row
from remediator.domain.durations import human
from remediator.domain.errors import Forbidden, NotFound, Problem
from remediator.domain.guardrails import Fence, Guardrail, Listed, Said
from remediator.domain.json import JSON, Object, dig, dig_list, dig_object, dig_text
from remediator.domain.objects import GUARDRAIL, RUN, ObjectRef
from remediator.domain.policies import Mode
from remediator.domain.runs import rfc3339
from remediator.domain.storms import DEFAULT_RULE, Storm, StormRule, storm_of
from remediator.engine.acceptance import accept_guardrail

MOST_GUARDRAILS = 1_000
MOST_RUNS = 2_000
NOBODY = "nobody says anything"


@dataclass(frozen=True, slots=True)
class Surrounded:
    """A namespace and its fence."""

    namespace: str
    is_the_operators: bool
    fence: Fence
    problems: tuple[tuple[str, Problem], ...]
    """What is wrong with the Guardrails that govern it, and with which."""
    statuses: Mapping[str, Object]
    """What the operator says of each Guardrail."""


async def surrounded(ports: Connected) -> Surrounded:
    """
    The namespace that was asked for and its fence.

    Raises NotFound where there is no such namespace.
    """
    name = ports.namespace
    try:
        namespace = await ports.cluster.read(ObjectRef("", "Namespace", "", name))
    except NotFound:
        raise NotFound(f"there is no namespace {name}: -n names another one") from None
    listing = await ports.cluster.list(GUARDRAIL, limit=MOST_GUARDRAILS)
    accepted = [
        accept_guardrail(dig_text(obj, "metadata", "name"), dig_object(obj, "spec"), registry) for obj in listing.items
    ]
    labels = {key: str(value) for key, value in dig_object(namespace, "metadata", "labels").items()}
    is_the_operators = name == ports.operator_namespace
    fence = Fence(()) if is_the_operators else Fence.around(labels, (guardrail for guardrail, _ in accepted))
    governing = {guardrail.name for guardrail in fence.guardrails}
    problems = tuple(
        (guardrail.name, problem) for guardrail, found in accepted if guardrail.name in governing for problem in found
    )
    statuses = {dig_text(obj, "metadata", "name"): dig_object(obj, "status") for obj in listing.items}
    return Surrounded(name, is_the_operators, fence, problems, statuses)


@dataclass(frozen=True, slots=True)
class Weather:
    """The storms that hold the namespace; None where that cannot be told."""

    rules: tuple[Said[StormRule], ...]
    storms: tuple[Storm, ...] | None


async def weather(ports: Connected, about: Surrounded) -> Weather:
    """A Guardrail's storm as its status tells it; the default rule has none, and is made out from the runs."""
    rules = about.fence.storm_rules() or (Said(DEFAULT_RULE, ""),)
    now = ports.clock.now()
    if not rules[0].by:
        begun = await _begun(ports)
        if begun is None:
            return Weather(rules, None)
        storm = storm_of("", DEFAULT_RULE, begun, now)
        return Weather(rules, (storm,) if storm is not None else ())
    told = ((rule, dig_object(about.statuses[rule.by], "storm")) for rule in rules)
    storms = (
        Storm(rule.by, rule.value, moment(dig_text(said, "since")), moment(dig_text(said, "until")))
        for rule, said in told
        if said
    )
    return Weather(rules, tuple(storm for storm in storms if storm.until > now))


async def _begun(ports: Connected) -> list[datetime] | None:
    """When the runs of alerts began, in order; None where the caller may not see them all, or they are too many."""
    try:
        runs = await ports.cluster.list(RUN, limit=MOST_RUNS)
    except Forbidden:
        return None
    if runs.truncated:
        return None
    begun = (one for one in runs.items if dig(one, "spec", "episode") is not None)
    return sorted(moment(dig_text(one, "metadata", "creationTimestamp")) for one in begun)


# as data


def document(about: Surrounded, sky: Weather, now: datetime) -> Object:
    """Each effective value with the Guardrail that said it; what nobody says is left out."""
    fence = about.fence
    found: Object = {
        "namespace": about.namespace,
        "guardrails": [_guardrail(one, about) for one in fence.guardrails],
        "suspended": _by(fence.suspended_by()),
        "mode": _mode(fence),
        "actions": _listed(fence.actions()),
        "approvals": [
            {"by": by, "count": asked.count, "groups": list(asked.groups), "expires": human(asked.expires)}
            for by, asked in fence.approvals()
        ],
        "freeze": _freeze(fence, now),
        "limits": _limits(fence),
        "storm": _storm(sky),
        "hosts": _listed(fence.hosts()),
        "images": _listed(fence.images()),
    }
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def _guardrail(one: Guardrail, about: Surrounded) -> Object:
    problems: list[JSON] = [str(problem) for name, problem in about.problems if name == one.name]
    return {"name": one.name, **({"problems": problems} if problems else {})}


def _by(name: str) -> Object | None:
    return {"by": name} if name else None


def _mode(fence: Fence) -> Object | None:
    mode, why = fence.mode(Mode.AUTOMATIC)
    if not why:
        return None
    by = next(one.name for one in fence.guardrails if one.spec is None or one.spec.max_mode is mode)
    return {"highest": str(mode), "by": by}


def _listed(listed: Listed) -> Object | None:
    return {"values": list(listed.names), "by": list(listed.by)} if listed.by else None


def _freeze(fence: Fence, now: datetime) -> Object:
    frozen, coming = fence.freeze_at(now), fence.next_freeze(now)
    found: Object = {}
    if frozen is not None:
        found["active"] = {
            "by": frozen.guardrail,
            "since": rfc3339(frozen.since),
            "until": rfc3339(frozen.until),
            **({"reason": frozen.reason} if frozen.reason else {}),
            "liftedBy": [list[JSON](sorted(groups)) for groups in frozen.exceptions] if frozen.can_be_lifted else [],
        }
    if coming is not None:
        window = coming.value
        found["next"] = {"by": coming.by, "from": rfc3339(window.begin), "until": rfc3339(window.end)}
    return found


def _limits(fence: Fence) -> Object:
    limits = fence.limits
    numbers = (("perNamespace", limits.per_namespace), ("cluster", limits.cluster), ("nodes", limits.nodes))
    found: Object = {name: {"value": said.value, "by": said.by} for name, said in numbers if said is not None}
    if limits.max_unavailable:
        found["maxUnavailable"] = [{"value": said.value, "by": said.by} for said in limits.max_unavailable]
    return found


def _storm(sky: Weather) -> Object:
    found: Object = {
        "rules": [
            {
                **({"by": rule.by} if rule.by else {"isDefault": True}),
                "episodes": rule.value.episodes,
                "within": human(rule.value.within),
                "calm": human(rule.value.calm),
            }
            for rule in sky.rules
        ],
        "isKnown": sky.storms is not None,
    }
    if sky.storms:
        found["active"] = [
            {
                **({"by": storm.guardrail} if storm.guardrail else {}),
                "since": rfc3339(storm.since),
                "until": rfc3339(storm.until),
            }
            for storm in sky.storms
        ]
    return found


# for people


def story(about: Surrounded, found: Object) -> Story:
    """The same, told."""
    names = [dig_text(one, "name") for one in dig_list(found, "guardrails")]
    head = Cell(f"Namespace {about.namespace} is governed by {', '.join(names) or 'no Guardrail'}", Tone.TITLE)
    sections = [Section("", tuple(_rows(about, found)))]
    wrong = tuple(row(Cell(name, Tone.BAD), str(problem)) for name, problem in about.problems)
    if wrong:
        sections.append(Section("Mistakes", wrong))
    return Story((head,), tuple(sections), airy=True)


def _rows(about: Surrounded, found: Object) -> list[Row]:
    if about.is_the_operators:
        return [row("changes", Cell("none: the operator's own namespace is never a target", Tone.BAD))]
    if not about.fence.guardrails:
        return [row("changes", Cell("none: nothing may be changed where no Guardrail selects the namespace", Tone.BAD))]
    suspended, mode = dig_text(found, "suspended", "by"), dig_object(found, "mode")
    return [
        row("suspended", Cell(f"yes, by {suspended}", Tone.BAD) if suspended else "no"),
        row("highest mode", f"{mode['highest']} ({mode['by']})" if mode else f"Automatic: {NOBODY}"),
        row("actions", _listing(found, "actions", "none is allowed")),
        *_approvals(found),
        *_freezes(found),
        *_limit_rows(found),
        *_storm_rows(found),
        row("outgoing HTTP", _listing(found, "hosts", "nowhere")),
        row("images of jobs", _listing(found, "images", "none")),
    ]


def _listing(found: Object, name: str, none: str) -> str:
    values = [str(one) for one in _texts(found, name, "values")]
    by = ", ".join(_texts(found, name, "by"))
    return f"{', '.join(values) or none} ({by})" if by else f"{none}: {NOBODY}"


def _texts(found: Object, *path: str) -> list[str]:
    value = dig(found, *path)
    return [str(one) for one in value] if isinstance(value, list) else []


def _approvals(found: Object) -> list[Row]:
    return [
        row(
            "approval",
            f"{one['count']} of {', '.join(_texts(one, 'groups')) or 'anybody who may approve'}, within "
            f"{one['expires']} ({one['by']})",
        )
        for one in dig_list(found, "approvals")
    ] or [row("approval", f"none is needed here: {NOBODY}")]


def _freezes(found: Object) -> list[Row]:
    active, coming = dig_object(found, "freeze", "active"), dig_object(found, "freeze", "next")
    rows = []
    if active:
        why = f": {active['reason']}" if "reason" in active else ""
        rows.append(row("frozen", Cell(f"until {active['until']} ({active['by']}){why}", Tone.BAD)))
        groups = [" or ".join(one) for one in _lists(active.get("liftedBy"))]
        lifted = f"an approval with a reason by {', and one by '.join(groups)}" if groups else "nobody"
        rows.append(row("lifted by", lifted))
    elif not coming:
        rows.append(row("frozen", "never"))
    if coming:
        rows.append(row("next freeze", f"{coming['from']} to {coming['until']} ({coming['by']})"))
    return rows


def _lists(value: JSON) -> list[list[str]]:
    return [[str(name) for name in one] for one in value if isinstance(one, list)] if isinstance(value, list) else []


_LIMITS = {
    "perNamespace": "objects that are worked on at once in this namespace",
    "cluster": "in the whole cluster",
    "nodes": "nodes out of service",
}


def _limit_rows(found: Object) -> list[Row]:
    limits = dig_object(found, "limits")
    rows = [
        row("at most", f"{dig(limits, name, 'value')} {words} ({dig_text(limits, name, 'by')})")
        for name, words in _LIMITS.items()
        if name in limits
    ]
    rows += [
        row("at most", f"{one['value']} of a workload's pods out of service ({one['by']})")
        for one in dig_list(limits, "maxUnavailable")
    ]
    return rows or [row("at most", f"no limit but the policies': {NOBODY}")]


def _storm_rows(found: Object) -> list[Row]:
    rows = []
    for one in dig_list(found, "storm", "rules"):
        by = dig_text(one, "by") or "the default, over the whole cluster"
        rows.append(
            row(
                "storm",
                f"{one['episodes']} runs within {one['within']} hold what is new, until {one['calm']} of calm ({by})",
            )
        )
    rows += [
        row("", Cell(f"there is one since {one['since']}, at least until {one['until']}", Tone.BAD))
        for one in dig_list(found, "storm", "active")
    ]
    if dig(found, "storm", "isKnown") is False:
        rows.append(
            row(
                "",
                "whether there is one cannot be told: you may not list the runs of all namespaces, or they are too many",
            )
        )
    return rows
