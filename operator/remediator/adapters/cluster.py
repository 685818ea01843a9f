"""
The Kubernetes API as one identity.

Another identity is another `KubeCluster` over the same connections: impersonation is a matter of
headers. Every write says `fieldManager=remediator` and asks for strict field validation, because a
field that the API server drops in silence would be a record that was never made.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, TypeAlias
from urllib.parse import quote

from remediator.adapters.discovery import SECRET, Discovery
from remediator.adapters.kube import JSON_PATCH_TYPE, Expired, KubeApi, Protected, TooLarge
from remediator.adapters.watching import follow
from remediator.domain.actions import Permission
from remediator.domain.changes import FIELD_MANAGER
from remediator.domain.errors import Forbidden, NotFound, Rejected, Unavailable
from remediator.domain.json import JSON, Object, dig, dig_list, dig_object, dig_text
from remediator.domain.objects import Kind, ObjectRef
from remediator.ports import Identity, Listing, LogText

Items: TypeAlias = list[Object]
"""Inside the class, `list` is the method."""

LIMIT: Final = 500
PAGE: Final = 1_000
MAX_LOG_TRANSFER_BYTES: Final = 64 * 1024 * 1024

METADATA_TYPE: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""
The object's metadata and nothing else.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

RUN_EXTRA: Final = "Impersonate-Extra-remediator.dev%2Frun"
VOID_EXTRA: Final = "Impersonate-Extra-remediator.dev%2Fvoid"
"""A slash cannot stand in a header's name; the API server decodes it."""

EXCUSE: Final = re.compile(
    r"\A(unable to retrieve container logs for |failed to try resolving symlinks in path )[^\n]{0,500}\n?\Z"
)
"""
What the kubelet writes, with status 200, where the container's log is gone from the node.

Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kuberuntime/kuberuntime_container.go
"""

NOT_STARTED: Final = ("is waiting to start", "is terminated", "not available")
NO_LOG: Final = ("previous terminated container", "is not valid for pod")


