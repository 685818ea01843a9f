"""What `make cluster-up`, `cluster-down` and `cluster-status` call."""

import argparse
import sys
from collections.abc import Sequence

from localcluster.api import Api
from localcluster.build import PROGRAMS, built
from localcluster.cluster import Cluster, answers, servers_of, take_down
from localcluster.errors import LocalClusterError
from localcluster.state import State, names

BUILT_BY_DEFAULT = [name for name in PROGRAMS if name not in ("prometheus", "alertmanager")]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 when what was asked for holds, 1 with one sentence when it does not."""
    asked = parser().parse_args(arguments)
    try:
        return int(asked.does(asked))
    except LocalClusterError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing of the cluster is left", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(prog="localcluster", description=__doc__)
    commands = whole.add_subparsers(required=True, metavar="command")

    up = commands.add_parser("up", help="start a cluster, or say that it runs already")
    up.add_argument("--real", type=int, default=0, metavar="N", help="nodes with containers (root on Linux)")
    up.add_argument("--simulated", type=int, default=1, metavar="N", help="nodes without (default: 1)")
    up.add_argument("--metrics", action="store_true", help="metrics-server, for `kubectl top` and autoscalers")
    up.set_defaults(does=start)

    down = commands.add_parser("down", help="stop a cluster and remove all it has left on this machine")
    down.add_argument("--all", action="store_true", help="every cluster of this repository")
    down.set_defaults(does=end)

    status = commands.add_parser("status", help="show clusters, their servers and their nodes")
    status.set_defaults(does=show)

    kubeconfig = commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    kubeconfig.set_defaults(does=print_kubeconfig)

    build = commands.add_parser("build", help="build the cluster's programs, so that the first `up` is quick")
    build.add_argument("programs", nargs="*", metavar="program", help=f"of: {', '.join(PROGRAMS)}")
    build.set_defaults(does=build_programs)

    for command in (up, down, status, kubeconfig):
        command.add_argument("--name", default=None if command is status else "local", help="default: local")
    return whole


def start(asked: argparse.Namespace) -> int:
    """The cluster runs, and the terminal says how to use it."""
    cluster = Cluster.up(
        asked.name, real=asked.real, simulated=asked.simulated, metrics=asked.metrics, progress=say, keep=True
    )
    say(f"export KUBECONFIG={cluster.admin_kubeconfig}")
    say(f"kubectl is {cluster.kubectl}")
    return 0


def end(asked: argparse.Namespace) -> int:
    """The cluster is gone."""
    for name in names() if asked.all else [asked.name]:
        state = State(name)
        with state.held():
            there = state.facts() is not None
            take_down(state)
        say(f"cluster {name} is gone" if there else f"there is no cluster {name}")
    return 0


def show(asked: argparse.Namespace) -> int:
    """The clusters are printed; the exit code is 1 when one of them does not answer."""
    found = [asked.name] if asked.name else names()
    if not found:
        say("no cluster")
    code = 0
    for name in found:
        state = State(name)
        facts = state.facts()
        if facts is None:
            say(f"there is no cluster {name}")
            code = 1
            continue
        healthy = facts.complete and answers(state)
        code = code if healthy else 1
        say(f"cluster {name} ({facts.source}): {facts.server} {'answers' if healthy else 'does not answer'}")
        for label, pid, runs in servers_of(state):
            say(f"  {label:<24} {pid:>8}  {'runs' if runs else 'ended'}")
        if healthy:
            for node in Api(state.kubeconfigs / "admin.yaml").items("/api/v1/nodes"):
                say(f"  node {node['metadata']['name']:<19} {node['status']['nodeInfo']['kubeletVersion']:>8}")
    return code


def print_kubeconfig(asked: argparse.Namespace) -> int:
    """The path is printed, for `export KUBECONFIG=$(…)`."""
    print(Cluster.attach(asked.name).admin_kubeconfig)
    return 0


def build_programs(asked: argparse.Namespace) -> int:
    """The programs are built and their paths printed."""
    unknown = sorted(set(asked.programs) - set(PROGRAMS))
    if unknown:
        raise LocalClusterError(f"no program is called {', '.join(unknown)}; there are: {', '.join(PROGRAMS)}")
    for path in built(asked.programs or BUILT_BY_DEFAULT, say).values():
        print(path)
    return 0


def say(line: str) -> None:
    """One line of progress, on standard error so that output can be captured."""
    print(line, file=sys.stderr, flush=True)
