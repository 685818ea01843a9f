import pytest

from remediator.actions import effects
from remediator.actions.effects import (
    Carried,
    Contended,
    Gone,
    Mark,
    Moved,
    Protected,
    Unclear,
    Voided,
    carry_out,
    dry_run,
    void,
)
from remediator.domain.changes import ABSENT, VOID_STAMP, DeletePods, Edit, FieldPath, Patch, json_patch
from remediator.domain.errors import Conflict, Rejected, Unavailable
from remediator.domain.json import dig, dig_text
from remediator.domain.objects import BUILT_IN, ObjectRef, Target
from remediator.testing import FakeCluster
from unit.actions.world import CHECKOUT, pod_ref, pods, shop, target

REPLICAS = FieldPath.of("spec", "replicas")
STEP = {"run": "shop/r", "token": "t1"}


def scaled(cluster: FakeCluster, to: int = 3) -> Patch:
    return Patch(target(cluster), (Edit(REPLICAS, 2, to),), f"scale to {to}")


def deletion(cluster: FakeCluster) -> DeletePods:
    doomed = tuple(Target(pod_ref(pod), dig_text(pod, "metadata", "uid")) for pod in pods(cluster))
    return DeletePods(target(cluster), doomed, "delete both")


def replicas(cluster: FakeCluster) -> object:
    return dig(cluster.get(CHECKOUT), "spec", "replicas")


def annotate(cluster: FakeCluster, key: str, value: str) -> None:
    cluster.change(CHECKOUT, lambda obj: obj["metadata"]["annotations"].update({key: value}))


async def test_a_change_is_made_and_stamped_in_one_write() -> None:
    cluster = shop()

    effect = await carry_out(scaled(cluster), cluster, **STEP)

    assert replicas(cluster) == 3
    assert dig(cluster.get(CHECKOUT), "metadata", "annotations", "remediator.dev/step") == "t1"
    assert effect == Carried(generation=dig(cluster.get(CHECKOUT), "metadata", "generation"))
    assert len(cluster.writes) == 1


async def test_a_second_attempt_finds_the_stamp_and_writes_nothing() -> None:
    cluster = shop()
    change = scaled(cluster)
    await carry_out(change, cluster, **STEP)

    effect = await carry_out(change, cluster, **STEP)

    assert isinstance(effect, Carried)
    assert effect.before
    assert len(cluster.writes) == 1


async def test_a_lost_answer_is_adopted_on_the_next_look() -> None:
    cluster = shop()
    change, mark = scaled(cluster), Mark.of(cluster.get(CHECKOUT))
    cluster.fail_next(1, Unavailable("no answer"), verb="patch", done=True)
    with pytest.raises(Unavailable):
        await carry_out(change, cluster, **STEP)

    effect = await carry_out(change, cluster, **STEP, mark=mark)

    assert effect == Carried(generation=dig(cluster.get(CHECKOUT), "metadata", "generation"), before=True)
    assert len(cluster.writes) == 1


async def test_a_conflict_is_read_again_and_tried_again() -> None:
    cluster = shop()
    cluster.fail_next(2, Conflict("somebody was first"), verb="patch")

    effect = await carry_out(scaled(cluster), cluster, **STEP)

    assert isinstance(effect, Carried)
    assert replicas(cluster) == 3


async def test_endless_conflicts_are_handed_back() -> None:
    cluster = shop()
    cluster.fail_next(99, Conflict("somebody was first"), verb="patch")

    effect = await carry_out(scaled(cluster), cluster, **STEP)

    assert isinstance(effect, Contended)
    assert replicas(cluster) == 2


async def test_what_was_decided_on_old_facts_is_not_sent_when_the_object_is_read_again() -> None:
    cluster = shop()
    cluster.fail_next(1, Conflict("somebody was first"), verb="patch")
    ages = iter([False, True])

    effect = await carry_out(scaled(cluster), cluster, **STEP, is_old=lambda: next(ages))

    assert isinstance(effect, Contended)
    assert replicas(cluster) == 2


async def test_pods_that_were_chosen_on_old_facts_stay_and_a_list_that_was_begun_is_finished() -> None:
    cluster, begun = shop(), shop()
    ages = iter([False, True])

    effect = await carry_out(deletion(cluster), cluster, **STEP, is_old=lambda: True)
    finished = await carry_out(deletion(begun), begun, **STEP, is_old=lambda: next(ages))

    assert isinstance(effect, Contended)
    assert len(pods(cluster)) == 2
    assert isinstance(finished, Carried)
    assert not pods(begun)


