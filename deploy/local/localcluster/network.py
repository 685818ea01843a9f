"""
A bridge of the cluster's own, and the addresses on it.

Real pods are on it, and so are the servers whose address must not be loopback: the API server sends
aggregated calls to no loopback address. Only root can make one.
"""

import os
import shutil
import sys
from dataclasses import dataclass

from localcluster.errors import CommandFailed, NotAvailable
from localcluster.processes import run
from localcluster.state import Facts, State

NETWORKS = 32  # eight /24 each: the bridge's own, and one for each of up to seven real nodes


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of the network with this number; the number is all that has to be remembered."""

    number: int

    @property
    def bridge(self) -> str:
        """The interface's name."""
        return f"rmd{self.number}"

    @property
    def address(self) -> str:
        """This machine's own address on the bridge."""
        return f"10.89.{self.number * 8}.1"

    @property
    def subnet(self) -> str:
        """Everything on the bridge."""
        return f"10.89.{self.number * 8}.0/21"

    @property
    def simulated_pods(self) -> str:
        """Addresses that simulated pods claim to have; nothing is ever sent there."""
        return f"10.90.{self.number * 8}.0/21"

    def pods(self, node: int) -> tuple[str, str]:
        """The first and the last address of the pods of the real node with this number, from 1."""
        third = self.number * 8 + node
        return f"10.89.{third}.2", f"10.89.{third}.254"


def can_be_made() -> bool:
    """True where this user may make a bridge."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None


def make(state: State, facts: Facts) -> Network:
    """
    A bridge that no other cluster of this machine has is up, and its number is written down.

    Raises:
        NotAvailable: where this user may not make one, or none is free.
    """
    if not can_be_made():
        raise NotAvailable("a network bridge can be made by root on Linux only, with the program `ip`")
    for number in range(NETWORKS):
        network = Network(number)
        try:
            # Whoever's command succeeds has the number: the kernel gives a name once.
            run(["ip", "link", "add", network.bridge, "type", "bridge"])
        except CommandFailed as refused:
            if "exists" in refused.stderr:
                continue
            raise NotAvailable(f"a network bridge cannot be made here: {refused.stderr.strip()}") from refused
        facts.network = number
        state.write(facts)
        run(["ip", "link", "set", network.bridge, "alias", str(state.folder)[:255]])
        run(["ip", "address", "add", f"{network.address}/21", "dev", network.bridge])
        run(["ip", "link", "set", network.bridge, "up"])
        return network
    raise NotAvailable(f"all {NETWORKS} networks for local clusters are taken; `ip link` shows them as rmd0, rmd1, …")


def remove(number: int) -> None:
    """The bridge is gone."""
    try:
        run(["ip", "link", "delete", Network(number).bridge])
    except CommandFailed as refused:
        if "Cannot find device" not in refused.stderr:
            raise
