"""One remedy, several namespaces: what may be done to a certificate's workload in `dev` is not done in `prod`."""

from datetime import timedelta
from typing import Any

import pytest

from flows import FIRING, carried_out, changes, env, fired, world
from known import Given
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.runs import Run, RunOutcome
from worlds import fence

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


async def of_which_nobody_knows_the_guardrails(*, gone: bool) -> Run:
    """The run, accepted and then held, a minute after its namespace left the operator's memory, and perhaps the cluster."""
    made = world(STAGING_ISSUER)
    run = await fired(made)
    known = made.outside.definitions
    assert isinstance(known, Given)
    known.allowed = fence("setEnv", suspend=True)
    await made.look(run)
    known.allowed = None
    if gone:
        # the run itself is kept where its policy is, which the store's own removal would not know
        del made.cluster.store.objects["", "Namespace", "", "shop"]
    made.clock.advance(timedelta(minutes=5))
    return await made.settle(run, within=timedelta(minutes=1))


async def test_a_run_whose_namespace_is_gone_ends_at_once() -> None:
    run = await of_which_nobody_knows_the_guardrails(gone=True)

    assert run.status.ending is not None
    assert (run.status.outcome, run.status.ending.reason) == (RunOutcome.TARGET_GONE, "TargetGone")
    assert run.status.message == "the namespace shop is gone"


async def test_a_run_whose_namespace_is_only_not_known_yet_waits() -> None:
    run = await of_which_nobody_knows_the_guardrails(gone=False)

    assert run.status.ending is None
    assert run.status.held is not None
    assert run.status.held.reason == "FactUnknown"
