"""What many seeds came to: one line for each fault."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chaos.schedule import Fault


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """
    Of each fault: how often it happened, how many runs were in flight then, and in how many seeds with it
    a promise was broken.

    A fault that happened while nothing was in flight has proven nothing, and is counted apart.
    """
    played = [one for one in results if "hits" in one]
    rows = [("fault", "times", "with runs in flight", "runs in flight", "seeds with a broken promise")]
    for fault in Fault:
        hits = [hit["in_flight"] for one in played for hit in one["hits"] if hit["fault"] == fault.name]
        broken = sum(bool(one["findings"]) for one in played if _has(one, fault))
        rows.append((str(fault), str(len(hits)), str(sum(n > 0 for n in hits)), str(sum(hits)), str(broken)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", _sum(played, results)])


def _sum(played: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> str:
    findings = [finding for one in played for finding in one["findings"]]
    said = (
        f"{len(played)} seeds: {_total(played, 'alerts')} alerts sent, {_total(played, 'accepted')} accepted, "
        f"{_total(played, 'runs')} runs, {_total(played, 'changes')} changes; broken promises: {len(findings)}"
    )
    broken = len(results) - len(played)
    return said + (f"; {broken} seeds broke their cluster" if broken else "")


def _total(results: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(one[name] for one in results)


def _has(result: Mapping[str, Any], fault: Fault) -> bool:
    return any(hit["fault"] == fault.name for hit in result["hits"])