class KubeCluster:
    """`ports.Cluster` over HTTP."""

    def __init__(self, api: KubeApi, identity: Identity | None = None, *, discovery: Discovery | None = None) -> None:
        self._api = api
        self._identity = identity or Identity()
        self._discovery = discovery or Discovery(api)
        self._headers = impersonation(self._identity)

    def acting_as(self, identity: Identity) -> "KubeCluster":
        return KubeCluster(self._api, identity, discovery=self._discovery)

    async def read(self, ref: ObjectRef) -> Object:
        path = await self._path(ref)
        try:
            return await self._api.json("GET", path, headers=self._headers)
        except Forbidden as refused:
            # a namespace takes the rights in it along: what an account may not see there is then simply gone
            if self._headers and ref.namespace and await self._is_gone(ref.namespace):
                raise NotFound(f"GET {path}: namespace {ref.namespace} is gone") from refused
            raise

    async def _is_gone(self, namespace: str) -> bool:
        """Whether there is no such namespace, as the operator itself sees it; where it may not look, nobody says so."""
        try:
            await self._api.json("GET", f"/api/v1/namespaces/{namespace}")
        except (NotFound, Forbidden) as error:
            return isinstance(error, NotFound)
        return False

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = LIMIT,
    ) -> Listing:
        try:
            return await self._listed(kind, namespace, labels, fields, limit)
        except Expired:
            # the pages were older than etcd's memory; from the start once more
            return await self._listed(kind, namespace, labels, fields, limit)

    async def _listed(self, kind: Kind, namespace: str, labels: str, fields: str, limit: int) -> Listing:
        path, token, page = collection(kind, namespace), "", PAGE
        items: Items = []
        params = selectors(labels=labels, fields=fields)
        # One more than wanted: with a selector, the API server hands out a token at the limit whether or
        # not anything behind it matches, so only a further object shows that the list was cut.
        while len(items) <= limit:
            asked = {**params, "limit": str(min(page, limit + 1 - len(items)))}
            try:
                answer = await self._api.json(
                    "GET", path, params={**asked, "continue": token} if token else asked, headers=self._headers
                )
            except TooLarge:
                if page == 1:
                    raise
                page = max(1, page // 10)
                continue
            items.extend(dig_list(answer, "items"))
            token = dig_text(answer, "metadata", "continue")
            if not token:
                break
        # kinds without paging, such as PodMetrics, answer with everything
        return Listing(tuple(items[:limit]), truncated=len(items) > limit)

    async def pages(
        self, kind: Kind, namespace: str = "", *, labels: str = "", size: int = PAGE
    ) -> AsyncIterator[tuple[Object, ...]]:
        params = {**selectors(labels=labels, fields=""), "limit": str(size)}
        token = ""
        while True:
            asked = {**params, "continue": token} if token else params
            answer = await self._api.json("GET", collection(kind, namespace), params=asked, headers=self._headers)
            yield tuple(dig_list(answer, "items"))
            token = dig_text(answer, "metadata", "continue")
            if not token:
                return

    async def logs(
        self,
        pod: ObjectRef,
        *,
        container: str,
        previous: bool = False,
        tail_lines: int = 200,
        since: timedelta | None = None,
        limit_bytes: int = 1_048_576,
    ) -> LogText:
        params = {
            "container": container,
            "tailLines": str(tail_lines),
            # The kubelet keeps the first bytes of the tail and cuts its end, which is the part that
            # matters; so this bounds the transfer only, and the end is kept here.
            "limitBytes": str(MAX_LOG_TRANSFER_BYTES),
        }
        if previous:
            params["previous"] = "true"
        if since is not None:
            params["sinceSeconds"] = str(max(1, math.ceil(since.total_seconds())))
        try:
            raw, truncated = await self._api.tail(
                await self._path(pod) + "/log", params=params, headers=self._headers, limit_bytes=limit_bytes
            )
        except Rejected as refused:
            # 400 both where there is no such container and where it has not begun to write
            if any(words in str(refused) for words in NO_LOG):
                raise NotFound(str(refused)) from refused
            if any(words in str(refused) for words in NOT_STARTED):
                return LogText(str(refused), available=False)
            raise
        text = raw.decode(errors="replace")
        if truncated and "\n" in text:
            text = text.split("\n", 1)[1]  # half a line misleads
        return LogText(text, truncated=truncated, available=EXCUSE.match(text) is None)

    async def create(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        namespace = dig_text(obj, "metadata", "namespace")
        return await self._api.json(
            "POST",
            collection(kind, namespace),
            params=write_params(dry_run),
            body=typed(kind, obj),
            headers=self._headers,
        )

    async def patch(
        self, ref: ObjectRef, operations: Sequence[Object], *, dry_run: bool = False, sub: str = ""
    ) -> Object:
        body: JSON = list(operations)
        return await self._api.json(
            "PATCH",
            await self._path(ref, sub),
            params=write_params(dry_run),
            body=body,
            content_type=JSON_PATCH_TYPE,
            headers=self._headers,
        )

    async def replace(self, kind: Kind, obj: Object, *, sub: str = "") -> Object:
        ref = ObjectRef.to(obj, kind)
        if not dig_text(obj, "metadata", "resourceVersion"):
            raise Rejected(f"{ref}: a replacement must carry the resourceVersion that it was made from")
        return await self._api.json(
            "PUT",
            member(kind, ref, sub),
            params=write_params(dry_run=False),
            body=typed(kind, obj),
            headers={**self._headers, "Accept": METADATA_TYPE} if sub else self._headers,
        )

    async def delete(
        self,
        ref: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        dry_run: bool = False,
    ) -> None:
        options = delete_options(uid, resource_version)
        # Jobs would otherwise leave their pods behind
        options["propagationPolicy"] = "Background"
        if dry_run:
            options["dryRun"] = ["All"]
        await self._api.json("DELETE", await self._path(ref), body=options, headers=self._headers)

    async def evict(
        self,
        pod: ObjectRef,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> bool:
        options = delete_options(uid, resource_version)
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        eviction: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": pod.namespace, "name": pod.name},
            "deleteOptions": options,
        }
        path = await self._path(pod, "eviction")
        try:
            await self._api.json("POST", path, params=write_params(dry_run), body=eviction, headers=self._headers)
        except Protected:
            return False
        return True

    async def allowed(self, permission: Permission, namespace: str, name: str = "") -> tuple[bool, str]:
        answers = await asyncio.gather(*(self._review(permission, verb, namespace, name) for verb in permission.verbs))
        missing = [verb for verb, allowed in zip(permission.verbs, answers, strict=True) if not allowed]
        if not missing:
            return True, ""
        who = self._identity.account or "the operator"
        resource = f"{permission.resource}.{permission.group}" if permission.group else permission.resource
        return False, (
            f"{who} may not {', '.join(missing)} {resource}"
            + (f" {name}" if name else "")
            + (f" in namespace {namespace}" if namespace else "")
        )

    async def _review(self, permission: Permission, verb: str, namespace: str, name: str) -> bool:
        resource, _, sub = permission.resource.partition("/")
        asked: Object = {"group": permission.group, "resource": resource, "verb": verb}
        for key, value in (("subresource", sub), ("namespace", namespace), ("name", name)):
            if value:
                asked[key] = value
        answer = await self._api.json(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked},
            },
            headers=self._headers,
            repeatable=True,
        )
        if dig(answer, "status", "allowed") is True:
            return True
        problem = dig_text(answer, "status", "evaluationError")
        if problem and dig(answer, "status", "denied") is not True:
            # an authorizer that could not be asked has not said no
            raise Unavailable(f"whether {verb} {permission.resource} is allowed could not be told: {problem}")
        return False

    async def kind(self, text: str) -> Kind:
        return await self._discovery.kind(text)

    async def watch(
        self,
        kind: Kind,
        namespace: str,
        changed: Callable[[str, Object], Awaitable[None]],
        *,
        labels: str = "",
        fields: str = "",
    ) -> None:
        await follow(
            self._api,
            collection(kind, namespace),
            self._headers,
            kind,
            changed,
            selectors(labels=labels, fields=fields),
        )

    async def _path(self, ref: ObjectRef, sub: str = "") -> str:
        if ref.group == "" and ref.kind == SECRET.kind:
            return member(SECRET, ref, sub)
        return member(await self._discovery.named(ref.group, ref.kind), ref, sub)


