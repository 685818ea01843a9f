"""
Which names may stand where.

A plan is rendered once and approved as rendered, so nothing in it may follow the clock, a second
reading or the result of a step; a remedy is chosen on the frozen diagnosis alone. The table says so
for every place an expression can stand in.
"""

import enum
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NAME: Final = re.compile(r"[a-z][a-zA-Z0-9]{0,39}")

# the words that CEL has and keeps, then its macros: `diagnosis.map` reads as a field, `diagnosis.map(…)` does not
RESERVED: Final = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
    | {"has", "all", "exists", "existsOne", "filter", "map", "optMap", "optFlatMap"}
    | {"transformList", "transformMap", "transformMapEntry", "cel", "math", "optional"}
)
"""Names that a parameter, diagnostic, step or variable may not have."""


def is_name(text: str) -> bool:
    """Whether the text may name a parameter, a diagnostic, a step or a variable."""
    return NAME.fullmatch(text) is not None and text not in RESERVED


class Place(enum.StrEnum):
    """Where an expression stands; the value is how messages call it."""

    POLICY_WHEN = "a policy's when"
    POLICY_TARGET = "a policy's target"
    DIAGNOSE = "a diagnostic"
    VARIABLE = "a variable"
    REMEDY_WHEN = "a remedy's when"
    STEP_WHEN = "a step's when"
    PLAN = "the plan (a target, forEach or parameter of a change)"
    WAIT_UNTIL = "wait.until"
    VERIFY = "verify"
    MESSAGE = "a message"
    ESCALATION_WHEN = "an escalation's when"
    INHIBITED_WHEN = "inhibitedBy[].when"


_ALERT: Final = frozenset({"alert", "alerts", "params"})
_EVERYWHERE: Final = _ALERT | {"target", "namespaceObject"}
_DECIDED: Final = _EVERYWHERE | {"diagnosis", "variables"}
_MOMENT: Final = frozenset({"run", "now"})

ROOTS: Final = _DECIDED | _MOMENT | {"latest", "steps", "item", "inhibitor"}

ALLOWED: Final[Mapping[Place, frozenset[str]]] = MappingProxyType(
    {
        # a policy's target cannot be found by naming the target
        Place.POLICY_TARGET: _ALERT | {"now"},
        Place.POLICY_WHEN: _EVERYWHERE | {"now"},
        Place.DIAGNOSE: _DECIDED | _MOMENT | {"item"},
        # a variable may hold anything; what it uses is looked at where it is used
        Place.VARIABLE: ROOTS - {"item", "inhibitor"},
        Place.REMEDY_WHEN: _DECIDED | _MOMENT,
        Place.STEP_WHEN: _DECIDED | _MOMENT | {"latest", "steps", "item"},
        Place.PLAN: _DECIDED | {"item"},
        Place.WAIT_UNTIL: _DECIDED | {"latest", "item"},
        Place.VERIFY: _DECIDED | {"latest"},
        Place.MESSAGE: _DECIDED | _MOMENT | {"steps", "item"},
        Place.ESCALATION_WHEN: _DECIDED | _MOMENT | {"latest"},
        Place.INHIBITED_WHEN: _EVERYWHERE | _MOMENT | {"latest", "variables", "inhibitor"},
    }
)
