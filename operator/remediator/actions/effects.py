"""
Carrying a change out, giving it up, trying it, taking it back: the same for every action.

Each function reads the target, compares, and sends one write that fails unless what was compared
still holds. None of them waits: `Contended` means that others kept writing, and the caller looks
again when it sees fit. What the ports raise besides Conflict and NotFound is passed on; after
Unavailable nobody knows whether the write happened, and the next look must bring the `Mark`.
"""

from dataclasses import dataclass
from typing import Final

from remediator.actions.difference import difference
from remediator.domain.changes import (
    Change,
    DeletePods,
    Patch,
    is_stamped,
    is_voided,
    json_patch,
    void_patch,
    with_token,
)
from remediator.domain.changes import Differs as Differs  # raised by dry_run, so its callers find it here
from remediator.domain.errors import Conflict, NotFound
from remediator.domain.json import Object, dig, dig_text
from remediator.domain.objects import Target
from remediator.domain.workloads import is_ending, uid_of
from remediator.ports import Cluster

TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Carried:
    """The change stands in the cluster; `before` where an earlier attempt had already made it."""

    generation: int | None = None
    before: bool = False


@dataclass(frozen=True, slots=True)
class Voided:
    """The change was given up, and can never happen any more."""


@dataclass(frozen=True, slots=True)
class Gone:
    """There is nothing left to change."""

    message: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The object is another one, or holds other values than the change was rendered from."""

    message: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """Whether an earlier attempt happened cannot be told: it is voided, never repeated."""

    message: str


@dataclass(frozen=True, slots=True)
class Contended:
    """Nothing was written, because others wrote first each time."""

    message: str


Effect = Carried | Voided | Gone | Moved | Unclear | Contended


@dataclass(frozen=True, slots=True)
class Mark:
    """Where an object stood when a change of it was intended."""

    generation: int | None
    resource_version: str

    @classmethod
    def of(cls, seen: Object) -> "Mark":
        generation = dig(seen, "metadata", "generation")
        return cls(generation if isinstance(generation, int) else None, dig_text(seen, "metadata", "resourceVersion"))

    def holds_for(self, seen: Object) -> bool:
        """Whether the object has not moved: by generation, or by resourceVersion for kinds without one."""
        present = Mark.of(seen)
        if self.generation is None:
            return present.resource_version == self.resource_version
        return present.generation == self.generation


async def carry_out(change: Change, cluster: Cluster, *, run: str, token: str, mark: Mark | None = None) -> Effect:
    """
    Make the change once, whoever else writes to the object meanwhile.

    An empty change is there already. With `mark` (GEN) an object that has moved since then and does
    not carry our stamp is `Unclear`; without it, it is compared and tried again.
    """
    if change.is_empty:
        return Carried(before=True)
    if isinstance(change, DeletePods):
        return await _delete_pods(change, cluster, token)
    patch = with_token(change, token)
    assert isinstance(patch, Patch)
    return await _apply(patch, cluster, run, token, mark)


async def _apply(patch: Patch, cluster: Cluster, run: str, token: str, mark: Mark | None) -> Effect:
    target = patch.target
    for _ in range(TRIES):
        try:
            seen = await cluster.read(target.ref)
            settled = _settled(target, seen, token)
            if settled is not None:
                return settled
            if mark is not None and not mark.holds_for(seen):
                return Unclear(f"{target} was written since the step was intended and does not carry its stamp")
            written = await cluster.patch(target.ref, json_patch(patch, seen, run=run, token=token))
        except NotFound:
            return Gone(f"{target} is gone")
        except Differs as difference:
            return Moved(str(difference))
        except Conflict:
            continue
        return Carried(Mark.of(written).generation)
    return Contended(f"{target} was written by others {TRIES} times in a row")


def _settled(target: Target, seen: Object, token: str) -> Effect | None:
    """What the object itself says about the step, before anything is sent."""
    if uid_of(seen) != target.uid:
        return Moved(f"{target} is another object of the same name")
    if is_voided(seen, token):
        return Voided()
    if is_stamped(seen, token):
        return Carried(Mark.of(seen).generation, before=True)
    return None


async def _delete_pods(change: DeletePods, cluster: Cluster, token: str) -> Effect:
    before = True
    for pod in change.pods:
        effect = await _delete(pod, cluster, token)
        if not isinstance(effect, Carried):
            return effect
        before = before and effect.before
    return Carried(before=before)


async def _delete(pod: Target, cluster: Cluster, token: str) -> Effect:
    """A pod that is gone, replaced or already ending counts as deleted; by whom is not claimed."""
    for _ in range(TRIES):
        try:
            seen = await cluster.read(pod.ref)
            if uid_of(seen) != pod.uid or is_ending(seen):
                return Carried(before=True)
            if is_voided(seen, token):
                return Voided()
            version = dig_text(seen, "metadata", "resourceVersion")
            await cluster.delete(pod.ref, uid=pod.uid, resource_version=version)
        except NotFound:
            return Carried(before=True)
        except Conflict:
            continue
        return Carried()
    return Contended(f"{pod} was written by others {TRIES} times in a row")


async def void(change: Change, cluster: Cluster, *, token: str) -> Effect:
    """
    Make sure that the change can never happen any more, and say whether it already had.

    The target is written before anything is decided: only `Carried`, `Voided` and `Gone` are final.
    `cluster` acts as an identity that is marked for voiding.
    """
    if isinstance(change, Patch):
        return await _void(change.target, cluster, token)
    effects = [await _void(pod, cluster, token, ending_is_done=True) for pod in change.pods]
    undecided = [effect for effect in effects if isinstance(effect, Contended)]
    if undecided:
        return undecided[0]
    return Voided() if any(isinstance(effect, Voided) for effect in effects) else Carried(before=True)


async def _void(target: Target, cluster: Cluster, token: str, *, ending_is_done: bool = False) -> Effect:
    for _ in range(TRIES):
        try:
            seen = await cluster.read(target.ref)
            settled = _settled(target, seen, token)
            if isinstance(settled, Moved):
                return Gone(settled.message)
            if ending_is_done and is_ending(seen):
                return Carried(before=True)  # a pod takes half a minute to end, and none comes back from it
            if settled is not None:
                return settled
            await cluster.patch(target.ref, void_patch(target, seen, token=token))
        except NotFound:
            return Gone(f"{target} is gone")
        except Conflict:
            continue
        return Voided()
    return Contended(f"{target} was written by others {TRIES} times in a row")


async def dry_run(change: Change, cluster: Cluster, *, run: str) -> str:
    """
    What the API server says the change would do, line by line; nothing is stored.

    Admission, quota and RBAC have their say: their refusals are raised as Forbidden and Rejected.
    Raises NotFound and Differs where the object is gone or has moved.
    """
    if isinstance(change, DeletePods):
        for pod in change.pods:
            await cluster.delete(pod.ref, uid=pod.uid, dry_run=True)
        return "\n".join(f"- {pod}" for pod in change.pods)
    patch = with_token(change, "dry-run")
    assert isinstance(patch, Patch)
    seen = await cluster.read(patch.target.ref)
    operations = json_patch(patch, seen, run=run, token="dry-run")  # noqa: S106 - a stamp that is never stored
    return difference(seen, await cluster.patch(patch.target.ref, operations, dry_run=True))
