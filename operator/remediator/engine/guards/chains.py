"""The chains of guards, in the order in which their objections are named."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from remediator.domain.verdicts import Allow, Deny, Verdict, Wait
from remediator.engine.guards.authority import (
    account_is_named,
    account_may,
    fence_allows,
    is_not_suspended,
    mode_permits,
    namespace_is_there,
    no_freeze,
    policy_is_ready,
)
from remediator.engine.guards.consent import is_approved
from remediator.engine.guards.freshness import (
    alert_still_fires,
    change_still_fits,
    grace_is_over,
    target_is_as_diagnosed,
    target_is_the_same,
)
from remediator.engine.guards.harm import (
    disruption_budget_allows,
    little_is_out_of_service,
    no_rollout_is_in_progress,
    not_managed_elsewhere,
)
from remediator.engine.guards.inhibition import nothing_inhibits
from remediator.engine.guards.limits import (
    budget_is_left,
    few_targets_at_once,
    has_helped_before,
    has_not_failed_again,
    is_not_our_own_doing,
    nobody_else_is_at_it,
    policy_is_not_busy,
    target_has_rested,
    target_is_free,
)
from remediator.engine.guards.nodes import enough_nodes_serve
from remediator.engine.guards.question import Guard, RunGuard
from remediator.engine.guards.room import quota_leaves_room
from remediator.engine.guards.stopping import is_not_stopped
from remediator.engine.guards.storms import no_storm

Q = TypeVar("Q")

BEFORE_RUN: Final[tuple[RunGuard, ...]] = (
    namespace_is_there,  # it took everything along
    is_not_stopped,  # the switch holds everything
    is_not_suspended,  # the platform holds everything there
    no_storm,
    nothing_inhibits,
    nobody_else_is_at_it,  # else its doing would be diagnosed
)
"""
Before a round looks at anything: a run that is held by it costs no call of the API server.

Of an inhibition the source of alerts is asked, and the diagnostics that its condition names are read.
"""

BEFORE_CHANGE: Final[tuple[Guard, ...]] = (
    is_not_stopped,
    policy_is_ready,  # nobody acts for a policy that is gone
    account_is_named,  # the operator itself changes nothing
    mode_permits,  # what people asked for
    fence_allows,  # what the platform allows
    account_may,  # what the API server would refuse anyway, said in full
    is_not_suspended,
    no_freeze,
    no_storm,
    target_is_the_same,  # the object, not its name
    target_is_as_diagnosed,  # the state that the decision was made on
    change_still_fits,  # the very values that are replaced
    not_managed_elsewhere,  # nobody would put it back
    quota_leaves_room,  # what is made bigger fits
    little_is_out_of_service,  # enough goes on serving
    enough_nodes_serve,
    alert_still_fires,  # nothing on old news
    nothing_inhibits,  # no cure of a mere symptom
    has_helped_before,
    grace_is_over,
    is_not_our_own_doing,
    target_is_free,
    target_has_rested,
    has_not_failed_again,
    budget_is_left,
    policy_is_not_busy,
    few_targets_at_once,
    no_rollout_is_in_progress,
    disruption_budget_allows,  # what its owner says must go on serving
    is_approved,  # people are asked last: about what could be done at once
)

BEFORE_UNDO: Final[tuple[Guard, ...]] = (
    is_not_stopped,
    account_is_named,
    fence_allows,
    is_not_suspended,
    target_is_the_same,
    change_still_fits,
)
"""Budgets, freezes, cooldowns and the alert do not hold back what takes a change back."""


def first_objection(chain: Sequence[Callable[[Q], Verdict]], question: Q) -> Verdict:
    """The verdict of the whole chain: a denial before a wait, the earliest among equals."""
    verdicts = [guard(question) for guard in chain]
    for kind in (Deny, Wait):
        for verdict in verdicts:
            if isinstance(verdict, kind):
                return verdict
    return Allow()
