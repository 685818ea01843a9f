import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from remediator.actions.templates import edits_between
from remediator.domain.changes import ABSENT, Edit, FieldPath, Patch, apply_operation, json_patch
from remediator.domain.json import JSON
from remediator.domain.objects import ObjectRef, Target

ROOT = FieldPath.of("spec", "template")
TARGET = Target(ObjectRef("apps", "Deployment", "shop", "checkout"), "u")

names = st.sampled_from(["app", "proxy", "init", "log"])
scalars: st.SearchStrategy[Any] = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.booleans())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["x", "y", "a/b"]), inner, min_size=1, max_size=3),
        st.lists(scalars, min_size=1, max_size=3),
        st.lists(names, min_size=1, max_size=3, unique=True).flatmap(
            lambda found: st.tuples(*(inner for _ in found)).map(
                lambda of: [{"name": name, "of": value} for name, value in zip(found, of, strict=True)]
            )
        ),
    ),
    max_leaves=12,
)
templates = st.dictionaries(st.sampled_from(["containers", "volumes", "nodeName"]), values, min_size=1, max_size=3)


def applied(was: JSON, edits: tuple[Edit, ...]) -> JSON:
    obj: Any = {"metadata": {"uid": "u", "generation": 1}, "spec": {"template": copy.deepcopy(was)}}
    for operation in json_patch(Patch(TARGET, edits, "x"), obj, run="shop/r", token="t"):
        obj = apply_operation(obj, operation)
    return obj["spec"]["template"]


@given(was=templates, to=templates)
def test_the_edits_make_exactly_the_other_template(was: JSON, to: JSON) -> None:
    edits = tuple(edits_between(ROOT, was, to))

    assert applied(was, edits) == to
    assert (not edits) == (was == to)


@given(was=templates, to=templates)
def test_every_edit_knows_what_it_replaces(was: JSON, to: JSON) -> None:
    obj: JSON = {"spec": {"template": was}}

    for edit in edits_between(ROOT, was, to):
        assert edit.path.value_in(obj) == edit.was
        assert FieldPath.parse(str(edit.path)) == edit.path


def test_one_value_is_one_edit() -> None:
    was: JSON = {"containers": [{"name": "app", "image": "a", "env": [{"name": "X", "value": "1"}]}]}
    to: JSON = {"containers": [{"name": "app", "image": "b", "env": [{"name": "X", "value": "1"}]}]}

    assert [str(edit.path) for edit in edits_between(ROOT, was, to)] == ["/spec/template/containers/[name=app]/image"]


def test_another_order_replaces_the_list() -> None:
    was: JSON = {"env": [{"name": "A"}, {"name": "B"}]}
    to: JSON = {"env": [{"name": "B"}, {"name": "A"}]}

    assert list(edits_between(ROOT, was, to)) == [Edit(FieldPath.of(*ROOT.parts, "env"), was["env"], to["env"])]


def test_a_null_that_the_api_server_adds_is_no_difference() -> None:
    was: JSON = {"metadata": {"creationTimestamp": None, "annotations": {}}}

    assert list(edits_between(ROOT, was, {"metadata": {}})) == []
    assert list(edits_between(ROOT, was, ABSENT)) == [Edit(ROOT, was, ABSENT)]
