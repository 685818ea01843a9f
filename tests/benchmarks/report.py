"""The result as a table for people."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.cases import Found, number

ROWS = (
    ("webhook to change, median", "medianSeconds", "ms"),
    ("webhook to change, p99", "p99Seconds", "ms"),
    ("webhook to answer, median", "answeredMedianSeconds", "ms"),
    ("runs", "runs", ""),
    ("writes to make them", "writesToMakeThem", ""),
    ("reads to make them", "readsToMakeThem", ""),
    ("from the start until it takes alerts", "readySeconds", "ms"),
    ("from the start until it knows all runs", "knownSeconds", "ms"),
    ("CPU of the operator for the start", "startCpuSeconds.operator", "ms"),
    ("the longest stall at the start, in ms", "longestStallAtTheStartMs", ""),
    ("share of a core when idle", "idleShareOfACore", "%"),
    ("actions", "actions", ""),
    ("memory at the end by that in the middle", "growth", ""),
    ("changes a second", "perSecond", ""),
    ("answers to send again after", "refused", ""),
    ("reads until the change", "callsToChange.reads", ""),
    ("writes until the change", "callsToChange.writes", ""),
    ("reads until the end", "callsToEnd.reads", ""),
    ("writes until the end", "callsToEnd.writes", ""),
    ("Events until the end", "callsToEnd.events", ""),
    ("writes beside, of locks and counts", "callsToEnd.beside", ""),
    ("CPU of the operator until the change", "cpuSeconds.operator", "ms"),
    ("CPU of the API server until the change", "cpuSeconds.kube-apiserver", "ms"),
    ("CPU of etcd until the change", "cpuSeconds.etcd", "ms"),
    ("CPU of the operator until the end", "cpuSecondsToEnd.operator", "ms"),
    ("resident before", "megabytes.before", "MB"),
    ("resident at most", "megabytes.most", "MB"),
    ("resident after", "megabytes.after", "MB"),
    ("stalls above 50 ms", "stalls.late", ""),
    ("of them by the operator's own work", "stalls.ownLate", ""),
    ("the longest since the process began, in ms", "stalls.longestMs", ""),
)
WIDTH = 42


def table(result: Found) -> str:
    """One case, a line for each number; the floor beside the operator where there is one."""
    return "\n".join([f"{result['case']}: {result['about']}", *_rows(result), *_targets(result["targets"]), ""])


def _rows(result: Found) -> Iterator[str]:
    floor = result.get("floor", {})
    yield f"  {'':{WIDTH}}{'floor':>12}{'operator':>12}{'ratio':>9}"
    for label, way, unit in ROWS:
        if not _is_there(result.get("operator", {}), way):
            continue
        ours, theirs = number(result["operator"], way), number(floor, way)
        known = _is_there(floor, way) and way.partition(".")[0] in (
            "medianSeconds",
            "p99Seconds",
            "perSecond",
            "cpuSeconds",
        )
        ratio = f"{ours / theirs:9.2f}" if known and theirs else ""
        yield f"  {label:{WIDTH}}{_shown(theirs, unit) if _is_there(floor, way) else '':>12}{_shown(ours, unit):>12}{ratio}"


def _targets(targets: Sequence[Found]) -> Iterator[str]:
    for one in targets:
        yield f"  {'met   ' if one['met'] else 'MISSED'}  {one['target']}: {one['found']:g} (wanted: {one['wanted']})"


def _is_there(found: Any, way: str) -> bool:
    for part in way.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


def _shown(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    if unit == "ms":
        return f"{value * 1e3:.1f} ms"
    if unit == "%":
        return f"{value * 100:.1f} %"
    return f"{value:.2f}".rstrip("0").rstrip(".") + (f" {unit}" if unit else "")
