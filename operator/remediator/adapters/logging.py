"""
Log lines: one JSON object each, or one line for people, with secrets taken out.

The sentence is fixed and the facts are keys, given as `extra={"run": name}`.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

from remediator.domain.bounded import shorten
from remediator.domain.redaction import redact

MAX_VALUE_BYTES: Final = 4_000
STANDARD: Final = frozenset(
    (*vars(logging.LogRecord("", 0, "", 0, "", None, None)), "message", "asctime", "taskName", "k8s_skip", "k8s_ref")
)
"""What every record has; the rest are the facts. kopf adds `k8s_skip` and `k8s_ref` for itself."""

QUIET: Final = {
    "apprise": logging.CRITICAL,  # its messages name the URLs of receivers, which are secrets
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    "urllib3": logging.WARNING,
    "kubernetes": logging.WARNING,
    "kopf": logging.WARNING,  # a line for every event of a definition, with all of its settings
}


class JsonFormatter(logging.Formatter):
    """One JSON object per record: `time`, `level`, `logger`, `message`, the facts, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(record.getMessage()),
        }
        for key, value in facts_of(record).items():
            line.setdefault(key, value)
        if record.exc_info:
            line["error"] = clean(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class HumanFormatter(logging.Formatter):
    """`12:00:00 INFO step held  run=shop/x reason=CoolingDown`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        facts = " ".join(f"{key}={value}" for key, value in facts_of(record).items())
        line = f"{at} {record.levelname:<7} {clean(record.getMessage())}" + (f"  {facts}" if facts else "")
        if record.exc_info:
            line += "\n" + clean(self.formatException(record.exc_info))
        return line


def configure(level: str = "INFO", *, human: bool = False, stream: TextIO | None = None) -> None:
    """Every logger of the process writes to standard error in this form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(HumanFormatter() if human else JsonFormatter())
    root = logging.getLogger()
    for before in list(root.handlers):
        root.removeHandler(before)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(least)


def facts_of(record: logging.LogRecord) -> dict[str, object]:
    """The keys that the caller gave, cleaned; numbers and truth values stay what they are."""
    return {
        key: value if isinstance(value, bool | int | float) or value is None else clean(str(value))
        for key, value in vars(record).items()
        if key not in STANDARD
    }


def clean(text: str) -> str:
    """Without secrets, and no longer than a line should be."""
    return shorten(redact(text), MAX_VALUE_BYTES)
