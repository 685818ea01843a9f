"""Which policies want an alert, and what it is about as far as it says so itself."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from remediator.actions import registry
from remediator.domain.alerts import Alert
from remediator.domain.objects import ObjectRef
from remediator.domain.policies import Mode
from remediator.domain.receipts import Receipt
from remediator.engine.acceptance import accept_policy, accept_runbook
from remediator.engine.begin import PolicyVersion
from remediator.engine.choose import Choice, Counted, Listener, Named, Sought, Wanted, choose, listener

NOON: Final = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
OPERATOR: Final = "remediator-system"
LABELS: Final = {"alertname": "KubePodCrashLooping", "namespace": "shop", "pod": "checkout-7d9", "severity": "critical"}


def an_alert(**labels: str) -> Alert:
    return Alert("f" * 16, "firing", {**LABELS, **labels}, {}, NOON - timedelta(minutes=5))


def a_policy(namespace: str = OPERATOR, targets: tuple[str, ...] = ("Deployment",), **spec: Any) -> Listener:
    """A policy that is ready, over a Runbook about these kinds."""
    book = accept_runbook(OPERATOR, "book", "b", 1, {"sharedWith": ["*"], "targets": list(targets)}, registry)
    spec = {
        "matchers": ['alertname="KubePodCrashLooping"'],
        "runbookRef": {"name": "book", "namespace": OPERATOR},
        "serviceAccountName": "runner",
        **spec,
    }
    accepted = accept_policy(namespace, "p", "p-uid", 3, spec, book, OPERATOR, can_ask=True)
    return listener(
        {"metadata": {"namespace": namespace, "name": "p", "uid": "p-uid", "generation": 3}, "spec": spec}, accepted
    )


def unready(namespace: str = OPERATOR, **spec: Any) -> Listener:
    spec = {"matchers": ['alertname="KubePodCrashLooping"'], "runbookRef": {"name": "none"}, **spec}
    metadata = {"namespace": namespace, "name": "p", "uid": "p-uid", "generation": 1}
    return listener({"metadata": metadata, "spec": spec}, None)


def only(choices: tuple[Choice, ...]) -> Choice:
    assert len(choices) == 1
    return choices[0]


def place(alert: Alert, *listeners: Listener) -> Named | Sought:
    choice = only(choose(alert, listeners, OPERATOR, NOON))
    assert isinstance(choice, Wanted)
    return choice.place


def counted(alert: Alert, *listeners: Listener) -> Counted:
    choice = only(choose(alert, listeners, OPERATOR, NOON))
    assert isinstance(choice, Counted)
    return choice


def test_an_alert_that_no_policy_wants_is_counted_as_that() -> None:
    assert counted(an_alert()).receipt is Receipt.NO_POLICY
    assert counted(an_alert(alertname="Other"), a_policy()).receipt is Receipt.NO_POLICY


@pytest.mark.parametrize(
    ("policy_namespace", "alert_namespace", "wanted"),
    [
        ("shop", "shop", True),
        ("shop", "bank", False),
        ("shop", "", False),
        (OPERATOR, "shop", True),
        (OPERATOR, "", True),
    ],
)
def test_a_policy_sees_the_alerts_of_its_namespace_and_the_operators_own_see_all(
    policy_namespace: str, alert_namespace: str, wanted: bool
) -> None:
    choices = choose(an_alert(namespace=alert_namespace), [a_policy(policy_namespace)], OPERATOR, NOON)

    assert isinstance(only(choices), Wanted) is wanted


def test_every_policy_that_wants_an_alert_gets_it() -> None:
    choices = choose(an_alert(), [a_policy(), a_policy("shop"), a_policy(matchers=['severity="none"'])], OPERATOR, NOON)

    assert [choice.listener.namespace for choice in choices if isinstance(choice, Wanted)] == [OPERATOR, "shop"]
    assert len(choices) == 2


def test_all_matchers_must_hold() -> None:
    policy = a_policy(matchers=['alertname="KubePodCrashLooping"', 'severity=~"critical|warning"', 'team!="x"'])

    assert isinstance(place(an_alert(), policy), Sought)
    assert counted(an_alert(severity="info"), policy).receipt is Receipt.NO_POLICY
    assert counted(an_alert(team="x"), policy).receipt is Receipt.NO_POLICY


# `when`


def test_a_condition_that_is_true_lets_an_alert_through_and_false_does_not() -> None:
    policy = a_policy(when='alert.labels.severity == "critical" && alert.labels[?"container"].orValue("") != "debug"')

    assert isinstance(place(an_alert(), policy), Sought)
    assert counted(an_alert(container="debug"), policy).receipt is Receipt.NO_POLICY


def test_a_condition_that_cannot_be_told_is_counted_and_says_what_is_missing() -> None:
    said = counted(an_alert(), a_policy(when='alert.labels.team == "shop"'))

    assert said.receipt is Receipt.FACT_UNKNOWN
    assert said.listener is not None
    assert "team" in said.message


def test_one_policy_that_cannot_tell_does_not_keep_another_from_acting() -> None:
    choices = choose(an_alert(), [a_policy(when='alert.labels.team == "x"'), a_policy("shop")], OPERATOR, NOON)

    assert [type(choice) for choice in choices] == [Counted, Wanted]


# Targets


def test_without_a_rule_the_target_is_sought_by_the_most_specific_label() -> None:
    found = place(an_alert(deployment="checkout"), a_policy())

    assert isinstance(found, Sought)
    assert found.candidate.ref == ObjectRef.of("Deployment", "shop", "checkout")
    assert found.kinds == ("Deployment",)


def test_labels_that_name_nothing_of_the_runbooks_kinds_lead_to_the_unresolved_target() -> None:
    found = place(an_alert(), a_policy(targets=("Node",)))

    assert isinstance(found, Named)
    assert (found.target.kind, found.target.namespace, found.target.name) == ("unresolved", "shop", "unresolved")
    assert found.target.is_outside
    assert found.message


def test_a_rule_says_the_target() -> None:
    policy = a_policy(
        target={"kind": "Deployment", "name": "${alert.labels.app}", "namespace": "${alert.labels.namespace}"}
    )

    found = place(an_alert(app="checkout"), policy)

    assert isinstance(found, Named)
    assert found.target.ref == ObjectRef.of("Deployment", "shop", "checkout")
    assert not found.message


@pytest.mark.parametrize("labels", [{}, {"app": "no such/name"}, {"app": ""}])
def test_a_rule_that_names_no_object_leads_to_the_unresolved_target_and_says_why(labels: dict[str, str]) -> None:
    found = place(an_alert(**labels), a_policy(target={"kind": "Deployment", "name": "${alert.labels.app}"}))

    assert isinstance(found, Named)
    assert found.target.kind == "unresolved"
    assert found.message


def test_a_policy_of_a_tenant_reaches_no_other_namespace_and_nothing_cluster_wide() -> None:
    elsewhere = {"exported_namespace": "bank", "deployment": "vault"}
    for labels in (elsewhere, {"node": "n1"}):
        found = place(an_alert(**labels), a_policy("shop", targets=("Node", "Deployment")))

        if isinstance(found, Sought):  # the pod of its own namespace, which the labels name too
            assert found.candidate.ref.namespace == "shop"
        else:
            assert found.target.kind == "unresolved"


def test_a_policy_of_the_operators_namespace_reaches_nodes() -> None:
    found = place(an_alert(node="n1"), a_policy(targets=("Node",)))

    assert isinstance(found, Sought)
    assert found.candidate.ref == ObjectRef.of("Node", "", "n1")


def test_an_alert_without_a_usable_namespace_goes_to_the_policys_own_when_it_is_unresolved() -> None:
    for namespace in ("", "No Name"):
        found = place(an_alert(namespace=namespace, pod=""), a_policy())

        assert isinstance(found, Named)
        assert found.target.namespace == OPERATOR


# Policies that are not ready


def test_a_policy_that_is_not_ready_gets_a_run_that_can_say_so() -> None:
    found = place(an_alert(deployment="checkout"), unready("shop"))

    assert isinstance(found, Named)
    assert found.target.kind == "unresolved"
    assert found.target.namespace == "shop"
    assert "not ready" in found.message


@pytest.mark.parametrize("matchers", [[], ["alertname"], ['a="b"', 'x=~"("'], None])
def test_a_policy_whose_matchers_cannot_be_read_is_counted(matchers: list[str] | None) -> None:
    said = counted(an_alert(), unready("shop", matchers=matchers))

    assert said.receipt is Receipt.POLICY_UNREADABLE
    assert counted(an_alert(namespace="bank"), unready("shop", matchers=matchers)).receipt is Receipt.NO_POLICY


def test_what_was_accepted_of_an_earlier_text_is_not_taken_for_the_present_one() -> None:
    ready = a_policy()
    obj: Any = {"metadata": {"namespace": OPERATOR, "name": "p", "uid": "p-uid", "generation": 4}, "spec": {}}

    assert ready.accepted is not None
    assert listener(obj, ready.accepted).accepted is None
    assert ready.version == PolicyVersion("p-uid", 3)


def test_a_policy_keeps_its_mode_and_account_even_where_it_is_not_ready() -> None:
    found = unready("shop", mode="Automatic", serviceAccountName="runner")

    assert (found.mode, found.account_name) == (Mode.AUTOMATIC, "runner")
    assert unready("shop", mode="Sometimes").mode is Mode.DRY_RUN
