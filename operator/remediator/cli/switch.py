"""
The kill switch as a person sees it: pulled or not, what it holds, and whether it is really enforced; and who acts.

What cannot be read is said and never taken for nothing: somebody decides by it whether to sleep on.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from remediator.cli.connect import Connected
from remediator.cli.errors import sentence
from remediator.cli.leader import Leader, Replica, leader, replicas
from remediator.cli.tables import RunRow, newest_first
from remediator.domain.errors import NotFound, RemediatorError
from remediator.domain.json import Object, dig_list, dig_object, dig_text
from remediator.domain.objects import BUILT_IN, RUN, ObjectRef

if TYPE_CHECKING:
    # a third of a second that a help text does not need
    from remediator.engine.facts import Suspension

T = TypeVar("T")

CONFIG_MAP: Final = BUILT_IN["ConfigMap"]
MOST: Final = 10_000

ADMISSION: Final = "admissionregistration.k8s.io"
POLICIES: Final[Mapping[str, str]] = {
    "suspended-runs.remediator.dev": "refuses new runs",
    "suspended-intents.remediator.dev": "refuses that a step is intended",
    "suspended-changes.remediator.dev": "refuses the operator's changes, wherever they go",
    "voids.remediator.dev": "lets a void write its annotation and nothing else",
    "deposed-leaders.remediator.dev": "refuses what a replica intends that leads no longer",
    "leader-epoch.remediator.dev": "lets nobody count down which leader is the last one",
}
"""What the API server enforces, in the order in which a run meets it; the last two are the leader's fence."""

IN_FORCE: Final = "in force"


@dataclass(frozen=True, slots=True)
class Unknown:
    """What could not be read, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How everything stands."""

    suspension: "Suspension"
    open: Sequence[RunRow] | Unknown
    owing: Sequence[RunRow] | Unknown
    recorded: Mapping[str, int] | Unknown
    """How many alerts of each policy are recorded as suspended."""
    picking_up: bool
    leader: Leader | Unknown
    replicas: Sequence[Replica] | Unknown
    """The operator's pods."""
    admission: Mapping[str, str]
    """Each policy of the switch: in force, or what is wrong with it."""

    @property
    def is_enforced(self) -> bool:
        return all(state == IN_FORCE for state in self.admission.values())

    def as_json(self) -> dict[str, Any]:
        """As `-o json` shows it; what is not known is null, and `unknown` says why."""
        suspension = self.suspension
        asked = {
            "openRuns": self.open,
            "owingRuns": self.owing,
            "suspendedAlerts": self.recorded,
            "leader": self.leader,
            "replicas": self.replicas,
        }
        return {
            "suspended": suspension.pulled,
            "by": suspension.by or None,
            "since": suspension.since.isoformat().replace("+00:00", "Z") if suspension.since is not None else None,
            "reason": suspension.reason or None,
            "openRuns": _names(self.open),
            "owingRuns": _names(self.owing),
            "suspendedAlerts": None if isinstance(self.recorded, Unknown) else dict(self.recorded),
            "pickingUp": self.picking_up,
            "leader": None if isinstance(self.leader, Unknown) else self.leader.as_json(),
            "replicas": None
            if isinstance(self.replicas, Unknown)
            else {one.name: {"ready": one.is_ready} for one in self.replicas},
            "admission": dict(self.admission),
            "unknown": {name: found.why for name, found in asked.items() if isinstance(found, Unknown)},
        }


def _names(runs: Sequence[RunRow] | Unknown) -> list[str] | None:
    return None if isinstance(runs, Unknown) else [f"{one.namespace}/{one.name}" for one in runs]


async def standing(ports: Connected) -> Standing:
    """Everything, read side by side. Raises what the read of the switch itself raises."""
    import asyncio  # a tenth of a second that a help text does not need

    suspension, runs, kept, leads, pods, admission = await asyncio.gather(
        suspended(ports),
        _known(_runs(ports)),
        _known(_kept(ports)),
        _known(leader(ports)),
        _known(replicas(ports)),
        installed(ports),
    )
    return Standing(
        suspension=suspension,
        open=runs if isinstance(runs, Unknown) else runs[0],
        owing=runs if isinstance(runs, Unknown) else runs[1],
        recorded=kept if isinstance(kept, Unknown) else kept[0],
        picking_up=not isinstance(kept, Unknown) and kept[1],
        leader=leads,
        replicas=pods,
        admission=admission,
    )


