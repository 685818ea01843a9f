"""
The checks that a run must pass before it looks, and a change immediately before it is made.

A guard is a pure function of the step and the facts. It reads no clock, opens no connection and
writes no log, so that a table of inputs is a complete test of it. A guard that cannot know does
not allow.

The chain asks every guard: a denial outweighs a wait, and among equals the earliest is what a
person reads, so cheap and certain guards come first.
"""

from remediator.engine.guards.chains import BEFORE_CHANGE, BEFORE_RUN, BEFORE_UNDO, first_objection
from remediator.engine.guards.freshness import all_resolved, is_recorded, still_fires
from remediator.engine.guards.question import RETRY_UNKNOWN, Guard, Question, RunGuard, RunQuestion

__all__ = [
    "BEFORE_CHANGE",
    "BEFORE_RUN",
    "BEFORE_UNDO",
    "RETRY_UNKNOWN",
    "Guard",
    "Question",
    "RunGuard",
    "RunQuestion",
    "all_resolved",
    "first_objection",
    "is_recorded",
    "still_fires",
]
