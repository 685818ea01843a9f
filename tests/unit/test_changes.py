"""Changes as data: what is sent, what is tested before it, and how it is taken back."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediator.domain.changes import (
    ABSENT,
    RUN_STAMP,
    STEP_STAMP,
    VOID_STAMP,
    Absent,
    ByKey,
    DeletePods,
    Differs,
    Edit,
    FieldPath,
    Patch,
    apply_operation,
    change_as_json,
    change_from_json,
    differences,
    is_stamped,
    is_voided,
    json_patch,
    void_patch,
)
from remediator.domain.errors import Conflict
from remediator.domain.objects import ObjectRef, Target
from remediator.testing.jsonpatch import patched as apply

CHECKOUT = Target(ObjectRef.of("Deployment", "shop", "checkout"), "uid-1")
QUEUE = FieldPath.parse("/spec/template/spec/containers/[name=app]/env/[name=QUEUE]")


def deployment(**container: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": "uid-1", "generation": 4, "resourceVersion": "9", "annotations": {"team": "shop"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "side"}, {"name": "app", **container}]}}},
    }


def setting(value: str, was: str | None = None) -> Patch:
    before: Any = ABSENT if was is None else {"name": "QUEUE", "value": was}
    return Patch(CHECKOUT, (Edit(QUEUE, before, {"name": "QUEUE", "value": value}),), "set QUEUE", replaces_pods=True)


def sent(patch: Patch, seen: dict[str, Any], token: str = "t1") -> dict[str, Any]:
    after: Any = apply(copy.deepcopy(seen), json_patch(patch, seen, run="shop/run-1", token=token))
    return after


def env_of(obj: dict[str, Any]) -> list[dict[str, str]] | None:
    found: list[dict[str, str]] | None = obj["spec"]["template"]["spec"]["containers"][1].get("env")
    return found


def test_a_patch_writes_its_value_and_stamps_the_object() -> None:
    after = sent(setting("500"), deployment())

    assert env_of(after) == [{"name": "QUEUE", "value": "500"}]
    assert after["metadata"]["annotations"] == {"team": "shop", RUN_STAMP: "shop/run-1", STEP_STAMP: "t1"}
    assert is_stamped(after, "t1")


def test_an_object_without_annotations_gets_its_stamps_too() -> None:
    bare = deployment()
    del bare["metadata"]["annotations"]

    assert is_stamped(sent(setting("500"), bare), "t1")


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda obj: obj["metadata"].update(uid="another"),
        lambda obj: obj["metadata"].update(generation=5),
        lambda obj: obj["metadata"]["annotations"].update({VOID_STAMP: "t1"}),
        lambda obj: obj["metadata"]["annotations"].update({VOID_STAMP: "t0"}),
    ],
    ids=["another object", "changed by somebody", "given up", "another step given up"],
)
def test_the_patch_fails_as_a_whole_where_the_object_has_moved(meanwhile: Any) -> None:
    seen = deployment()
    operations = json_patch(setting("500"), seen, run="shop/run-1", token="t1")
    meanwhile(seen)

    with pytest.raises(Conflict):
        apply(seen, operations)


def test_a_replaced_value_is_tested_for_being_the_one_that_was_seen() -> None:
    seen = deployment(env=[{"name": "QUEUE", "value": "100"}])
    operations = json_patch(setting("500", was="100"), seen, run="shop/run-1", token="t1")
    seen["spec"]["template"]["spec"]["containers"][1]["env"][0]["value"] = "300"

    with pytest.raises(Conflict):
        apply(seen, operations)


def test_a_value_that_is_neither_old_nor_new_is_a_difference() -> None:
    seen = deployment(env=[{"name": "QUEUE", "value": "300"}])

    assert differences(setting("500", was="100"), seen) == (str(QUEUE),)
    with pytest.raises(Differs, match="QUEUE"):
        json_patch(setting("500", was="100"), seen, run="shop/run-1", token="t1")


def test_a_value_that_is_there_already_is_no_difference() -> None:
    assert differences(setting("500", was="100"), deployment(env=[{"name": "QUEUE", "value": "500"}])) == ()


def test_a_path_still_points_at_its_item_after_the_list_was_reordered() -> None:
    seen = deployment(env=[{"name": "A", "value": "1"}, {"name": "QUEUE", "value": "100"}])
    seen["spec"]["template"]["spec"]["containers"].reverse()

    after = sent(setting("500", was="100"), seen)

    assert after["spec"]["template"]["spec"]["containers"][0]["env"][1] == {"name": "QUEUE", "value": "500"}


def test_a_void_makes_the_object_move_and_says_for_which_token() -> None:
    seen = deployment()
    after: Any = apply(copy.deepcopy(seen), void_patch(CHECKOUT, seen, token="t1"))

    assert is_voided(after, "t1")
    assert not is_stamped(after, "t1")
    with pytest.raises(Differs, match="given up"):
        json_patch(setting("500"), after, run="shop/run-1", token="t1")


def test_joined_patches_are_one_write() -> None:
    other = Patch(CHECKOUT, (Edit(FieldPath.of("spec", "replicas"), 2, 4),), "scale to 4")

    after = sent(setting("500").joined_with(other), deployment())

    assert env_of(after) == [{"name": "QUEUE", "value": "500"}]
    assert after["spec"]["replicas"] == 4


def test_two_edits_below_one_missing_parent_both_arrive() -> None:
    more = FieldPath.parse("/spec/template/spec/containers/[name=app]/env/[name=MORE]")
    patch = setting("500").joined_with(
        Patch(CHECKOUT, (Edit(more, ABSENT, {"name": "MORE", "value": "1"}),), "set MORE")
    )

    assert env_of(sent(patch, deployment())) == [{"name": "QUEUE", "value": "500"}, {"name": "MORE", "value": "1"}]


names = st.sampled_from(["QUEUE", "LEVEL", "MODE", "a/b", "x~y"])
values = st.text(alphabet="abc019", max_size=4)
entries = st.lists(st.tuples(names, values), unique_by=lambda one: one[0], max_size=4)


@given(before=entries, changes=entries.filter(bool))
def test_a_change_that_is_taken_back_leaves_the_object_as_it_was(
    before: list[tuple[str, str]], changes: list[tuple[str, str]]
) -> None:
    env = [{"name": name, "value": value} for name, value in before]
    seen = deployment(**({"env": env} if env else {}))
    present = dict(before)
    edits = []
    for name, value in changes:
        path = FieldPath.of("spec", "template", "spec", "containers", ByKey("name", "app"), "env", ByKey("name", name))
        was: Any = {"name": name, "value": present[name]} if name in present else ABSENT
        edits.append(Edit(path, was, {"name": name, "value": value}))
    patch = Patch(CHECKOUT, tuple(edits), "set several")

    changed = sent(patch, seen)
    changed["metadata"]["generation"] += 1
    undone = sent(patch.reversed, changed, token="t2")

    assert (env_of(undone) or []) == env


@given(
    parts=st.lists(
        st.one_of(
            st.text("ab/~", min_size=1, max_size=4), st.builds(ByKey, st.just("name"), st.text("ab/~=", max_size=4))
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_path_is_read_back_as_it_was_written(parts: list[str | ByKey]) -> None:
    path = FieldPath(tuple(parts))

    assert FieldPath.parse(str(path)) == path


def test_a_stored_change_is_read_back_as_it_was() -> None:
    pod = Target(ObjectRef.of("Pod", "shop", "checkout-1"), "uid-2")
    for change in (setting("500"), setting("500", was="1"), DeletePods(CHECKOUT, (pod,), "delete one pod")):
        assert change_from_json(change_as_json(change)) == change


def test_an_absent_value_is_not_null() -> None:
    stored = change_as_json(setting("500"))

    assert "was" not in stored["edits"][0]  # type: ignore[index,operator,call-overload]
    assert isinstance(change_from_json(stored).edits[0].was, Absent)  # type: ignore[union-attr]


def test_an_annotation_that_is_set_on_a_bare_object_stays_beside_the_stamps() -> None:
    bare = deployment()
    del bare["metadata"]["annotations"]
    note = Patch(CHECKOUT, (Edit(FieldPath.of("metadata", "annotations", "note"), ABSENT, "hello"),), "note")

    annotations = sent(note, bare)["metadata"]["annotations"]

    assert annotations["note"] == "hello"
    assert annotations[STEP_STAMP] == "t1"


def test_an_operation_on_a_list_inserts_where_it_says() -> None:
    assert apply_operation({"l": [1, 3]}, {"op": "add", "path": "/l/1", "value": 2}) == {"l": [1, 2, 3]}