async def suspended(ports: Connected) -> "Suspension":
    """The switch as it is now."""
    from remediator.engine.facts import NOT_SUSPENDED
    from remediator.engine.suspension import suspension

    try:
        return suspension(await ports.cluster.read(switch_ref(ports)))
    except NotFound:
        return NOT_SUSPENDED


def switch_ref(ports: Connected) -> ObjectRef:
    from remediator.engine.suspension import NAME

    return ObjectRef("", CONFIG_MAP.kind, ports.operator_namespace, NAME)


async def installed(ports: Connected) -> dict[str, str]:
    """Each policy of the switch: in force, or what is wrong with it."""
    import asyncio

    states = await asyncio.gather(*(_state_of(ports, name) for name in POLICIES))
    return dict(zip(POLICIES, states, strict=True))


async def _state_of(ports: Connected, name: str) -> str:
    policy = await _known(ports.cluster.read(ObjectRef(ADMISSION, "ValidatingAdmissionPolicy", "", name)))
    binding = await _known(ports.cluster.read(ObjectRef(ADMISSION, "ValidatingAdmissionPolicyBinding", "", name)))
    for what, found in (("policy", policy), ("binding", binding)):
        if isinstance(found, Unknown):
            return f"its {what} {found.why}"
    assert not isinstance(policy, Unknown) and not isinstance(binding, Unknown), "both were read"
    return _objection(name, policy, binding, ports.operator_namespace) or IN_FORCE


def _objection(name: str, policy: Object, binding: Object, operator_namespace: str) -> str:
    """Why the policy does not do what it is for; empty if it does."""
    from remediator.engine.election import EPOCH_NAME
    from remediator.engine.suspension import NAME

    if "Deny" not in [*_texts(binding, "spec", "validationActions")]:
        return "its binding does not deny"
    if dig_object(binding, "spec", "matchResources"):
        return "its binding is limited to some resources"
    warnings = dig_list(policy, "status", "typeChecking", "expressionWarnings")
    if warnings:
        return f"the API server warns of it: {dig_text(warnings[0], 'warning').splitlines()[0][:200]}"
    if dig_object(policy, "spec", "paramKind"):
        ref = dig_object(binding, "spec", "paramRef")
        place = f"{dig_text(ref, 'namespace')}/{dig_text(ref, 'name')}"
        if place != f"{operator_namespace}/{EPOCH_NAME if name.startswith('deposed-leaders.') else NAME}":
            return f"its binding looks for ConfigMap {place}"
    return ""


def _texts(obj: Object, *path: str) -> list[str]:
    found: Any = obj
    for part in path:
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return [str(one) for one in found] if isinstance(found, list) else []


async def _runs(ports: Connected) -> tuple[list[RunRow], list[RunRow]]:
    """The runs that are open, and those that have ended and still owe something."""
    listing = await ports.cluster.list(RUN, "", limit=MOST)
    rows = [(RunRow.of(obj), obj) for obj in listing.items]
    open_runs = [row for row, _ in rows if row.is_open]
    owing = [row for row, obj in rows if not row.is_open and _owes(obj)]
    return newest_first(open_runs), newest_first(owing)


def _owes(obj: Object) -> bool:
    return any(dig_text(debt, "state") in ("", "Owed") for debt in dig_list(obj, "status", "debts"))


async def _kept(ports: Connected) -> tuple[dict[str, int], bool]:
    """How many alerts are recorded of each policy, and whether somebody has asked for them."""
    from remediator.engine.suspension import LABEL, PICK_UP, policy_of, recorded

    listing = await ports.cluster.list(CONFIG_MAP, ports.operator_namespace, labels=LABEL, limit=MOST)
    asked = [obj for obj in listing.items if dig_text(obj, "metadata", "name") == PICK_UP]
    kept = {"/".join(policy_of(obj)): len(recorded(obj)) for obj in listing.items if obj not in asked}
    return dict(sorted(kept.items())), bool(asked)


async def _known(reading: Awaitable[T]) -> T | Unknown:
    try:
        return await reading
    except NotFound:
        return Unknown("is not there")
    except RemediatorError as error:
        return Unknown(f"cannot be read: {sentence(error)}")
