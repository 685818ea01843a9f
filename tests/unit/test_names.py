import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.names import (
    frozen_runbook_name,
    is_object_name,
    key_hash,
    label_value,
    lease_name,
    run_name,
    token,
)
from remediator.domain.objects import ObjectRef

CHECKOUT = ObjectRef.of("Deployment", "shop", "checkout")
LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
POLICY_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True)


def test_a_run_is_named_after_policy_key_and_episode() -> None:
    assert (
        run_name("shop", "crashlooping", CHECKOUT, 3) == f"crashlooping-{key_hash('shop', 'crashlooping', CHECKOUT)}-3"
    )
    assert re.fullmatch(r"crashlooping-[0-9a-f]{16}-3", run_name("shop", "crashlooping", CHECKOUT, 3))


def test_names_stay_what_they_were_in_earlier_releases() -> None:
    assert key_hash("shop", "crashlooping", CHECKOUT) == "3182de93b497ee95"
    assert token("uid", "restart", "roll") == "cbfd84b0e3196b6b"
    assert lease_name(CHECKOUT) == "target-3140a00d292a9868"
    assert frozen_runbook_name({"targets": ["Deployment"]}) == "runbook-167115709bcd93fb"


@pytest.mark.parametrize(
    ("namespace", "policy", "target"),
    [
        ("other", "crashlooping", CHECKOUT),
        ("shop", "oomkilled", CHECKOUT),
        ("shop", "crashlooping", ObjectRef.of("StatefulSet", "shop", "checkout")),
        ("shop", "crashlooping", ObjectRef("other.io", "Deployment", "shop", "checkout")),
        ("shop", "crashlooping", ObjectRef.of("Deployment", "shop2", "checkout")),
        ("shop", "crashlooping", ObjectRef.of("Deployment", "shop", "basket")),
        ("shopcrash", "looping", CHECKOUT),
    ],
)
def test_another_policy_or_target_has_another_key(namespace: str, policy: str, target: ObjectRef) -> None:
    assert key_hash(namespace, policy, target) != key_hash("shop", "crashlooping", CHECKOUT)


@given(POLICY_NAMES, st.integers(1, 99_999))
def test_every_run_name_is_an_object_name_and_a_label_value(policy: str, episode: int) -> None:
    name = run_name("shop", policy, CHECKOUT, episode)

    assert is_object_name(name)
    assert len(name) <= 63
    assert LABEL.fullmatch(name)


@pytest.mark.parametrize("episode", [0, -1, 100_000])
def test_an_episode_outside_its_range_is_refused(episode: int) -> None:
    with pytest.raises(ValueError, match="an episode's number is between 1 and 99999"):
        run_name("shop", "crashlooping", CHECKOUT, episode)


def test_a_token_belongs_to_one_use_of_one_step_of_one_run() -> None:
    tokens = {
        token("uid-1", "restart", "roll"),
        token("uid-2", "restart", "roll"),
        token("uid-1", "scale", "roll"),
        token("uid-1", "restart", "other"),
        token("uid-1", "restart", "roll", item=0),
        token("uid-1", "restart", "roll", item=1),
        token("uid-1", "restart", "roll", attempt=1),
        token("uid-1", "restart", "roll", item=1, attempt=1),
    }

    assert len(tokens) == 8
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in tokens)


def test_the_same_use_has_the_same_token_in_every_process() -> None:
    assert token("uid-1", "restart", "roll", 2, 1) == token("uid-1", "restart", "roll", 2, 1)


def test_fields_never_run_into_each_other() -> None:
    assert token("uid", "a", "bc") != token("uid", "ab", "c")


def test_a_frozen_runbook_is_named_by_its_content_alone() -> None:
    one = frozen_runbook_name({"targets": ["Deployment"], "description": "x"})

    assert one == frozen_runbook_name({"description": "x", "targets": ["Deployment"]})
    assert one != frozen_runbook_name({"description": "y", "targets": ["Deployment"]})
    assert is_object_name(one)


def test_every_target_has_its_own_lease() -> None:
    assert lease_name(CHECKOUT) != lease_name(ObjectRef.of("StatefulSet", "shop", "checkout"))
    assert is_object_name(lease_name(CHECKOUT))


@pytest.mark.parametrize("text", ["", "checkout", "Deployment", "a.b_c-d", "x" * 63])
def test_a_text_that_is_a_label_value_stays_as_it_is(text: str) -> None:
    assert label_value(text) == text


def test_long_texts_with_one_beginning_have_different_label_values() -> None:
    assert label_value("x" * 200) != label_value("x" * 201)


@given(st.text(max_size=300))
def test_any_text_becomes_a_label_value(text: str) -> None:
    value = label_value(text)

    assert value == "" or LABEL.fullmatch(value)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("checkout", True),
        ("a.b-c.d0", True),
        ("x" * 253, True),
        ("x" * 254, False),
        ("", False),
        ("-a", False),
        ("a-", False),
        ("a..b", False),
        ("A", False),
        ("a/b", False),
        ("a\n", False),
        ("../secrets", False),
    ],
)
def test_an_object_name_is_a_dns_subdomain(text: str, holds: bool) -> None:
    assert is_object_name(text) is holds
