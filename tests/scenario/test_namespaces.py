"""One remedy, several namespaces: what may be done to a certificate's workload in `dev` is not done in `prod`."""

from typing import Any

import pytest

from flows import FIRING, carried_out, changes, env, world
from known import Given
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.runs import Run

STAGING_ISSUER = """
targets: [Deployment]
remedies:
- name: stagingIssuer
  steps:
  - name: switch
    setEnv: {container: app, vars: {ACME_DIRECTORY: {value: staging}}}
  verify: []
"""

GUARDRAILS: dict[str, dict[str, Any]] = {
    "development": {"namespaceSelector": {"matchLabels": {"env": "dev"}}, "allow": ["setEnv"]},
    "production": {"namespaceSelector": {"matchLabels": {"env": "prod"}}, "allow": ["restart"]},
}


async def in_namespace(labels: dict[str, str]) -> tuple[Run, str | None, int]:
    """The run of the remedy in a namespace with these labels, the variable, and how often it was written."""
    made = world(STAGING_ISSUER)
    made.alerts.fire(FIRING)
    known = made.outside.definitions
    assert isinstance(known, Given)
    named = (Guardrail(name, GuardrailSpec.model_validate(spec)) for name, spec in GUARDRAILS.items())
    known.labels, known.allowed = labels, Fence.around(labels, named)
    return await carried_out(made), env(made, "ACME_DIRECTORY"), changes(made)


async def test_what_dev_allows_is_done_in_dev() -> None:
    run, directory, writes = await in_namespace({"env": "dev"})

    assert str(run.status.outcome) == "Done"
    assert (directory, writes) == ("staging", 1)


@pytest.mark.parametrize(
    ("labels", "reason", "who"),
    [
        ({"env": "prod"}, "NotPermitted", "production"),
        ({}, "NamespaceNotPermitted", "no Guardrail"),
        ({"env": "dev2"}, "NamespaceNotPermitted", "no Guardrail"),
    ],
    ids=["prod", "no label", "another label"],
)
async def test_the_same_is_refused_elsewhere_and_the_refusal_says_by_whom(
    labels: dict[str, str], reason: str, who: str
) -> None:
    run, directory, writes = await in_namespace(labels)

    assert run.status.ending is not None
    assert (str(run.status.outcome), run.status.ending.reason) == ("Refused", reason)
    assert who in run.status.message
    assert (directory, writes) == (None, 0)
