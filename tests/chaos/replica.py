"""
One process of the operator, behind a proxy of its own, with a clock and a token that can be changed.

Every start has a token of its own, so that the audit log tells the processes apart.
"""

import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import yaml

from cluster.faults.proxy import Proxy
from localcluster import Cluster, StartFailed
from localcluster.api import ApiError
from localcluster.operator import ACCOUNT, NAMESPACE, Operator
from localcluster.processes import moments

FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
SECRETS: Final = f"/api/v1/namespaces/{NAMESPACE}/secrets"
START_SECONDS: Final = 60.0


class Replica:
    """A process that is started again after whatever was done to it."""

    def __init__(self, cluster: Cluster, number: int, environment: Mapping[str, str]) -> None:
        self.name = f"replica-{number}"
        self.proxy = Proxy(cluster)
        self._cluster = cluster
        self._clock = cluster.folder / f"{self.name}.clock"
        self._environment = {**environment, "REMEDIATOR_REPLICA": self.name, **self._faked_clock()}
        self._busy = threading.RLock()
        self._secret = ""
        self._has_begun = False
        self.ended_by_itself = 0
        """How often it had to be started again without anybody having ended it."""

    def begin(self) -> None:
        """It takes alerts."""
        self.proxy.__enter__()
        self.set_clock("+0")
        self.operator = _Tokened(self._cluster, self.name, self.proxy.url, self._environment, self._new_token)
        self._has_begun = True
        self._start()

    def close(self) -> None:
        if not self._has_begun:
            return
        with self._busy:
            self.thaw()
            self.operator.stop()
        self.proxy.__exit__()

    @property
    def has_a_clock_of_its_own(self) -> bool:
        return FAKETIME.exists()

    def kill(self) -> None:
        """Gone, wherever it was, and started again."""
        with self._busy:
            self.operator.kill()
            self._start()

    def kill_twice(self, after_seconds: float) -> None:
        """Gone, and gone again while it starts."""
        with self._busy:
            self.operator.kill()
            with suppress(StartFailed, OSError):  # it is not given the time
                self.operator.start(ready_within_seconds=after_seconds)
            self.operator.kill()
            self._start()

    def restart(self) -> None:
        """Asked to end, ended, and started again."""
        with self._busy:
            self.operator.stop()
            self._start()

    def freeze(self) -> None:
        """Stopped in the middle of whatever it did."""
        with self._busy:
            self.operator.freeze()

    def thaw(self) -> None:
        with suppress(ProcessLookupError):
            self.operator.thaw()

    def keep_alive(self) -> None:
        """As the kubelet does: a process that has ended by itself is started again."""
        if not self._busy.acquire(blocking=False):
            return  # somebody is at it
        try:
            process = self.operator.process
            if process is not None and process.poll() is not None:
                self.ended_by_itself += 1
                self._start()
        finally:
            self._busy.release()

    def set_clock(self, offset: str) -> None:
        """What it takes for the time is off by this much, from now on; how long something takes is not."""
        self._clock.write_text(offset)

    def rotate_token(self) -> None:
        """Its kubeconfig holds another token, and the old one is good no more."""
        with self._busy:
            old_secret, old_token = self._secret, self._token
            self.operator.write_kubeconfig()
            self.proxy.revoked.add(old_token)
            self._cluster.api.call("DELETE", f"{SECRETS}/{old_secret}")

    def _start(self) -> None:
        failure: Exception | None = None
        for _ in moments(START_SECONDS, 0.3):
            try:
                self.operator.start()
            except (StartFailed, ApiError, OSError) as error:  # the API server may be away just now
                failure = error
                self.operator.kill()
                continue
            return
        raise StartFailed(f"{self.name} does not start: {failure}")

    def _new_token(self) -> str:
        """A token that ends with a Secret of its own."""
        name = f"token-{self.name}-{secrets.token_hex(4)}"
        secret = self._cluster.api.call(
            "POST", SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        )
        bound = {"apiVersion": "v1", "kind": "Secret", "name": name, "uid": secret["metadata"]["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 24 * 3600, "boundObjectRef": bound},
        }
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
        self._secret = name
        self._token: str = self._cluster.api.call("POST", path, request)["status"]["token"]
        return self._token

    def _faked_clock(self) -> dict[str, str]:
        if not self.has_a_clock_of_its_own:
            return {}
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


class _Tokened(Operator):
    """An operator whose tokens somebody else makes."""

    def __init__(self, cluster: Cluster, name: str, server: str, environment: Mapping[str, str], token: object) -> None:
        super().__init__(cluster, name=name, server=server, environment=environment)
        self._new_token = token

    def write_kubeconfig(self) -> Path:
        """The file that the process reads holds a new token; it never holds half of it."""
        assert callable(self._new_token)
        path = self.cluster.state.kubeconfigs / f"token-{self.name}.yaml"
        draft = self.cluster.kubeconfig_for_token(f"{self.name}-new", self._new_token())
        config = yaml.safe_load(draft.read_text())
        config["clusters"][0]["cluster"]["server"] = self._server
        draft.write_text(yaml.safe_dump(config))
        return draft.replace(path)

    def _kubeconfig(self) -> Path:
        return self.write_kubeconfig()
