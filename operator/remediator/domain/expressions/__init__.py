"""
Conditions, variables and templates: CEL with three values.

`Checker` compiles what a Runbook or policy holds when it is accepted, against the declared outputs
of the actions it uses; what it returns is evaluated over `Values` in microseconds. Nothing here
raises at evaluation: an expression that has no value says what is missing.
"""

from remediator.domain.expressions.checker import Checker, Scope
from remediator.domain.expressions.expression import Expression, Result
from remediator.domain.expressions.places import ALLOWED, RESERVED, Place, is_name
from remediator.domain.expressions.shapes import MAX_ITEMS, NoneIsUnknown, Uncut
from remediator.domain.expressions.sources import MAX_TEXT_BYTES
from remediator.domain.expressions.templates import Rendering, Template
from remediator.domain.expressions.values import UNKNOWN, Known, Missing, Seen, Truth, Unknown, Values

__all__ = [
    "ALLOWED",
    "MAX_ITEMS",
    "MAX_TEXT_BYTES",
    "RESERVED",
    "UNKNOWN",
    "Checker",
    "Expression",
    "Known",
    "Missing",
    "NoneIsUnknown",
    "Place",
    "Rendering",
    "Result",
    "Scope",
    "Seen",
    "Template",
    "Truth",
    "Uncut",
    "Unknown",
    "Values",
    "is_name",
]
