"""
Identities that do not fit into a run: immutable ConfigMaps beside it, owned by it.

Each is written once, under the next free number, so that two writers never lose each other's; to read
them is to read until there is none. A run's own `count` says whether there are any.
"""

import base64
from collections import OrderedDict
from typing import Final

from remediator.domain.alerts import Identities
from remediator.domain.errors import AlreadyExists, NotFound, Unavailable
from remediator.domain.json import Object, dig_text
from remediator.domain.objects import BUILT_IN, RUN, ObjectRef
from remediator.engine.begin import KnownRun
from remediator.ports import Cluster

KEY: Final = "identities"
MOST: Final = 1_000
REMEMBERED: Final = 512


class Beside:
    """Reads and writes the further identities of runs."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._read: OrderedDict[str, tuple[int, Identities]] = OrderedDict()

    async def load(self, run: KnownRun) -> Identities:
        """All further identities of the run; what was read once is not read again."""
        number, found = self._read.get(run.uid, (1, Identities()))
        while number <= MOST:
            try:
                stored = await self._cluster.read(_ref(run, number))
            except NotFound:
                break
            found = found.merge(_identities(stored))
            number += 1
        self._remember(run, number, found)
        return found

    async def add(self, run: KnownRun, identities: Identities) -> None:
        """
        These are stored too.

        Raises Unavailable where there are too many, as long as the run is open: the next episode
        takes the rest.
        """
        number, found = self._read.get(run.uid, (1, Identities()))
        while number <= MOST:
            try:
                await self._cluster.create(BUILT_IN["ConfigMap"], _config_map(run, number, identities))
            except AlreadyExists:
                found = found.merge(_identities(await self._cluster.read(_ref(run, number))))
                number += 1
                continue
            self._remember(run, number + 1, found.merge(identities))
            return
        raise Unavailable(f"the run {run.full_name} has {MOST} lists of alerts beside it and takes no further ones")

    def _remember(self, run: KnownRun, number: int, found: Identities) -> None:
        self._read[run.uid] = (number, found)
        self._read.move_to_end(run.uid)
        if len(self._read) > REMEMBERED:
            self._read.popitem(last=False)


def _ref(run: KnownRun, number: int) -> ObjectRef:
    return ObjectRef("", "ConfigMap", run.namespace, f"{run.name}-alerts-{number}")


def _config_map(run: KnownRun, number: int, identities: Identities) -> Object:
    ref = _ref(run, number)
    return {
        "metadata": {
            "namespace": ref.namespace,
            "name": ref.name,
            "labels": {"remediator.dev/run": run.name},
            "ownerReferences": [{"apiVersion": RUN.api_version, "kind": RUN.kind, "name": run.name, "uid": run.uid}],
        },
        "immutable": True,
        "binaryData": {KEY: base64.b64encode(identities.packed).decode()},
    }


def _identities(stored: Object) -> Identities:
    try:
        return Identities.decode(dig_text(stored, "binaryData", KEY))
    except ValueError:
        return Identities()  # what is not known is not covered, and is recorded again
