"""
From what people wrote to what may be carried out.

`accept_runbook`, `accept_policy` and `accept_guardrail` either return a definition with every
expression compiled, or say all that is wrong with it and what to write instead.
"""

from remediator.engine.acceptance.accepted import (
    AcceptedPolicy,
    AcceptedRunbook,
    Actions,
    ActionUse,
    CompiledCheck,
    CompiledInhibition,
    CompiledRemedy,
    CompiledStep,
    CompiledTarget,
)
from remediator.engine.acceptance.confinement import confinement_problems
from remediator.engine.acceptance.guardrails import accept_guardrail
from remediator.engine.acceptance.policies import accept_policy
from remediator.engine.acceptance.runbooks import accept_runbook
from remediator.engine.acceptance.sharing import is_shared

__all__ = [
    "AcceptedPolicy",
    "AcceptedRunbook",
    "ActionUse",
    "Actions",
    "CompiledCheck",
    "CompiledInhibition",
    "CompiledRemedy",
    "CompiledStep",
    "CompiledTarget",
    "accept_guardrail",
    "accept_policy",
    "accept_runbook",
    "confinement_problems",
    "is_shared",
]
