"""
etcd as the API server uses it: its history, which nobody can leave a write out of, and its alarm for a full disk.

It is asked through its JSON gateway. Built-in kinds lie there in protobuf, of which the metadata and a
container's variables are read; kinds of ours lie there as JSON.
"""

import base64
import json
import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any

from chaos.evidence import Object, Revision
from localcluster import Cluster

PROTOBUF = b"k8s\x00"
ROOT = "/registry/"
MARKER = "/registry/end-of-a-seed"
"""Below none of the API server's resources."""

PREFIXES = {
    "deployments": "/registry/deployments/",
    "runbookruns": "/registry/remediator.dev/runbookruns/",
    "configmaps": "/registry/configmaps/remediator-system/leader-epoch",
}


class Etcd:
    """The etcd of a local cluster."""

    def __init__(self, cluster: Cluster) -> None:
        certificates = cluster.state.certificates
        tls = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
        tls.load_cert_chain(certificates / "etcd.crt", certificates / "etcd.key")
        self._base = f"https://127.0.0.1:{cluster.facts.ports['etcd']}"
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )

    def revision(self) -> int:
        """The newest of all revisions."""
        found = self._call("/v3/kv/range", {"key": _encoded("/registry/health")})
        return int(found["header"]["revision"])

    def history(self, since: int) -> list[Revision]:
        """
        Every state that Deployments, runs and the epoch had after that revision, in the order of their writes.

        Raises:
            LookupError: where etcd has forgotten what was so long ago; it remembers some minutes.
        """
        return list(self._history(since))

    def refuse_writes(self) -> None:
        """As when its quota is used up: nothing can be written until the alarm is lifted."""
        self._alarm("ACTIVATE")

    def take_writes(self) -> None:
        """The alarm is lifted."""
        self._alarm("DEACTIVATE")

    def _alarm(self, action: str) -> None:
        member = self._call("/v3/maintenance/status", {})["header"]["member_id"]
        self._call("/v3/maintenance/alarm", {"action": action, "memberID": member, "alarm": "NOSPACE"})

    def _history(self, since: int) -> Iterator[Revision]:
        # A watch says nothing while nothing is written, so its end has to be a write.
        written = self._call("/v3/kv/put", {"key": _encoded(MARKER), "value": ""})
        until = int(written["header"]["revision"])
        every = {"key": _encoded(ROOT), "range_end": _encoded(ROOT[:-1] + chr(ord(ROOT[-1]) + 1))}
        body = json.dumps({"create_request": {**every, "start_revision": str(since + 1)}})
        request = urllib.request.Request(f"{self._base}/v3/watch", data=body.encode())
        with self._opener.open(request, timeout=10) as answers:
            for line in answers:
                told = json.loads(line)["result"]
                if told.get("canceled"):
                    raise LookupError(f"etcd has forgotten revision {since}: {told.get('cancel_reason', 'compacted')}")
                for event in told.get("events", []):
                    if int(event["kv"]["mod_revision"]) >= until:
                        return
                    if found := _revision(event):
                        yield found

    def _call(self, path: str, body: Object) -> Any:
        request = urllib.request.Request(self._base + path, data=json.dumps(body).encode())
        with self._opener.open(request, timeout=5) as answer:
            return json.loads(answer.read())


def _revision(event: Object) -> Revision | None:
    entry = event["kv"]
    key = base64.b64decode(entry["key"]).decode()
    resource = next((resource for resource, prefix in PREFIXES.items() if key.startswith(prefix)), "")
    if event.get("type") == "DELETE" or not resource:
        return None
    *_, namespace, name = key.split("/")
    return Revision(int(entry["mod_revision"]), resource, namespace, name, decoded(base64.b64decode(entry["value"])))


def decoded(stored: bytes) -> Object:
    """
    The object that etcd holds, as far as it is looked at: its metadata and, as `spec`, the rest.

    Of a protobuf the spec is its bytes: two of them are compared, and nothing more.
    """
    if not stored.startswith(PROTOBUF):
        found: Object = json.loads(stored)
        return found
    unknown = dict(_fields(stored[len(PROTOBUF) :]))
    obj = dict(_fields(unknown[2]))
    metadata: dict[int, bytes] = {}
    annotations: dict[str, str] = {}
    for number, value in _fields(obj[1]):
        if number == 12:
            entry = dict(_fields(value))
            annotations[entry[1].decode()] = entry.get(2, b"").decode()
        else:
            metadata[number] = value
    return {
        "metadata": {
            "name": metadata[1].decode(),
            "namespace": metadata.get(3, b"").decode(),
            "uid": metadata.get(5, b"").decode(),
            "annotations": annotations,
        },
        "spec": base64.b64encode(obj.get(2, b"")).decode(),
    }


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that have a length; numbers are passed over."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        match key & 7:
            case 0:
                _, at = _number(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _number(message, at)
                yield key >> 3, message[at : at + length]
                at += length
            case 5:
                at += 4
            case other:
                raise ValueError(f"wire type {other} is not protobuf's")


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _encoded(key: str) -> str:
    return base64.b64encode(key.encode()).decode()
