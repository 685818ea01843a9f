"""
Each playbook in the mode Approve, under a Guardrail that asks for the consent of one of the group `sre`.

Others speak to each run first: somebody of its namespace who is not of the group, somebody of another namespace
who is, and whoever asked for it. The stories are those of the mode Automatic.
"""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from cluster import test_playbooks as playbooks
from cluster.installed import GROUP, OURS, Object, Shop, eventually, side_by_side
from cluster.test_replies import Person, now, question, verdict
from localcluster.api import Api, ApiError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Story = Callable[[Shop], None]


def agreed_to(story: Story, shop: Shop) -> None:
    """The story happens, and goes on only where the right person agrees; what that person said is on the run."""
    shop.mode = "Approve"
    shop.approval = {"count": 1, "groups": ["sre"], "expires": "5m"}
    with ThreadPoolExecutor(1) as pool:
        people = pool.submit(people_speak, shop)
        try:
            story(shop)
        finally:
            run, approver = people.result()

    (asked,) = [one for attempt in now(shop, run)["status"]["attempts"] for one in attempt.get("approvals", [])]
    assert asked["state"] == "Approved"
    assert approver in [one["user"] for one in asked["given"]]


def people_speak(shop: Shop) -> tuple[Object, str]:
    """The run, and who agreed to it after others had tried in vain."""
    run = eventually(lambda: waiting(shop), "no run waits for people", pause=1.0)
    assert run is not None
    plan = question(shop, run)["planHash"]
    colleague = Person(shop, "alice", "edit", "remediator-approve", groups=("dev",))
    approver = Person(shop, "bob", "remediator-approve", groups=("sre",))

    of_another_namespace(shop, run, plan)
    if "policyRef" not in run["spec"]:
        own = as_requester(shop, run, plan)
        assert not verdict(shop, run, own)[0]
    alone = colleague.says(run, "Approve", planHash=plan)
    verdict(shop, run, alone)  # heard, and not enough: the mode asks for anybody, the Guardrail for one of sre
    assert question(shop, run).get("state", "Waiting") == "Waiting"
    assert shop.changes() == []

    approver.says(run, "Approve", planHash=plan)
    return run, approver.name


def waiting(shop: Shop) -> Object | None:
    """A run of the namespace that has asked and was not answered."""
    with suppress(ApiError):  # the namespace is not there yet
        for run in shop.items(OURS, "runbookruns"):
            attempts = run.get("status", {}).get("attempts", [])
            if any(
                one.get("state", "Waiting") == "Waiting" for attempt in attempts for one in attempt.get("approvals", [])
            ):
                return run
    return None


def of_another_namespace(shop: Shop, run: Object, plan: str) -> None:
    """Somebody of the right group, who may approve in a namespace of his own, was refused by the API server."""
    elsewhere = Shop(shop.installation, f"{shop.name}-next")
    shop.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": elsewhere.name}})
    stranger = Person(elsewhere, "tenant", "edit", "remediator-approve", groups=("sre",))
    body = reply(run, plan, stranger.name, "sre")
    with pytest.raises(ApiError) as refusal:
        Api(stranger.kubeconfig).call("POST", f"{OURS}/namespaces/{shop.name}/replies", body)
    assert refusal.value.status == 403
    shop.api.call("DELETE", f"/api/v1/namespaces/{elsewhere.name}")


def as_requester(shop: Shop, run: Object, plan: str) -> str:
    """The name of the Reply by which whoever asked for the run agrees to it."""
    body = reply(run, plan, run["spec"]["requestedBy"])
    shop.api.call("POST", f"{OURS}/namespaces/{shop.name}/replies", body)
    return str(body["metadata"]["name"])


def reply(run: Object, plan: str, user: str, *groups: str) -> Object:
    spec = {
        "runRef": {"name": run["metadata"]["name"], "uid": run["metadata"]["uid"]},
        "type": "Approve",
        "planHash": plan,
        "user": user,
        "groups": [*groups],
    }
    meta = {"name": f"approve-{secrets.token_hex(4)}"}
    return {"apiVersion": GROUP, "kind": "Reply", "metadata": meta, "spec": spec}


@side_by_side
@pytest.mark.real_node
def test_a_release_that_panics_is_rolled_back_once_somebody_agrees(shop: Shop) -> None:
    agreed_to(playbooks.test_a_release_that_panics_is_rolled_back, shop)


@side_by_side
@pytest.mark.real_node
def test_a_queue_that_is_nearly_full_is_made_larger_once_somebody_agrees(shop: Shop) -> None:
    agreed_to(playbooks.test_a_queue_that_is_nearly_full_is_made_larger, shop)


@side_by_side
@pytest.mark.real_node
def test_three_timeouts_are_raised_once_somebody_agrees(shop: Shop) -> None:
    agreed_to(playbooks.test_three_timeouts_are_raised_by_one_patch, shop)


@side_by_side
def test_a_person_rolls_back_once_another_agrees(shop: Shop) -> None:
    agreed_to(playbooks.test_a_person_rolls_back_to_the_release_that_he_names, shop)


@side_by_side
@pytest.mark.real_node
def test_a_gateway_that_hangs_is_restarted_once_somebody_agrees(shop: Shop) -> None:
    agreed_to(playbooks.test_a_gateway_that_hangs_is_restarted, shop)
