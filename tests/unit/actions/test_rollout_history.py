from datetime import timedelta

import pytest

from remediator.actions.base import observe
from remediator.actions.diagnostics.rollout_history import RolloutHistory, RolloutHistoryParameters
from remediator.domain.objects import BUILT_IN, ObjectRef
from unit.actions.world import CHECKOUT, reader, shop, target, with_image, workload

READ = RolloutHistoryParameters()


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_revisions_come_newest_first_with_their_images(kind: str) -> None:
    cluster = shop(workload(kind, "ledger", "ledger:1"))
    ref = ObjectRef("apps", kind, "shop", "ledger")
    with_image(cluster, "ledger:2", ref)
    with_image(cluster, "ledger:3", ref)

    seen = (await observe(RolloutHistory(), READ, reader(cluster, ref))).output

    assert [(r.revision, r.images) for r in seen.revisions] == [
        (3, ("ledger:3",)),
        (2, ("ledger:2",)),
        (1, ("ledger:1",)),
    ]
    assert (seen.newest.revision, seen.current.revision, seen.previous.revision) == (3, 3, 2)
    assert seen.status.complete
    assert not seen.status.in_progress


async def test_after_a_rollback_the_old_template_is_the_current_one() -> None:
    cluster = shop()
    with_image(cluster, "shop:2")
    with_image(cluster, "shop:1")

    seen = (await observe(RolloutHistory(), READ, reader(cluster))).output

    assert [r.revision for r in seen.revisions] == [3, 2]
    assert seen.current.images == ("shop:1",)
    assert seen.previous.images == ("shop:2",)


async def test_the_first_release_has_no_previous_one() -> None:
    seen = (await observe(RolloutHistory(), READ, reader(shop()))).output

    assert "previous" not in seen.as_json()


async def test_when_a_release_came_can_be_compared_with_the_alert() -> None:
    cluster = shop()
    cluster.store.clock.advance(timedelta(hours=1))
    with_image(cluster, "shop:2")

    seen = (await observe(RolloutHistory(), READ, reader(cluster))).output

    assert seen.newest.created_at == "2026-06-01T13:00:00Z"


async def test_a_rollout_under_way_is_not_complete() -> None:
    cluster = shop()
    cluster.controllers.never_ready = lambda template: template["spec"]["containers"][0]["image"] == "shop:2"
    with_image(cluster, "shop:2")

    seen = (await observe(RolloutHistory(), READ, reader(cluster))).output

    assert seen.status.in_progress
    assert not seen.status.complete


async def test_a_change_that_the_controller_has_not_seen_is_under_way() -> None:
    cluster = shop()
    cluster.controllers.stopped = True
    with_image(cluster, "shop:2")

    seen = (await observe(RolloutHistory(), READ, reader(cluster))).output

    assert seen.status.in_progress
    assert "current" not in seen.as_json()
    assert seen.previous.images == ("shop:1",)


async def test_a_target_that_is_gone_is_an_answer() -> None:
    cluster = shop()
    gone = target(cluster, CHECKOUT)
    cluster.store.remove(BUILT_IN["Deployment"], "shop", "checkout")

    seen = (await observe(RolloutHistory(), READ, reader(cluster, gone))).output

    assert seen.known
    assert seen.revisions == ()
