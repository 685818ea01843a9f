"""
What people say to runs of the installed operator: what counts is carried out, and what does not is on the record.

Words that admission refuses are tried in `test_admission`.
"""

import secrets
from pathlib import Path
from typing import Any

import pytest

from cluster.installed import GROUP, OURS, Object, Shop, changed_book, eventually, side_by_side
from cluster.test_cli import plugin
from localcluster.api import Api, ApiError
from localcluster.operator import TENANT_ACCOUNT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ASKS = changed_book("  steps:", "  approval: {count: 1, groups: [sre], expires: 8s}\n  steps:")
ASKS_FIRST = changed_book(
    "diagnose:", "diagnose:\n- name: planned\n  ask: {question: 'Is it planned?', answers: [planned, unplanned]}"
)


class Person:
    """Somebody with roles in a shop's namespace."""

    def __init__(self, shop: Shop, name: str, *roles: str, groups: tuple[str, ...] = ()) -> None:
        self.shop, self.groups = shop, groups
        self.name = f"{name}-of-{shop.name}"
        for role in roles:
            binding = {
                "metadata": {"name": f"{role}-{name}", "namespace": shop.name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.name}],
            }
            path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{shop.name}/rolebindings"
            shop.api.call("POST", path, binding)
        self.kubeconfig: Path = shop.cluster.kubeconfig_for(self.name, groups)
        self._api = Api(self.kubeconfig)

    def says(self, run: Object, kind: str, **spec: Any) -> str:
        """The name of the Reply that the API server has stored."""
        name = f"{kind.lower()}-{secrets.token_hex(4)}"
        whole = {
            "runRef": {"name": run["metadata"]["name"], "uid": run["metadata"]["uid"]},
            "type": kind,
            "user": self.name,
            "groups": list(self.groups),
            **spec,
        }
        body = {"apiVersion": GROUP, "kind": "Reply", "metadata": {"name": name}, "spec": whole}
        path = f"{OURS}/namespaces/{self.shop.name}/replies"
        eventually(lambda: self._stored(path, body), f"{self.name} may not {kind}", seconds=20)
        return name

    def _stored(self, path: str, body: Object) -> bool:
        """The authorizer hears of a role by a watch, and may be a moment behind."""
        return self._api.call("POST", path, body) is not None if self._may(body) else False

    def _may(self, body: Object) -> bool:
        review = {
            "spec": {
                "resourceAttributes": {
                    "group": "remediator.dev",
                    "resource": "runbookruns",
                    "namespace": self.shop.name,
                    "name": body["spec"]["runRef"]["name"],
                    "verb": body["spec"]["type"].lower(),
                }
            }
        }
        answer = self._api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def runs(self, name: str, **spec: Any) -> Object:
        """A run by hand that this person asks for."""
        whole = {
            "runbookRef": {"name": "queue"},
            "target": {"kind": "Deployment", "namespace": self.shop.name, "name": "checkout"},
            "mode": "Approve",
            "serviceAccountName": TENANT_ACCOUNT,
            "requestedBy": self.name,
            **spec,
        }
        body = {"apiVersion": GROUP, "kind": "RunbookRun", "metadata": {"name": name}, "spec": whole}
        made: Object = self._api.call("POST", f"{OURS}/namespaces/{self.shop.name}/runbookruns", body)
        return made


def now(shop: Shop, run: Object) -> Object:
    found: Object = shop.api.get(f"{OURS}/namespaces/{shop.name}/runbookruns/{run['metadata']['name']}")
    return found


def question(shop: Shop, run: Object) -> Object:
    """What the run asks about its plan, once it does."""

    def look() -> Object | None:
        attempts = now(shop, run).get("status", {}).get("attempts", [])
        approvals = attempts[-1].get("approvals", []) if attempts else []
        return approvals[-1] if approvals else None

    found = eventually(look, "the run has not asked")
    assert found is not None
    return found


def verdict(shop: Shop, run: Object, reply: str) -> tuple[bool, str]:
    """What became of a Reply: whether it was taken, and its reason."""

    def look() -> Object | None:
        replies = now(shop, run).get("status", {}).get("replies", [])
        return next((one for one in replies if one["name"] == reply), None)

    found = eventually(look, f"Reply {reply} was not heard")
    assert found is not None
    return found.get("taken", False), found.get("reason", "")


def ended(shop: Shop, run: Object) -> Object:
    return eventually(
        lambda: now(shop, run) if now(shop, run).get("status", {}).get("outcome") else None, "the run has not ended"
    )  # type: ignore[return-value]  # it is true by then


