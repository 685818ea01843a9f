"""
Carrying a change out, giving it up, trying it, taking it back: the same for every action.

Each function reads the target, compares, and sends one write that fails unless what was compared
still holds. None of them waits: `Contended` means that others kept writing, and the caller looks
again when it sees fit. What the ports raise besides Conflict and NotFound is passed on; after
Unavailable nobody knows whether the write happened, and the next look must bring the `Mark`.
"""

from collections.abc import Callable
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
    tells_of_voids,
    void_patch,
    with_token,
)
from remediator.domain.changes import Differs as Differs  # raised by dry_run, so its callers find it here
from remediator.domain.errors import Conflict, Forbidden, NotFound, Rejected
from remediator.domain.json import Object, dig, dig_text
from remediator.domain.objects import Target
from remediator.domain.workloads import is_ending, uid_of
from remediator.ports import Cluster

TRIES: Final = 5
SHOWN: Final = 5
"""How many pods a sentence names."""


@dataclass(frozen=True, slots=True)
class Carried:
    """The change stands in the cluster; `before` where an earlier attempt had already made it."""

    generation: int | None = None
    before: bool = False


@dataclass(frozen=True, slots=True)
class Voided:
    """The change was given up, and can never happen any more; `partly` where some pods of a list are gone."""

    partly: bool = False


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


@dataclass(frozen=True, slots=True)
class Protected:
    """Some pods were evicted or are on their way, and others are not let go yet: the list is to be finished."""

    message: str


Effect = Carried | Voided | Gone | Moved | Unclear | Contended | Protected


@dataclass(frozen=True, slots=True)
class Mark:
    """Where an object stood when a change of it was intended."""

    generation: int | None
    resource_version: str

    @classmethod
    def of(cls, seen: Object) -> "Mark":
        generation = dig(seen, "metadata", "generation")
        return cls(generation if isinstance(generation, int) else None, dig_text(seen, "metadata", "resourceVersion"))

    def holds_for(self, target: Target, seen: Object) -> bool:
        """Whether the object has not moved: by generation, or by resourceVersion where that does not tell of voids."""
        present = Mark.of(seen)
        if self.generation is None or not tells_of_voids(target):
            return present.resource_version == self.resource_version
        return present.generation == self.generation


async def carry_out(
    change: Change,
    cluster: Cluster,
    *,
    run: str,
    token: str,
    mark: Mark | None = None,
    seen: Object | None = None,
    is_old: Callable[[], bool] = lambda: False,
) -> Effect:
    """
    Make the change once, whoever else writes to the object meanwhile.

    `seen` is the object as it was read a moment ago; the write fails where it has moved since, and it is
    read again. Once what the decision rests on `is_old`, nothing more is sent: `Contended`. An empty change
    is there already. With `mark` (GEN) an object that has moved since then and does not carry our stamp is
    `Unclear`; without it, it is compared and tried again.
    """
    if change.is_empty:
        return Carried(before=True)
    if isinstance(change, DeletePods):
        return await _delete_pods(change, cluster, token, is_old)
    patch = with_token(change, token)
    assert isinstance(patch, Patch)
    return await _apply(patch, cluster, run, token, mark, seen, is_old)


async def _apply(
    patch: Patch,
    cluster: Cluster,
    run: str,
    token: str,
    mark: Mark | None,
    known: Object | None,
    is_old: Callable[[], bool],
) -> Effect:
    target = patch.target
    for _ in range(TRIES):
        try:
            seen, known = known or await cluster.read(target.ref), None
            settled = _settled(target, seen, token)
            if settled is not None:
                return settled
            if mark is not None and not mark.holds_for(target, seen):
                if mark.generation is not None and mark.generation == Mark.of(seen).generation:
                    return Contended(f"{target} was written since the step was intended, but not its spec")
                return Unclear(f"{target} was written since the step was intended and does not carry its stamp")
            if is_old():
                return _too_late(target)
            written = await cluster.patch(target.ref, json_patch(patch, seen, run=run, token=token))
        except NotFound:
            return Gone(f"{target} is gone")
        except Differs as difference:
            return Moved(str(difference))
        except Conflict:
            continue
        return Carried(Mark.of(written).generation)
    return Contended(f"{target} was written by others {TRIES} times in a row")