def impersonation(identity: Identity) -> dict[str, str]:
    """
    The headers by which the API server takes the request as the identity's.

    A void carries its own extra *instead of* the run's: the kill switch refuses what carries the
    run's. The operator itself has no extras, because the API server refuses them without a user.
    """
    if not identity.account:
        return {}
    # No Impersonate-Group: the API server gives a service account its groups by itself, while asking
    # for them would need the right to impersonate `system:serviceaccounts`, which is everybody's.
    headers = {"Impersonate-User": identity.account}
    if identity.run:
        headers[VOID_EXTRA if identity.void else RUN_EXTRA] = identity.run
    return headers


def delete_options(uid: str, resource_version: str) -> Object:
    """DeleteOptions under these preconditions."""
    options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
    given: Object = {"uid": uid, "resourceVersion": resource_version}
    preconditions: Object = {key: value for key, value in given.items() if value}
    return {**options, "preconditions": preconditions} if preconditions else options


def collection(kind: Kind, namespace: str) -> str:
    """The path of all objects of a kind, in one namespace or in all."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    place = f"/namespaces/{quote(namespace, safe='')}" if kind.namespaced and namespace else ""
    return f"{root}{place}/{kind.plural}"


def member(kind: Kind, ref: ObjectRef, sub: str = "") -> str:
    """
    The path of one object; names are escaped, so that none can point elsewhere.

    Points need no escape, and a client takes `..` for the collection above: no object has such a name.
    """
    if {ref.name, ref.namespace} & {".", ".."}:
        raise Rejected(f"{ref}: no object has such a name")
    if not ref.name or (kind.namespaced and not ref.namespace):
        # without a name the path is the collection's, and DELETE on that deletes everything
        raise Rejected(f"{ref}: a name and, where the kind has one, a namespace are needed")
    return f"{collection(kind, ref.namespace)}/{quote(ref.name, safe='')}" + (f"/{sub}" if sub else "")


def selectors(*, labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def write_params(dry_run: bool) -> dict[str, str]:
    params = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
    return {**params, "dryRun": "All"} if dry_run else params


def typed(kind: Kind, obj: Object) -> Object:
    """The object with the kind that list items lack."""
    return {"apiVersion": kind.api_version, "kind": kind.kind, **obj, "metadata": dig_object(obj, "metadata")}
