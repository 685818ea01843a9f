"""What is made of the text of logs: lines, counts, values, and the part worth keeping."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from remediator.actions.patterns import compiled
from remediator.domain.bounded import shorten
from remediator.ports import LogText

_EVIDENCE_CHARACTERS: Final = 65_536
_VALUE_BYTES: Final = 256
_MAX_VALUES: Final = 100


@dataclass
class LogsRead:
    """What has been read so far; `complete` while every zero is certain."""

    lines: list[str] = field(default_factory=list)
    excerpts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pods: set[str] = field(default_factory=set)
    complete: bool = True

    def take(self, log: LogText, pod: str, container: str) -> None:
        """Another log; one that was cut leaves zeros uncertain."""
        self.pods.add(pod)
        self.lines.extend(log.text.splitlines())
        self.excerpts.append((f"==> {pod}/{container} <==", log.text))
        if log.truncated:
            self.complete = False
            self.notes.append(f"{pod}/{container}: the log was cut by limitBytes")

    def evidence(self) -> str:
        """The end of every log, an equal share of the room each."""
        share = _EVIDENCE_CHARACTERS // max(1, len(self.excerpts))
        ends = ((title, text if len(text) <= share else f"…{text[-share:]}") for title, text in self.excerpts)
        return "\n".join(f"{title}\n{text}" for title, text in ends)


def matching_lines(pattern: str, lines: Sequence[str]) -> int:
    matcher = compiled(pattern)
    return sum(1 for line in lines if matcher.search(line))


def different_values(pattern: str, lines: Sequence[str]) -> list[str]:
    """What the pattern's one group caught, most frequent first."""
    matcher = compiled(pattern)
    found = Counter(shorten(match[1] or "", _VALUE_BYTES) for line in lines if (match := matcher.search(line)))
    return [value for value, _ in found.most_common(_MAX_VALUES)]
