"""
A run from the object as it was read.

The operator refuses what it does not know, because it goes on from it; a person who only looks is
better served by the rest. So fields of another version are left out here, and their number is said.
"""

import copy
from typing import Any

from pydantic import ValidationError

from remediator.domain.errors import RemediatorError
from remediator.domain.json import Object, dig_text
from remediator.domain.runs import Run, RunbookRunSpec


class NotOurs(RemediatorError):
    """The object is none of this version."""


def parsed(obj: Object) -> tuple[Run, int]:
    """
    The run, and how many of its fields were left out.

    Raises NotOurs where it holds values that this version does not know.
    """
    kept: Any = copy.deepcopy(obj)
    left_out = 0
    while True:
        try:
            return Run.parse(kept), left_out
        except ValidationError as wrong:
            unknown = [one["loc"] for one in wrong.errors() if one["type"] == "extra_forbidden"]
            if not unknown:
                first = wrong.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise _not_ours(obj, f"{where}: {first['msg']}") from wrong
            root = kept["spec" if wrong.title == RunbookRunSpec.__name__ else "status"]
            for place in unknown:
                holder = root
                for part in place[:-1]:
                    holder = holder[part]
                del holder[place[-1]]
                left_out += 1
        except (ValueError, KeyError, TypeError) as wrong:
            raise _not_ours(obj, str(wrong)) from wrong


def remark(left_out: int) -> str:
    """What is said beside a story that is not whole; empty where it is."""
    fields = "one field" if left_out == 1 else f"{left_out} fields"
    return f"{fields} of another version cannot be told: `-o yaml` shows what is stored" if left_out else ""


def _not_ours(obj: Object, why: str) -> NotOurs:
    name = f"{dig_text(obj, 'metadata', 'namespace')}/{dig_text(obj, 'metadata', 'name')}"
    first = why.partition("\n")[0]
    return NotOurs(f"run {name} holds what this version does not know ({first}): `-o yaml` shows it as it is stored")
