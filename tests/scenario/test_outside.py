"""What leaves the operator in a whole run: calls within the fence, and records and messages of a bounded size."""

from dataclasses import replace

from flows import FIRING, carried_out, fired, world
from known import Given
from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec
from remediator.domain.json import Object
from remediator.domain.runs import RunOutcome
from remediator.engine.budget import STATUS_BYTES, size_of
from remediator.ports import NoAnswer, WebAnswer
from remediator.testing.world import World, transcript

ASKING = """
targets: [Deployment]
diagnose: [{name: health, httpGet: {url: 'http://web.shop.svc/healthz', json: true}}]
remedies:
- name: bigger
  when: 'diagnosis.health.reachable && diagnosis.health.json.state == "down"'
  steps: [{name: raise, setEnv: {container: app, vars: {QUEUE: {value: "500"}}}}]
  verify: [{rollout: {within: 5m}}]
"""

READING = """
targets: [Deployment]
diagnose:
- {name: settings, get: {kind: ConfigMap, name: settings}}
remedies:
- name: bigger
  steps:
  - {name: say, notify: {to: on-call, subject: '${alert.annotations.summary}', message: '${alert.annotations.summary}'}}
  - {name: raise, setEnv: {container: app, vars: {QUEUE: {value: "500"}}}}
  verify: [{rollout: {within: 5m}}]
"""


def asking(*hosts: str) -> World:
    made = world(ASKING)
    known = made.outside.definitions
    assert isinstance(known, Given)
    spec = GuardrailSpec(allow=["setEnv"], hosts=list(hosts))
    known.allowed = Fence((Guardrail("platform", spec),))
    return made


async def test_a_run_decides_by_what_a_web_server_answers() -> None:
    made = asking("*.shop.svc")
    made.web.serves("web.shop.svc:80", WebAnswer(503, b'{"state": "down"}'))

    run = await carried_out(made)

    assert run.status.attempts[0].remedy == "bigger", transcript(run)


async def test_nobody_there_is_known_and_decides_too() -> None:
    made = asking("*.shop.svc")
    made.web.serves("web.shop.svc:80", NoAnswer("ConnectionRefused", "web.shop.svc refuses connections"))

    run = await carried_out(made)

    assert run.status.outcome is RunOutcome.NO_REMEDY, transcript(run)


async def test_a_host_outside_the_fence_of_the_targets_namespace_is_unknown_and_changes_nothing() -> None:
    made = asking("api.example.com")
    made.web.serves("web.shop.svc:80", WebAnswer(503, b"{}"))

    run = await carried_out(made)

    assert run.status.ending is not None
    assert run.status.ending.reason == "FactUnknown", transcript(run)
    assert made.web.asked == [("http://web.shop.svc/healthz", {})]
    assert [record.summary for record in run.status.attempts[0].diagnosis] == [
        "web.shop.svc is not among the hosts that a Guardrail allows here"
    ]


def settings(text: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop"},
        "data": {"text": text},
    }


async def test_with_megabytes_of_everything_a_run_is_stored_and_told_in_its_budget() -> None:
    made = world(READING, objects=(settings("line of settings\n" * 55_000),))
    labels = {f"label{n}": "v" * 4_000 for n in range(60)}
    alerts = [
        replace(
            FIRING, fingerprint=f"{n:016x}", labels={**FIRING.labels, **labels}, annotations={"summary": "ß" * 4_000}
        )
        for n in range(500)
    ]

    run = await made.settle(await fired(made, *alerts))

    assert run.is_ended, transcript(run)
    assert run.alerts.count == 500
    assert size_of(run) <= STATUS_BYTES
    assert all(len(event.message.encode()) <= 2_048 for event in made.events.recorded)
    assert "bytes more)" in run.alerts.first[0].annotations["summary"]
