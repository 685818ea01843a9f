from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from remediator.domain.guardrails import Fence, Guardrail, GuardrailSpec, Listed, Said

NOW = datetime(2026, 12, 24, 12, 0, tzinfo=UTC)
BROKEN = Guardrail("broken", None)


def fence(*broken: Guardrail, **specs: dict[str, Any]) -> Fence:
    named = (Guardrail(name, GuardrailSpec.model_validate(spec)) for name, spec in specs.items())
    return Fence.around({}, (*named, *broken))


def once(begin: str, until: str, *groups: str, reason: str = "") -> dict[str, Any]:
    freeze: dict[str, Any] = {"from": begin, "until": until, "reason": reason}
    return {**freeze, "except": {"groups": list(groups)}} if groups else freeze


HOLIDAYS = once("2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z", "sre-lead", reason="holidays")
WEEK = once("2026-12-21T00:00:00Z", "2026-12-28T00:00:00Z", "shop-lead", reason="the year is closed")


def test_where_no_guardrail_says_anything_nothing_is_limited_frozen_or_suspended() -> None:
    silent = fence(production={})

    assert silent.freeze_at(NOW) is None
    assert silent.suspended_by() == ""
    assert silent.approvals() == ()
    assert silent.storm_rules() == ()
    assert silent.limits.max_unavailable == ()
    assert (silent.limits.nodes, silent.limits.per_namespace, silent.limits.cluster) == (None, None, None)


def test_of_numbers_the_smallest_holds_and_says_who_said_it() -> None:
    limits = fence(
        a={"limits": {"targets": {"perNamespace": 2, "cluster": 9}, "nodes": 1}},
        b={"limits": {"targets": {"perNamespace": 3, "cluster": 5}}},
    ).limits

    assert limits.per_namespace == Said(2, "a")
    assert limits.cluster == Said(5, "b")
    assert limits.nodes == Said(1, "a")


def test_shares_and_numbers_of_pods_are_all_kept_because_the_size_decides_which_is_the_strictest() -> None:
    limits = fence(a={"limits": {"maxUnavailable": "25%"}}, b={"limits": {"maxUnavailable": "1"}}).limits

    assert limits.max_unavailable == (Said("25%", "a"), Said("1", "b"))


def test_every_approval_that_is_asked_for_is_named_with_the_one_who_asks() -> None:
    asked = fence(a={"approval": {"count": 2, "groups": ["sre"]}}, b={}, c={"approval": {"groups": ["dba"]}})

    assert [(who, approval.groups) for who, approval in asked.approvals()] == [
        ("Guardrail a", ["sre"]),
        ("Guardrail c", ["dba"]),
    ]


def test_the_guardrail_that_suspends_is_named() -> None:
    assert fence(a={}, b={"suspend": True}).suspended_by() == "b"


def test_outgoing_calls_go_only_where_every_list_allows_it() -> None:
    assert fence(a={"hosts": ["x", "y"]}, b={"hosts": ["y", "z"]}, c={}).hosts() == Listed(("y",), ("a", "b"))


def test_where_nobody_lists_hosts_or_images_there_are_none() -> None:
    silent = fence(a={"allow": ["restart"]})

    assert silent.hosts() == Listed((), ())
    assert silent.images() == Listed((), ())


def test_an_empty_list_allows_none_and_an_absent_one_says_nothing() -> None:
    assert fence(a={"hosts": ["x"]}, b={"hosts": []}).hosts() == Listed((), ("a", "b"))
    assert fence(a={"hosts": ["x"]}, b={}).hosts() == Listed(("x",), ("a",))


def test_a_guardrail_that_cannot_be_read_leaves_no_host_no_image_and_no_action() -> None:
    given = {"hosts": ["x"], "images": ["y"], "allow": ["restart"]}
    merged = fence(BROKEN, a=given)

    assert merged.hosts().names == merged.images().names == merged.actions().names == ()


@pytest.mark.parametrize("actions", [["restart"], ["restart", "rollback"]])
def test_the_actions_that_are_allowed_are_those_without_an_objection(actions: list[str]) -> None:
    merged = fence(a={"allow": actions}, b={"allow": ["restart", "scale"]}, c={})

    assert merged.actions().names == ("restart",)
    assert [action for action in ("restart", "rollback", "scale") if not merged.objection(action)] == ["restart"]


def test_of_several_freezes_the_one_that_ends_last_speaks() -> None:
    frozen = fence(a={"freeze": [HOLIDAYS]}, b={"freeze": [WEEK]}).freeze_at(NOW)

    assert frozen is not None
    assert (frozen.guardrail, frozen.reason) == ("b", "the year is closed")
    assert frozen.until == datetime(2026, 12, 28, tzinfo=UTC)
    assert frozen.since == datetime(2026, 12, 24, tzinfo=UTC)


def test_an_exception_counts_only_if_every_active_freeze_grants_it() -> None:
    both = fence(a={"freeze": [HOLIDAYS]}, b={"freeze": [WEEK]}).freeze_at(NOW)

    assert both is not None
    assert not both.is_lifted_by([{"sre-lead"}])
    assert not both.is_lifted_by([])
    assert both.is_lifted_by([{"sre-lead"}, {"shop-lead", "dev"}])


def test_a_freeze_without_an_exception_is_lifted_by_nobody() -> None:
    frozen = fence(
        a={"freeze": [HOLIDAYS]}, b={"freeze": [once("2026-12-01T00:00:00Z", "2026-12-25T00:00:00Z")]}
    ).freeze_at(NOW)

    assert frozen is not None
    assert not frozen.can_be_lifted
    assert not frozen.is_lifted_by([{"sre-lead", "system:masters"}])


def test_a_freeze_that_cannot_be_understood_holds_and_nobody_lifts_it() -> None:
    odd = {"cron": "0 16 * * FRI", "for": "1h", "timeZone": "Europe/Berlinn", "except": {"groups": ["sre-lead"]}}
    frozen = fence(a={"freeze": [odd]}).freeze_at(NOW)

    assert frozen is not None
    assert NOW < frozen.until <= NOW + timedelta(minutes=5)
    assert "Europe/Berlinn" in frozen.reason
    assert not frozen.is_lifted_by([{"sre-lead"}])


def test_the_freeze_that_comes_next_is_named_with_its_guardrail() -> None:
    friday = {"cron": "0 16 * * FRI", "for": "64h", "timeZone": "UTC"}
    coming = fence(a={"freeze": [WEEK]}, b={"freeze": [friday]}).next_freeze(NOW)

    assert coming is not None
    assert (coming.by, coming.value.begin) == ("b", datetime(2026, 12, 25, 16, tzinfo=UTC))