@side_by_side
def test_only_what_was_asked_of_whom_it_was_asked_counts(shop: Shop) -> None:
    shop.stock(mode="Approve", approval={"count": 1, "groups": ["sre"], "expires": "2m"})
    dave = Person(shop, "dave", "remediator-approve", groups=("sre",))
    erin = Person(shop, "erin", "remediator-approve", groups=("dev",))
    carol = Person(shop, "carol", "view", "remediator-approve", groups=("sre",))
    shop.fire()
    run = shop.held("AwaitingApproval")
    plan = question(shop, run)["planHash"]

    other_plan = dave.says(run, "Approve", planHash="0123456789abcdef")
    other_run = dave.says(run, "Approve", planHash=plan, runRef={"name": run["metadata"]["name"], "uid": "another"})
    other_group = erin.says(run, "Approve", planHash=plan)

    assert verdict(shop, run, other_plan)[1].startswith("it is for plan 01234567, and plan")
    assert verdict(shop, run, other_run) == (False, "it is meant for another run of that name")
    assert verdict(shop, run, other_group) == (False, "it names none of the groups that are asked: sre")
    assert shop.changes() == []

    done = plugin(
        shop.cluster, "approve", run["metadata"]["name"], "-n", shop.name, "--yes", kubeconfig=carol.kubeconfig
    )
    assert done.returncode == 0, done.stderr
    end = shop.helps(QUEUE="500")

    assert end["status"]["outcome"] == "Remediated"
    assert [one["user"] for one in end["status"]["attempts"][0]["approvals"][0]["given"]] == [carol.name]
    assert len(shop.changes()) == 1
    replay = carol.says(run, "Approve", planHash=plan)
    assert verdict(shop, run, replay) == (False, "the run had ended already, as Remediated")


@side_by_side
def test_whoever_asks_for_a_run_does_not_approve_it_and_the_question_expires(shop: Shop) -> None:
    shop.stock(ASKS)
    alice = Person(shop, "alice", "edit", "remediator-approve", groups=("sre",))
    run = eventually(lambda: _asked(alice, "by-hand"), "alice may not run it", seconds=20)
    asked = question(shop, run)

    own = alice.says(run, "Approve", planHash=asked["planHash"])

    assert verdict(shop, run, own) == (False, "whoever asks for a run does not approve it")
    end = ended(shop, run)
    assert end["status"]["outcome"] == "Expired"
    assert shop.changes() == []
    assert shop.env() == {"QUEUE": "200"}
    assert eventually(lambda: shop.installation.inbox.to("default", f"{shop.name}/checkout"), "nobody was told"), (
        "what ends without a cure tells somebody"
    )


@side_by_side
def test_what_is_said_before_a_plan_or_to_an_earlier_run_of_the_name_counts_for_nothing(shop: Shop) -> None:
    shop.stock(ASKS_FIRST)
    alice = Person(shop, "alice", "edit", groups=("sre",))
    bob = Person(shop, "bob", "remediator-approve", "remediator-respond", "remediator-stop", groups=("sre",))
    first = eventually(lambda: _asked(alice, "again"), "alice may not run it", seconds=20)
    _waits_for_people(shop, first)
    path = f"{OURS}/namespaces/{shop.name}/runbookruns/again"
    shop.api.call("DELETE", path)  # the administrator may forget it
    second = alice.runs("again")
    _waits_for_people(shop, second)

    early = bob.says(second, "Approve", planHash="0123456789abcdef")
    late = bob.says(first, "Answer", step="planned", answer="planned")
    wrong = bob.says(second, "Answer", step="planned", answer="perhaps")

    assert verdict(shop, second, early) == (False, "nothing was asked")
    assert verdict(shop, second, late) == (False, "it is meant for another run of that name")
    assert verdict(shop, second, wrong) == (False, "must be one of planned, unplanned, is perhaps")
    answer = bob.says(second, "Answer", step="planned", answer="unplanned")
    assert verdict(shop, second, answer)[0]
    assert question(shop, second)["state"] == "Waiting"
    stop = bob.says(second, "Stop", reason="by hand")
    assert verdict(shop, second, stop) == (True, "by hand")
    assert ended(shop, second)["status"]["outcome"] == "Stopped"
    assert shop.changes() == []


def _waits_for_people(shop: Shop, run: Object) -> None:
    uid = run["metadata"]["uid"]

    def is_waiting() -> bool:
        found = now(shop, run)
        return found["metadata"]["uid"] == uid and found.get("status", {}).get("state") == "AwaitingHuman"

    eventually(is_waiting, "the run does not wait for people")


def _asked(person: Person, name: str) -> Any:
    """The run, once the authorizer has heard that the person may ask for it."""
    try:
        return person.runs(name)
    except ApiError as refusal:
        if "403" in str(refusal) or "may not" in str(refusal) or "forbidden" in str(refusal):
            return None
        raise
