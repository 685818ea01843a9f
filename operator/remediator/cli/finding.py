"""From what a person types to the one run that is meant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from remediator.cli.errors import is_without_kind
from remediator.domain.errors import NotFound, RemediatorError
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import RUN, ObjectRef

if TYPE_CHECKING:
    from remediator.ports import Cluster

LISTED: Final = 5_000
SHOWN_CANDIDATES: Final = 10
KINDS: Final = ("runbookrun", "runbookruns", "runbookrun.remediator.dev", "runbookruns.remediator.dev", "rbr")


class Ambiguous(RemediatorError):
    """Several runs fit; the message lists them."""


@dataclass(frozen=True, slots=True)
class Meant:
    """What was typed: `queue-1`, `1`, `shop/queue-1` or `runbookrun.remediator.dev/queue-1`."""

    namespace: str
    text: str

    @classmethod
    def parse(cls, given: str, namespace: str) -> "Meant":
        front, slash, back = given.partition("/")
        if not slash:
            return cls(namespace, given)
        return cls(namespace if front.lower() in KINDS else front, back)


async def found(cluster: "Cluster", given: str, namespace: str) -> Object:
    """
    The run of that name, or the only one whose name begins or ends with it.

    Raises NotFound, Ambiguous, Forbidden or Unavailable.
    """
    meant = Meant.parse(given, namespace)
    if not meant.text:
        raise NotFound("no run was named: `kubectl remediate list` shows those that there are")
    try:
        return await cluster.read(ObjectRef(RUN.group, RUN.kind, meant.namespace, meant.text))
    except NotFound as missing:
        if is_without_kind(missing):
            raise
    listing = await cluster.list(RUN, meant.namespace, limit=LISTED)
    names = fitting(meant.text, (dig_text(one, "metadata", "name") for one in listing.items))
    if not names:
        raise NotFound(
            f"no run in namespace {meant.namespace} is named {meant.text}, or begins or ends with it: "
            f"`kubectl remediate list -n {meant.namespace}` shows those that there are; -n names another namespace"
        )
    if len(names) > 1:
        more = f"\n  … and {len(names) - SHOWN_CANDIDATES} more" if len(names) > SHOWN_CANDIDATES else ""
        candidates = "".join(f"\n  {name}" for name in names[:SHOWN_CANDIDATES])
        raise Ambiguous(
            f"{meant.text} fits {len(names)} runs in namespace {meant.namespace}, name one of them:{candidates}{more}"
        )
    return next(one for one in listing.items if dig_text(one, "metadata", "name") == names[0])


def fitting(text: str, names: Iterable[str]) -> Sequence[str]:
    """The names that begin or end with the text, in their order."""
    return sorted(name for name in names if name.startswith(text) or name.endswith(text))
