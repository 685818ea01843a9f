"""
Which kinds the API server serves, and under which version and plural.

The kinds that Runbooks name without a group, and our own, need no call. A group that somebody
installed is asked for once in a while, as the operator itself: discovery is open to everybody who
is authenticated.
"""

from typing import Final

from remediator.adapters.kube import KubeApi
from remediator.domain.errors import NotFound, Rejected
from remediator.domain.json import dig_list, dig_text
from remediator.domain.objects import BUILT_IN, GUARDRAIL, POLICY, RUN, RUNBOOK, Kind

TTL_SECONDS: Final = 600.0

SECRET: Final = Kind("", "v1", "Secret", "secrets")
"""Read by name for receivers and credentials alone; `kind` never finds it, so no Runbook can name it."""

KNOWN: Final = {(kind.group, kind.kind.lower()): kind for kind in (*BUILT_IN.values(), RUNBOOK, POLICY, RUN, GUARDRAIL)}


class Discovery:
    """Kinds by group and name, remembered for ten minutes."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._groups: dict[str, tuple[float, dict[str, Kind]]] = {}

    async def kind(self, text: str) -> Kind:
        """The kind that a Runbook spells `Deployment`, `deployment.apps` or `certificate.cert-manager.io`."""
        built_in = BUILT_IN.get(text)
        if built_in is not None:
            return built_in
        name, _, group = text.partition(".")
        return await self.named(group, name)

    async def named(self, group: str, name: str) -> Kind:
        """The kind of that name, singular or plural in any case; Secrets are refused."""
        if not group and name.lower() in ("secret", "secrets"):
            raise Rejected("the content of Secrets is never read")
        known = KNOWN.get((group, name.lower()))
        if known is not None:
            return known
        kinds = await self._served_by(group)
        found = kinds.get(name.lower())
        if found is None:
            raise NotFound(f"the API server serves no kind {name}{'.' + group if group else ''}")
        return found

    async def _served_by(self, group: str) -> dict[str, Kind]:
        now = self._api.clock.boot_seconds()
        asked_at, kinds = self._groups.get(group, (float("-inf"), {}))
        if now - asked_at > TTL_SECONDS:
            kinds = await self._asked(group)
            if kinds:  # what is not served may be installed the next minute
                self._groups[group] = (now, kinds)
        return kinds

    async def _asked(self, group: str) -> dict[str, Kind]:
        if not group:
            return await self._of_version("", "v1", "/api/v1")
        try:
            served = await self._api.json("GET", f"/apis/{group}")
        except NotFound:
            return {}
        preferred = dig_text(served, "preferredVersion", "version")
        versions = [dig_text(version, "version") for version in dig_list(served, "versions")]
        found: dict[str, Kind] = {}
        for version in sorted(versions, key=lambda version: version != preferred):
            for name, kind in (await self._of_version(group, version, f"/apis/{group}/{version}")).items():
                found.setdefault(name, kind)
        return found

    async def _of_version(self, group: str, version: str, path: str) -> dict[str, Kind]:
        try:
            served = await self._api.json("GET", path)
        except NotFound:
            return {}
        found: dict[str, Kind] = {}
        for resource in dig_list(served, "resources"):
            plural, name = dig_text(resource, "name"), dig_text(resource, "kind")
            if "/" in plural:
                continue
            kind = Kind(group, version, name, plural, namespaced=resource.get("namespaced") is True)
            for spelling in (name, plural, dig_text(resource, "singularName")):
                found.setdefault(spelling.lower(), kind)
        return found
