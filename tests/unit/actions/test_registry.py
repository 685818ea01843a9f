import pytest
from pydantic import ValidationError

from remediator.actions import registry
from remediator.actions.registry import Use
from remediator.domain.actions import ActionClass, Permission

POD_READS = {"kind": "Pod", "related": "owned"}


def test_permissions_of_a_runbook_are_one_entry_for_each_resource() -> None:
    uses = [
        Use("get", POD_READS, ("Deployment",)),
        Use("logs", {}, ("Deployment",)),
        Use("restart", {}, ("Deployment",)),
    ]

    assert registry.permissions(uses) == (
        Permission("", "pods", ("get", "list")),
        Permission("", "pods/log", ("get",)),
        Permission("apps", "deployments", ("get", "patch")),
        Permission("apps", "replicasets", ("list",)),
    )


def test_kinds_that_cannot_be_targets_need_no_permission() -> None:
    found = registry.permissions([Use("rollback", {}, ("StatefulSet",))])

    assert found == (
        Permission("", "pods", ("list",)),
        Permission("apps", "controllerrevisions", ("list",)),
        Permission("apps", "statefulsets", ("get", "patch")),
    )


def test_without_kinds_every_permission_is_needed() -> None:
    assert registry.permissions([Use("restart")]) == registry.info("restart").permissions


def test_a_read_needs_what_its_parameters_name() -> None:
    assert registry.permissions([Use("get", {"kind": "ConfigMap", "name": "x"}, ("Deployment",))]) == (
        Permission("", "configmaps", ("get",)),
    )
    assert registry.permissions([Use("get", {"kind": "certificate.cert-manager.io"}, ("Deployment",))]) == ()
    assert registry.permissions([Use("top", {"kind": "Node"}, ("Deployment",))]) == (
        Permission("", "nodes", ("list",)),
        Permission("metrics.k8s.io", "nodes", ("list",)),
    )


def test_actions_are_listed_by_class() -> None:
    assert registry.names(ActionClass.MESSAGE) == ("escalate", "notify")
    assert "get" in registry.names(ActionClass.READ)
    assert "restart" in registry.names(ActionClass.CHANGE)


def test_an_action_is_found_only_as_what_it_is() -> None:
    assert registry.change("restart").info.name == "restart"
    with pytest.raises(KeyError):
        registry.change("get")
    with pytest.raises(KeyError):
        registry.diagnostic("restart")
    with pytest.raises(KeyError):
        registry.message("nothing")


def test_parameters_that_an_action_does_not_take_are_refused() -> None:
    with pytest.raises(ValidationError):
        registry.output_model("get", {"knid": "Pod"})