async def test_another_write_that_leaves_our_fields_alone_is_no_obstacle() -> None:
    cluster = shop()
    change = scaled(cluster)
    annotate(cluster, "note", "somebody's")

    assert isinstance(await carry_out(change, cluster, **STEP), Carried)


async def test_a_field_that_somebody_changed_stops_it() -> None:
    cluster = shop()
    change = scaled(cluster)
    cluster.change(CHECKOUT, lambda obj: obj["spec"].update(replicas=7))

    effect = await carry_out(change, cluster, **STEP)

    assert isinstance(effect, Moved)
    assert "/spec/replicas" in effect.message
    assert replicas(cluster) == 7


async def test_another_object_of_the_same_name_is_not_changed() -> None:
    cluster = shop()
    change = Patch(Target(CHECKOUT, "another"), (Edit(REPLICAS, 2, 3),), "scale")

    assert isinstance(await carry_out(change, cluster, **STEP), Moved)
    assert not cluster.writes


async def test_a_target_that_is_gone_is_no_exception() -> None:
    cluster = shop()
    change = scaled(cluster)
    cluster.store.remove(BUILT_IN["Deployment"], "shop", "checkout")

    assert isinstance(await carry_out(change, cluster, **STEP), Gone)
    assert isinstance(await void(change, cluster, token="t1"), Gone)


async def test_after_a_restart_an_unstamped_object_that_moved_is_unclear() -> None:
    cluster = shop()
    change, mark = scaled(cluster), Mark.of(cluster.get(CHECKOUT))
    annotate(cluster, "note", "somebody's")

    assert isinstance(await carry_out(change, cluster, **STEP, mark=mark), Unclear)
    assert not cluster.writes


async def test_after_a_restart_an_object_that_has_not_moved_is_changed() -> None:
    cluster = shop()
    change, mark = scaled(cluster), Mark.of(cluster.get(CHECKOUT))

    assert isinstance(await carry_out(change, cluster, **STEP, mark=mark), Carried)


async def test_what_was_voided_never_happens() -> None:
    cluster = shop()
    change = scaled(cluster)

    assert await void(change, cluster, token="t1") == Voided()
    assert await carry_out(change, cluster, **STEP) == Voided()
    assert replicas(cluster) == 2


async def test_what_happened_is_adopted_instead_of_voided() -> None:
    cluster = shop()
    change = scaled(cluster)
    await carry_out(change, cluster, **STEP)

    effect = await void(change, cluster, token="t1")

    assert isinstance(effect, Carried)
    assert effect.before


async def test_voiding_twice_is_voiding_once() -> None:
    cluster = shop()

    await void(scaled(cluster), cluster, token="t1")

    assert await void(scaled(cluster), cluster, token="t1") == Voided()
    assert len(cluster.writes) == 1


def a_stateful_set() -> tuple[FakeCluster, Patch]:
    """One whose generation counts its spec and not its annotations, and a change of it."""
    cluster, ref = shop(), ObjectRef.of("StatefulSet", CHECKOUT.namespace, "db")
    cluster.add(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": ref.name, "namespace": ref.namespace, "annotations": {"team": "shop"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "db"}}},
        }
    )
    uid = dig_text(cluster.get(ref), "metadata", "uid")
    return cluster, Patch(Target(ref, uid), (Edit(REPLICAS, 2, 3),), "scale to 3")


@pytest.mark.parametrize("after", [{VOID_STAMP: "another"}, {}], ids=["overwritten", "taken off"])
async def test_what_was_voided_never_happens_where_the_generation_does_not_tell_of_it(after: dict[str, str]) -> None:
    cluster, change = a_stateful_set()
    ref = change.target.ref
    mark = Mark.of(cluster.get(ref))
    await void(change, cluster, token="t1")
    cluster.change(ref, lambda obj: obj["metadata"].update(annotations={"team": "shop", **after}))

    effect = await carry_out(change, cluster, **STEP, mark=mark)

    assert isinstance(effect, Contended), "its spec was not written, so it may be intended anew"
    assert dig(cluster.get(ref), "spec", "replicas") == 2


async def test_a_change_on_its_way_does_not_land_after_a_void_that_was_taken_off() -> None:
    cluster, change = a_stateful_set()
    ref = change.target.ref
    operations = json_patch(change, cluster.get(ref), run="shop/r", token="t1")
    await void(change, cluster, token="t1")
    cluster.change(ref, lambda obj: obj["metadata"].update(annotations={"team": "shop"}))

    with pytest.raises(Conflict):
        await cluster.patch(ref, operations)