def _too_late(target: Target) -> Contended:
    return Contended(f"{target} was written by others for so long that everything is looked at again")


def _settled(target: Target, seen: Object, token: str) -> Effect | None:
    """What the object itself says about the step, before anything is sent."""
    if uid_of(seen) != target.uid:
        return Moved(f"{target} is another object of the same name")
    if is_voided(seen, token):
        return Voided()
    if is_stamped(seen, token):
        return Carried(Mark.of(seen).generation, before=True)
    return None


async def _delete_pods(change: DeletePods, cluster: Cluster, token: str, is_old: Callable[[], bool]) -> Effect:
    before, kept, refused = True, [], ""
    for pod in change.pods:
        try:
            effect = await _delete(pod, change, cluster, token, is_old if before else lambda: False)
        except (Forbidden, Rejected) as error:
            if before or not change.evict:
                raise  # nothing has happened yet
            refused = str(error)
            kept.append(str(pod))
            continue
        if change.evict and isinstance(effect, Protected | Contended):
            kept.append(str(pod))
        elif not isinstance(effect, Carried):
            return effect
        else:
            before = before and effect.before
    if kept:
        names = ", ".join(kept[:SHOWN]) + (f" and {len(kept) - SHOWN} more" if len(kept) > SHOWN else "")
        return Protected(refused or f"PodDisruptionBudgets hold {len(kept)} of {len(change.pods)} pods: {names}")
    return Carried(before=before)


async def _delete(pod: Target, change: DeletePods, cluster: Cluster, token: str, is_old: Callable[[], bool]) -> Effect:
    """A pod that is gone, replaced or already ending counts as deleted; by whom is not claimed."""
    for _ in range(TRIES):
        try:
            seen = await cluster.read(pod.ref)
            if uid_of(seen) != pod.uid or is_ending(seen):
                return Carried(before=True)
            if is_voided(seen, token):
                return Voided()
            version = dig_text(seen, "metadata", "resourceVersion")
            if is_old():
                return _too_late(pod)
            if not change.evict:
                await cluster.delete(pod.ref, uid=pod.uid, resource_version=version)
            elif not await cluster.evict(
                pod.ref, uid=pod.uid, resource_version=version, grace_seconds=change.grace_seconds
            ):
                return Protected(f"{pod} is protected by a PodDisruptionBudget")
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
    given_up = [isinstance(effect, Voided) for effect in effects]
    return Voided(partly=not all(given_up)) if any(given_up) else Carried(before=True)


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


async def _dry_run_of(pod: Target, change: DeletePods, cluster: Cluster) -> str:
    if not change.evict:
        await cluster.delete(pod.ref, uid=pod.uid, dry_run=True)
        return f"- {pod}"
    goes = await cluster.evict(pod.ref, uid=pod.uid, grace_seconds=change.grace_seconds, dry_run=True)
    return f"- {pod}" if goes else f"- {pod} (a PodDisruptionBudget does not let it go now)"


async def dry_run(change: Change, cluster: Cluster, *, run: str) -> str:
    """
    What the API server says the change would do, line by line; nothing is stored.

    Admission, quota and RBAC have their say: their refusals are raised as Forbidden and Rejected.
    Raises NotFound and Differs where the object is gone or has moved.
    """
    if isinstance(change, DeletePods):
        return "\n".join([await _dry_run_of(pod, change, cluster) for pod in change.pods])
    patch = with_token(change, "dry-run")
    assert isinstance(patch, Patch)
    seen = await cluster.read(patch.target.ref)
    operations = json_patch(patch, seen, run=run, token="dry-run")  # noqa: S106 - a stamp that is never stored
    return difference(seen, await cluster.patch(patch.target.ref, operations, dry_run=True))