async def test_an_older_void_does_not_stop_a_later_step() -> None:
    cluster = shop()
    await void(scaled(cluster), cluster, token="t0")

    assert isinstance(await carry_out(scaled(cluster), cluster, **STEP), Carried)


async def test_what_the_api_server_refuses_is_raised() -> None:
    cluster = shop()
    cluster.refuse_when(lambda write, before: "quota exceeded")

    with pytest.raises(Rejected, match="quota"):
        await carry_out(scaled(cluster), cluster, **STEP)


async def test_an_empty_change_writes_nothing() -> None:
    cluster = shop()

    effect = await carry_out(Patch(target(cluster), (), "nothing"), cluster, **STEP)

    assert isinstance(effect, Carried)
    assert not cluster.writes


async def test_pods_are_deleted_by_uid_and_never_chosen_again() -> None:
    cluster = shop()
    change = deletion(cluster)

    await carry_out(change, cluster, **STEP)
    cluster.tick()
    effect = await carry_out(change, cluster, **STEP)

    assert effect == Carried(before=True)
    assert len(pods(cluster)) == 2
    assert len(cluster.writes) == 2


async def test_a_voided_pod_is_not_deleted() -> None:
    cluster = shop()
    change = deletion(cluster)

    assert await void(change, cluster, token="t1") == Voided()
    assert await carry_out(change, cluster, **STEP) == Voided()
    assert len(pods(cluster)) == 2


async def test_voiding_pods_that_are_gone_says_that_it_happened() -> None:
    cluster = shop()
    change = deletion(cluster)
    await carry_out(change, cluster, **STEP)

    assert await void(change, cluster, token="t1") == Carried(before=True)


async def test_a_pod_whose_status_keeps_moving_is_deleted_all_the_same() -> None:
    cluster = shop()
    cluster.fail_next(2, Conflict("the resourceVersion has moved"), verb="delete")

    assert isinstance(await carry_out(deletion(cluster), cluster, **STEP), Carried)
    assert not pods(cluster)


async def test_an_undo_puts_back_what_stood_there() -> None:
    cluster = shop()
    change = scaled(cluster)
    await carry_out(change, cluster, **STEP)

    effect = await carry_out(change.reversed, cluster, run="shop/r", token="u1")

    assert isinstance(effect, Carried)
    assert replicas(cluster) == 2


async def test_an_undo_never_overwrites_somebody_elses_value() -> None:
    cluster = shop()
    change = scaled(cluster)
    await carry_out(change, cluster, **STEP)
    cluster.change(CHECKOUT, lambda obj: obj["spec"].update(replicas=9))

    effect = await carry_out(change.reversed, cluster, run="shop/r", token="u1")

    assert isinstance(effect, Moved)
    assert replicas(cluster) == 9


async def test_a_dry_run_stores_nothing_and_shows_the_lines() -> None:
    cluster = shop()

    text = await dry_run(scaled(cluster), cluster, run="shop/r")

    assert text == "- spec.replicas: 2\n+ spec.replicas: 3"
    assert replicas(cluster) == 2
    assert all(write.dry_run for write in cluster.writes)


async def test_a_dry_run_of_a_deletion_names_the_pods() -> None:
    cluster = shop(replicas=1)

    text = await dry_run(deletion(cluster), cluster, run="shop/r")

    assert text == f"- Pod shop/{pods(cluster)[0]['metadata']['name']}"
    assert len(pods(cluster)) == 1


async def test_a_dry_run_is_refused_as_the_change_would_be() -> None:
    cluster = shop()
    cluster.refuse_when(lambda write, before: "quota exceeded")

    with pytest.raises(Rejected):
        await dry_run(scaled(cluster), cluster, run="shop/r")


async def test_a_dry_run_does_not_show_secrets() -> None:
    cluster = shop(env={"DB_PASSWORD": "hunter22"})
    path = FieldPath.parse("/spec/template/spec/containers/[name=app]/env/[name=DB_PASSWORD]/value")
    label = FieldPath.of("metadata", "labels")
    change = Patch(target(cluster), (Edit(path, "hunter22", "hunter33"), Edit(label, ABSENT, {"a": "b"})), "x")

    text = await dry_run(change, cluster, run="shop/r")

    assert "hunter" not in text
    assert "env[DB_PASSWORD].value: (hidden, 10 characters)" in text
    assert '+ metadata.labels.a: "b"' in text


def test_effects_are_told_apart_by_type() -> None:
    assert effects.Effect.__args__ == (Carried, Voided, Gone, Moved, Unclear, Contended, Protected)
